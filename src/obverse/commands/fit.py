"""obverse fit classifier | gan | vae | METHOD | BASELINE."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.baselines import BASELINES
from obverse.checkpoint import write_json
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.commands.options import FitOptions, parse, settings_of, values
from obverse.data import match_labels
from obverse.data.base import Dataset
from obverse.explainer import LearnedExplainer
from obverse.methods import LEARNED, METHODS, fitted
from obverse.models import MODELS, load_model, model
from obverse.models.scores import reconstruction
from obverse.opened import DataOptions
from obverse.training import History, Trainable, fit

HELP = """usage: obverse fit classifier [options]
       obverse fit MODEL [options]
       obverse fit METHOD [options]
       obverse fit BASELINE [options]

generative models: {models}
methods: {methods}
baselines that are trained: {baselines}

`obverse fit METHOD --help` lists the options; defaults are the paper's values, or what was found to work
better, as the method's docstring says. Methods that walk in a generative model take --model, the run folder of one.
"""


@dataclass(kw_only=True)
class ClassifierOptions:
    """What to explain.

    Args:
        classifier: a folder written by `obverse fit classifier`, or by Classifier.save for a network of obverse's own kinds, or a
            run folder that holds one; other networks are explained from Python (docs/start.md).
        against_rest: explain this class against all others, for a classifier of more than two.
        label: explain this label, for a multi-label classifier.
    """

    classifier: Path
    against_rest: str | None = None
    label: str | None = None

    def whole(self) -> Classifier:
        """Return the classifier with all its classes."""
        inner = self.classifier / "classifier"
        return Classifier.load(inner if inner.is_dir() else self.classifier)

    def load(self) -> Classifier:
        """Return the classifier, or the view of it that was asked for."""
        return self.view(self.whole())

    def view(self, whole: Classifier) -> Classifier:
        """Return the view of the whole classifier that was asked for, or all of it.

        Raises:
            ValueError: a class and a label at once.
        """
        if self.against_rest is not None and self.label is not None:
            raise ValueError(f"against_rest, label: expected one of the two, got {self.against_rest!r} and {self.label!r}; leave "
                             "one out")  # fmt: skip
        if self.against_rest is not None:
            return whole.against_rest(self.against_rest)
        return whole if self.label is None else whole.label(self.label)


@dataclass(kw_only=True)
class ModelOptions:
    """In which latent space to walk.

    Args:
        model: the run folder of `obverse fit gan` or `obverse fit vae`, or a folder written by its save.
        samples_only: train on samples of the model alone, never on images; images then only choose the best weights.
    """

    model: Path
    samples_only: bool = False


@dataclass(kw_only=True)
class ObserverOptions:
    """Who looks on.

    Args:
        classifier: a folder with a classifier of the same images, whose features reconstructions are to keep.
    """

    classifier: Path | None = None


def run(arguments: list[str]) -> int:
    """Train a classifier or an explainer."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(models=", ".join(MODELS), methods=", ".join(METHODS), baselines=", ".join(LEARNED)), end="")
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "classifier":
        return _classifier(rest)
    if name in MODELS:
        return _model(name, rest)
    if name in BASELINES and name not in LEARNED:
        return _untrained(name)
    if name not in METHODS and name not in LEARNED:
        known = ", ".join(["classifier", *METHODS, *LEARNED, *MODELS])
        print(f"obverse fit: unknown method {name!r}; expected {known}", file=sys.stderr)
        return 2
    return _explainer(name, rest)


def _classifier(arguments: list[str]) -> int:
    kinds = {"data": DataOptions, "fit": FitOptions, "settings": settings_of(ClassifierTraining)}
    options = parse("fit classifier", "Train a small classifier.", kinds, arguments)
    train, validation = options["data"].open("train"), options["data"].open("validation")
    job = ClassifierTraining(
        classes=train.classes, image_shape=train.image_shape, seed=options["fit"].seed, **values(options["settings"])
    )
    folder = options["fit"].run_dir
    if (folder / "classifier").exists() and not (folder / "config.json").exists():
        raise ValueError(f"run_dir: {folder / 'classifier'} is there already and no run beside it; choose another run_dir")
    history = _fit(job, train, validation, options["fit"])
    job.classifier().save(folder / "classifier")
    write_json(folder / "run.json", {"data": options["data"].plain(), "view": {}})
    kind = "syce" if len(train.classes) == 2 else "conditional_syce"
    return _said(history, folder, f"obverse fit {kind} {options['data'].words()} --classifier {folder} --run-dir ...")


