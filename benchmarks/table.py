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
        method: "classifier" or a name in obverse.METHODS.
        settings: hyperparameters that differ from the defaults.
        steps, batch_size, validate_every: as for `fit`.
        max_minutes: of training.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    batch_size: int = 64
    validate_every: int = 200
    max_minutes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A printed figure: where it stands in paper_tables.json and which of our rows it is compared with."""

    paper: str
    table: str
    row: str
    column: str
    metric: str

    def value(self) -> float:
        """Return the figure as printed."""
        tables = json.loads((Path(__file__).parent / "paper_tables.json").read_text())[self.paper]
        columns = tables[self.table]["columns"]
        return float(tables[self.table][self.row][columns.index(self.column)])


@dataclass(frozen=True, kw_only=True)
class Table:
    """One published table.

    Args:
        name: of the table, on the command line.
        about: what it shows, one sentence.
        data, size: as for obverse.data.open.
        classifier: what is explained.
        second_classifier: trained independently, for transfer.
        rows: name of a row to the explainer's training.
        metrics: names; empty takes all that apply.
        seeds: of the explainers' initial weights and data order, all reported.
        paper: printed figures beside ours.
        notes: what a reader must know.
    """

    name: str
    about: str
    data: str
    size: int | None = None
    classifier: Training
    second_classifier: Training | None = None
    rows: Mapping[str, Training]
    metrics: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    paper: tuple[Paper, ...] = ()
    notes: tuple[str, ...] = ()

    def quick(self) -> Table:
        """Return the same table with a few steps a training, to see that it runs."""

        def few(training: Training) -> Training:
            return dataclasses.replace(training, steps=4, validate_every=4)

        second = None if self.second_classifier is None else few(self.second_classifier)
        return dataclasses.replace(self, classifier=few(self.classifier), second_classifier=second, seeds=self.seeds[:1],
                                   rows={name: few(row) for name, row in self.rows.items()})  # fmt: skip
