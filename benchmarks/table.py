"""What a table is: a declaration. The runner does the rest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Training:
    """One network to train; a run is cached under the hash of these settings and its data.

    Args:
        method: "classifier", a name in obverse.METHODS or BASELINES, or, for a `model`, of a generative model.
        settings: hyperparameters that differ from the defaults.
        steps, batch_size, validate_every: as for `fit`.
        max_minutes: of training.
        model: the generative model that the method, or the model itself, works on; trained before, or from the cache.
        samples: whether it trains without images, on what its generative model makes.
        after: hyperparameters that are set once it is trained, e.g. of a search that follows: the training is the same.
        test_count: the first so many test images of each class, to stand beside a row that explains no more.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    batch_size: int = 64
    validate_every: int = 200
    max_minutes: float | None = None
    model: Training | None = None
    samples: bool = False
    after: Mapping[str, Any] | None = None
    test_count: int | None = None

    @property
    def run(self) -> Training:
        """The training alone, without what is done with its explainer afterwards."""
        return dataclasses.replace(self, after=None, test_count=None)


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """An explainer that needs no training. Parts that it cannot do without are filled by their names.

    Filled are `reference` (the training split), `explainer` (another row), `autoencoder` (that of all classes of the
    judges of realism) and the generative model.

    Args:
        method: a name in obverse.METHODS or BASELINES.
        settings: hyperparameters that differ from the defaults.
        preset: a class method that makes it, e.g. "published".
        model: the generative model it works on.
        explainer: name of the row whose explainer is its part.
        autoencoder: whether to fill an autoencoder that it could do without.
        test_count: for slow ones, the first so many test images of each class.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""
    model: Training | None = None
    explainer: str = ""
    autoencoder: bool = False
    test_count: int | None = None


Row = Training | Untrained

FIRST = frozenset({"method", "settings", "steps", "batch_size", "validate_every", "max_minutes"})
"""The fields that a training had when the first runs were cached: these are always part of its facts."""


def facts(row: Row) -> dict[str, Any]:
    """Return what a row is, as JSON can hold it; a field added later counts only where it is set, so caches stay valid."""
    found: dict[str, Any] = {}
    for one in dataclasses.fields(row):
        value = getattr(row, one.name)
        if one.name in FIRST or value != one.default:
            found[one.name] = facts(value) if isinstance(value, Training) else value
    return found


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A printed figure: where it stands in paper_tables.json and which of our figures it is compared with.

    Args:
        paper, table, row, column: where it stands.
        metric: key or label of our figure.
        ours: the row it stands beside, where ours has another name.
        scale: what brings the printed figure to our unit, e.g. 0.01 for per cent.
        direction: of the figure, "all" or e.g. "3 -> 8".
    """

    paper: str
    table: str
    row: str
    column: str
    metric: str
    ours: str = ""
    scale: float = 1.0
    direction: str = "all"

    def value(self) -> float:
        """Return the figure as printed, in our unit."""
        tables = json.loads((Path(__file__).parent / "paper_tables.json").read_text())[self.paper]
        columns = tables[self.table]["columns"]
        return self.scale * float(tables[self.table][self.row][columns.index(self.column)])


@dataclass(frozen=True, kw_only=True)
class Table:
    """One published table.

    Args:
        name: of the table, on the command line.
        about: what it shows, one sentence.
        data, size: as for obverse.data.open.
        counts: images of each split, for generated data.
        classifier: what is explained.
        unseen: classes whose training images it is not shown.
        second_classifier: trained independently, for transfer.
        rows: name of a row to its explainer.
        metrics: names; empty takes all that apply.
        seeds: of the explainers' initial weights and data order, all reported; rows without training have the first.
        test_count: the first so many test images of each class; None takes all.
        test_classes: labels of the test images that are explained; empty takes all.
        paper: printed figures beside ours.
        notes: what a reader must know.
    """

    name: str
    about: str
    data: str
    size: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    classifier: Training
    unseen: tuple[str, ...] = ()
    second_classifier: Training | None = None
    rows: Mapping[str, Row]
    metrics: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    test_count: int | None = None
    test_classes: tuple[str, ...] = ()
    paper: tuple[Paper, ...] = ()
    notes: tuple[str, ...] = ()

    def quick(self) -> Table:
        """Return the same table with a few steps a training and a few test images, to see that it runs."""

        def few(row: Row) -> Any:
            model = None if row.model is None else few(row.model)
            if isinstance(row, Untrained):
                return dataclasses.replace(row, model=model, test_count=4)
            return dataclasses.replace(row, model=model, steps=4, validate_every=4)

        second = None if self.second_classifier is None else few(self.second_classifier)
        return dataclasses.replace(self, classifier=few(self.classifier), second_classifier=second, seeds=self.seeds[:1],
                                   test_count=4, rows={name: few(row) for name, row in self.rows.items()})  # fmt: skip