def _model(name: str, arguments: list[str]) -> int:
    kind = model(name)
    observed = any(field.name == "classifier" for field in dataclasses.fields(kind))
    kinds: dict[str, type] = {"data": DataOptions, "fit": FitOptions, "settings": settings_of(kind)}
    kinds |= {"observer": ObserverOptions} if observed else {}
    options = parse(f"fit {name}", (kind.__doc__ or name).split("\n")[0], kinds, arguments)
    data: DataOptions = options["data"]
    train, validation = data.open("train"), data.open("validation")
    watching = options["observer"].classifier if observed else None
    parts = [] if watching is None else [ClassifierOptions(classifier=watching).load()]
    job = kind(train.image_shape, *parts, seed=options["fit"].seed, **values(options["settings"]))  # type: ignore[call-arg]
    history = _fit(job, train, validation, options["fit"])
    found, folder = reconstruction(job, validation), options["fit"].run_dir
    write_json(folder / "run.json", {"data": data.plain(), "view": {}, "reconstruction": dataclasses.asdict(found)})
    print(found.words())
    critic = "" if job.has_critic else " --adversarial 0"
    return _said(history, folder, f"obverse fit c3lt {data.words()} --classifier ... --model {folder}{critic} --run-dir ...")


def _explainer(name: str, arguments: list[str]) -> int:
    kind = fitted(name)
    preset, arguments = _preset(arguments)
    given = {} if preset is None else _settings(kind, name, preset)
    kinds = {"data": DataOptions, "classifier": ClassifierOptions, "fit": FitOptions, "settings": settings_of(kind, given)}
    walks = any(field.name == "model" for field in dataclasses.fields(kind))
    kinds |= {"model": ModelOptions} if walks else {}
    description = (kind.__doc__ or name).split("\n")[0]
    if presets := getattr(kind, "presets", None):
        description += f" --preset NAME takes other settings, a paper's or such as were measured: {', '.join(presets)}."
    if not issubclass(kind, LearnedExplainer):
        return _untrained(name)
    options = parse(f"fit {name}", description, kinds, arguments)
    chosen: ClassifierOptions = options["classifier"]
    whole = chosen.whole()
    classifier = chosen.view(whole)
    parts = [load_model(options["model"].model)] if walks else []
    explainer = kind(classifier, *parts, seed=options["fit"].seed, **values(options["settings"]))  # type: ignore[call-arg]
    if remark := getattr(explainer, "remark", ""):
        print(f"{name}: {remark}")
    data: DataOptions = options["data"]
    train, validation = data.open("train"), data.open("validation")
    if not classifier.view:  # the labels of a view are not the data's
        train, validation = match_labels(train, classifier.classes), match_labels(validation, classifier.classes)
    folder = options["fit"].run_dir
    blind = walks and options["model"].samples_only
    view = {"against_rest": chosen.against_rest, "label": chosen.label}

    def opened(folder: Path) -> None:  # before the first step: a run that is stopped can be looked at too
        _check_own(folder / "classifier", whole)
        whole.save(folder / "classifier")
        for part in parts:
            part.save(folder / "model")
        write_json(folder / "run.json", {"data": data.plain(), "view": view})

    history = _fit(explainer, None if blind else train, validation, options["fit"], opened)
    for decided, share in getattr(explainer, "acceptance", {}).items():
        print(f"samples decided {decided!r}: {share:.1%} of those drawn")
    return _said(history, folder, f"obverse evaluate {folder}")


def _check_own(folder: Path, classifier: Classifier) -> None:
    """Raise where another classifier lies than the one that is to be kept there."""
    if folder.is_dir() and Classifier.load(folder).fingerprint != classifier.fingerprint:
        raise ValueError(f"run_dir: {folder} holds another classifier than the one to explain; choose another run_dir")


def _preset(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return the name behind --preset, if it is there, and the other words: it decides what the defaults are."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--preset=") else [word])]
    if "--preset" not in words:
        return None, arguments
    place = words.index("--preset")
    if place + 1 == len(words):
        raise ValueError("preset: expected a name behind --preset, got none; see --help")
    return words[place + 1], words[:place] + words[place + 2 :]


def _settings(kind: type, name: str, preset: str) -> dict[str, Any]:
    if not issubclass(kind, LearnedExplainer) or not kind.presets:
        raise ValueError(f"preset: {name} has none, got {preset!r}; leave it out")
    return kind.preset_settings(preset)


def _untrained(name: str) -> int:
    print(f"obverse fit: {name} needs no training; put it beside a run with obverse compare RUN --baseline {name}",
          file=sys.stderr)  # fmt: skip
    return 2


def _fit(
    job: Trainable, train: Dataset | None, validation: Dataset, options: FitOptions,
    opened: Callable[[Path], None] | None = None,
) -> History:  # fmt: skip
    return fit(
        job, train, validation=validation, steps=options.steps, batch_size=options.batch_size,
        validate_every=options.validate_every, max_minutes=options.max_minutes, run_dir=options.run_dir,
        existing=options.existing(), average=options.average, precision=options.precision, seed=options.seed,
        opened=opened,
    )  # fmt: skip


def _said(history: History, folder: Path, follow: str) -> int:
    score = (
        ""
        if history.best_score is None
        else f", best validation score {history.best_score:.4f} at step {history.best_step}"
    )
    print(f"{history.steps} steps in {history.seconds / 60:.1f} minutes{score}; kept in {folder}\nnext: {follow}")
    return 0
