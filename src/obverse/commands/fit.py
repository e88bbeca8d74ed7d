"""obverse fit classifier | METHOD."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from obverse.checkpoint import write_json
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.commands.options import DataOptions, FitOptions, parse, settings_of, values
from obverse.data import match_labels
from obverse.data.base import Dataset
from obverse.explainer import LearnedExplainer
from obverse.methods import METHODS, method
from obverse.training import History, Trainable, fit

HELP = """usage: obverse fit classifier [options]
       obverse fit METHOD [options]

methods: {methods}

`obverse fit METHOD --help` lists the options; every hyperparameter has the paper's value as its default.
"""


@dataclass(kw_only=True)
class ClassifierOptions:
    """What to explain.

    Args:
        classifier: a folder written by `obverse fit classifier` or Classifier.save, or a run folder that holds one.
        against_rest: explain this class against all others, for a classifier of more than two.
        label: explain this label, for a multi-label classifier.
    """

    classifier: Path
    against_rest: str | None = None
    label: str | None = None

    def load(self) -> Classifier:
        """Return the classifier, or the view of it that was asked for."""
        inner = self.classifier / "classifier"
        whole = Classifier.load(inner if inner.is_dir() else self.classifier)
        if self.against_rest is not None:
            return whole.against_rest(self.against_rest)
        return whole if self.label is None else whole.label(self.label)


def run(arguments: list[str]) -> int:
    """Train a classifier or an explainer."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(methods=", ".join(METHODS)), end="")
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "classifier":
        return _classifier(rest)
    if name not in METHODS:
        print(f"obverse fit: unknown method {name!r}; expected classifier, {', '.join(METHODS)}", file=sys.stderr)
        return 2
    return _explainer(name, rest)


def _classifier(arguments: list[str]) -> int:
    kinds = {"data": DataOptions, "fit": FitOptions, "settings": settings_of(ClassifierTraining)}
    options = parse("fit classifier", "Train a small classifier.", kinds, arguments)
    train, validation = options["data"].open("train"), options["data"].open("validation")
    job = ClassifierTraining(
        classes=train.classes, image_shape=train.image_shape, seed=options["fit"].seed, **values(options["settings"])
    )
    history = _fit(job, train, validation, options["fit"])
    folder = options["fit"].run_dir
    job.classifier().save(folder / "classifier")
    write_json(folder / "run.json", {"data": options["data"].plain(), "view": {}})
    return _said(history, folder, f"obverse fit syce --data {options['data'].data} --classifier {folder} --run-dir ...")


def _explainer(name: str, arguments: list[str]) -> int:
    kind = method(name)
    kinds = {"data": DataOptions, "classifier": ClassifierOptions, "fit": FitOptions, "settings": settings_of(kind)}
    description = (kind.__doc__ or name).split("\n")[0]
    options = parse(f"fit {name}", description, kinds, arguments)
    chosen: ClassifierOptions = options["classifier"]
    classifier = chosen.load()
    explainer = kind(classifier, seed=options["fit"].seed, **values(options["settings"]))  # type: ignore[call-arg]
    if not isinstance(explainer, LearnedExplainer):
        print(f"obverse fit: {name} needs no training; use it with obverse explain", file=sys.stderr)
        return 2
    data: DataOptions = options["data"]
    train, validation = data.open("train"), data.open("validation")
    if not classifier.view:  # the labels of a view are not the data's
        train, validation = match_labels(train, classifier.classes), match_labels(validation, classifier.classes)
    folder = options["fit"].run_dir
    history = _fit(explainer, train, validation, options["fit"])
    inner = chosen.classifier / "classifier"
    Classifier.load(inner if inner.is_dir() else chosen.classifier).save(folder / "classifier")
    view = {"against_rest": chosen.against_rest, "label": chosen.label}
    write_json(folder / "run.json", {"data": data.plain(), "view": view})
    return _said(history, folder, f"obverse evaluate {folder}")


def _fit(job: Trainable, train: Dataset, validation: Dataset, options: FitOptions) -> History:
    return fit(
        job, train, validation=validation, steps=options.steps, batch_size=options.batch_size,
        validate_every=options.validate_every, max_minutes=options.max_minutes, run_dir=options.run_dir,
        existing=options.existing(), average=options.average, precision=options.precision, seed=options.seed,
    )  # fmt: skip


def _said(history: History, folder: Path, follow: str) -> int:
    score = (
        ""
        if history.best_score is None
        else f", best validation score {history.best_score:.4f} at step {history.best_step}"
    )
    print(f"{history.steps} steps in {history.seconds / 60:.1f} minutes{score}; kept in {folder}\nnext: {follow}")
    return 0
