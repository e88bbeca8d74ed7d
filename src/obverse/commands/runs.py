"""A finished run and its data, as the commands that judge it need them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.baselines import BASELINES, baseline
from obverse.checkpoint import read_json
from obverse.classifier import Classifier
from obverse.commands.options import DataOptions
from obverse.data import match_labels
from obverse.data.base import Dataset
from obverse.explainer import Explainer, LearnedExplainer
from obverse.methods import classifier_for, load


@dataclass(kw_only=True)
class JudgeOptions:
    """On which images, and with whose help.

    Args:
        data: images to judge on; default those of the run.
        data_dir: where the files of a named set are.
        split: train, validation or test.
        second_classifier: a classifier trained independently: does it see the flips too?
        seed: of intervals, examples and noise.
    """

    data: str | None = None
    data_dir: Path | None = None
    split: str = "test"
    second_classifier: Path | None = None
    seed: int = 0

    def open(self, run: Path) -> Opened:
        """Return the run's explainer with its data, labels matched to the classifier by name."""
        explainer = load(run)
        facts = read_json(run / "run.json")["data"]
        facts |= {"data": self.data or facts["data"], "data_dir": self.data_dir or facts["data_dir"]}
        source, classifier = DataOptions(**facts), explainer.classifier
        splits = {name: source.open(name) for name in {"train", "validation", self.split}}
        if not classifier.view:  # the labels of a view are not the data's
            splits = {name: match_labels(data, classifier.classes) for name, data in splits.items()}
        other = self.second_classifier
        second = None if other is None else classifier_for(run, other)
        return Opened(explainer, splits[self.split], splits["train"], splits["validation"], second)


@dataclass(frozen=True)
class Opened:
    """A run's explainer, the images to judge it on, its training and validation images, and a second classifier."""

    explainer: LearnedExplainer
    data: Dataset
    train: Dataset
    validation: Dataset
    second: Classifier | None


def make_baseline(name: str, opened: Opened) -> Explainer:
    """Return a baseline for the classifier of a run; images it needs come from the training split.

    Raises:
        ValueError: an unknown name, or a baseline that needs a network of its own.
    """
    kind = baseline(name)
    parts: dict[str, Any] = {"reference": opened.train, "explainer": opened.explainer}
    needed = [f for f in dataclasses.fields(kind) if f.init and not f.kw_only and f.name != "classifier"]
    required = {f.name for f in needed if f.default is dataclasses.MISSING}
    if issubclass(kind, LearnedExplainer) or not required <= set(parts):
        able = ", ".join(key for key in BASELINES if key not in (name, "cxplain", "reconstruction"))
        raise ValueError(f"baseline: {name} needs a network that is trained first, use it from Python; got {name!r}, "
                         f"expected one of {able}")  # fmt: skip
    return kind(opened.explainer.classifier, **{key: parts[key] for key in required})
