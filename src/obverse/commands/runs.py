"""A finished run and its data, as the commands that judge it need them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from obverse.checkpoint import read_json
from obverse.classifier import Classifier
from obverse.data import match_labels
from obverse.explainer import Explainer
from obverse.methods import classifier_for, load
from obverse.models import load_model
from obverse.opened import DataOptions, Opened, make_baseline


@dataclass(kw_only=True)
class JudgeOptions:
    """On which images, and with whose help.

    Args:
        data: images to judge on; default those of the run.
        data_dir: where the files of a named set are.
        split: train, validation or test.
        second_classifier: a classifier trained independently: does it see the flips too?
        attribute_classifier: folder of a multi-label classifier of what should stay as it is.
        model: run folder of a generative model for baselines that search in one (xgem); default the run's own.
        seed: of intervals, examples and noise.
    """

    data: str | None = None
    data_dir: Path | None = None
    split: str = "test"
    second_classifier: Path | None = None
    attribute_classifier: Path | None = None
    model: Path | None = None
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
        model = getattr(explainer, "model", None) if self.model is None else load_model(self.model)
        attributes = None if self.attribute_classifier is None else Classifier.load(self.attribute_classifier)
        return Opened(explainer, splits[self.split], splits["train"], splits["validation"], second, model, attributes)


def beside(name: str, opened: Opened, judges: Path | None) -> Explainer:
    """Return a baseline for the classifier of a run; what it has to do without is said on stderr."""
    if name.partition(":")[0] == "cem" and judges is None:
        print("cem: runs without its autoencoder term; pass --judges, the folder of the networks that judge realism",
              file=sys.stderr)  # fmt: skip
    return make_baseline(name, opened, judges)
