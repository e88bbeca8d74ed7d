"""A finished run and its data, as the commands that judge it need them."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from obverse.checkpoint import read_json
from obverse.classifier import Classifier
from obverse.data import match_labels, view_labels
from obverse.explainer import Explainer
from obverse.methods import classifier_for, load
from obverse.models import load_model
from obverse.opened import DataOptions, Opened, make_baseline
from obverse.training import History, history_of


@dataclass(kw_only=True)
class JudgeOptions:
    """On which images, and with whose help.

    Args:
        data: images to judge on, stretched to the classifier's size; default those of the run. Training and validation images
            stay the run's own.
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
        facts, classifier = read_json(run / "run.json")["data"], explainer.classifier
        own = DataOptions(**{**facts, "data_dir": self.data_dir or facts["data_dir"]})
        asked = own.of_others(self.data, classifier)
        try:
            splits = {name: own.open(name) for name in ("train", "validation")}
        except FileNotFoundError as gone:
            if asked == own:
                raise
            print(f"training and validation images come from {asked.data} too: {gone}", file=sys.stderr)
            splits = {name: asked.open(name) for name in ("train", "validation")}
        judged = splits.get(self.split) if asked == own else None
        judged = asked.open(self.split) if judged is None else judged
        matched = view_labels if classifier.view else match_labels
        judged = matched(judged, classifier.classes)
        splits = {name: matched(data, classifier.classes) for name, data in splits.items()}
        other = self.second_classifier
        second = None if other is None else classifier_for(run, other)
        model = getattr(explainer, "model", None) if self.model is None else load_model(self.model)
        attributes = None if self.attribute_classifier is None else Classifier.load(self.attribute_classifier)
        return Opened(explainer, judged, splits["train"], splits["validation"], second, model, attributes)


def check_place(folder: Path) -> None:
    """Make the folder that something is to be written to, or raise before the work is done.

    Raises:
        OSError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"out: {folder} cannot be written to ({error}); choose another place") from error


def history_if_any(run: Path) -> History | None:
    """Return what a run did; None where its checkpoint was left behind, as in a copy of its weights."""
    try:
        return history_of(run)
    except FileNotFoundError:
        return None


def beside(name: str, opened: Opened, judges: Path | None) -> Explainer:
    """Return a baseline for the classifier of a run; what it has to do without is said on stderr."""
    if name.partition(":")[0] == "cem" and judges is None:
        print("cem: runs without its autoencoder term; pass --judges, the folder of the networks that judge realism",
              file=sys.stderr)  # fmt: skip
    return make_baseline(name, opened, judges)
