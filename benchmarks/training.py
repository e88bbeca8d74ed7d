"""The explainers of a table's rows: trained networks are cached outside the repository by their settings, resumable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.table import Row, Training, Untrained, facts
from obverse.baselines import BASELINES, baseline
from obverse.checkpoint import load_tensors, read_json, standing
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, LearnedExplainer
from obverse.methods import method
from obverse.methods.medxgan import MedXGAN
from obverse.metrics.base import Context
from obverse.metrics.judges import Autoencoders, JudgeSettings, judge
from obverse.modules import digest_of
from obverse.settings import adjust, restore
from obverse.training import History, Trainable, fit, history_of


def cache() -> Path:
    """Return where trained rows are kept: $OBVERSE_BENCHMARKS, or a folder in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(os.environ.get("OBVERSE_BENCHMARKS", f"{home}/obverse/benchmarks"))


COMMITTED = Path(__file__).parent / "classifiers"
"""Small classifiers that were measured on, kept so that a table can be gone on with elsewhere: of a run's folder in the
cache its best/, config.json and checkpoint/state.json."""


def train_classifier(training: Training, train: Dataset, validation: Dataset, seed: int) -> tuple[Classifier, History]:
    """Return the classifier of these settings, from the cache, from those committed, or trained."""
    settings = restore(ClassifierTraining, dict(training.settings))
    job = ClassifierTraining(classes=train.classes, image_shape=train.image_shape, seed=seed, **settings)
    folder = _folder("classifier", training, train, seed, "")
    if not folder.exists() and (COMMITTED / folder.name).exists():
        shutil.copytree(COMMITTED / folder.name, folder)
    history = _fit(job, training, train, validation, folder, seed)
    classifier = job.classifier()
    if not (folder / "classifier").exists():
        classifier.save(folder / "classifier")
    return classifier, history


@dataclasses.dataclass(frozen=True)
class Workshop:
    """Makes the explainers of a table.

    Args:
        rows: of the table.
        classifier: what is explained.
        splits: train and validation.
    """

    rows: Mapping[str, Row]
    classifier: Classifier
    splits: Mapping[str, Dataset]

    def make(self, name: str, seed: int) -> tuple[Explainer, History | None]:
        """Return the explainer of a row and how its training went, if it has any.

        Raises:
            ValueError: an unknown row, method or setting, or a part that nothing fills.
            TypeError: a training for a method that learns nothing, or none for one that learns.
        """
        if name not in self.rows:
            raise ValueError(f"rows: expected one of {', '.join(self.rows)}, got {name!r}; name a row of the table")
        row = self.rows[name]
        kind = baseline(row.method) if row.method in BASELINES else method(row.method)
        if issubclass(kind, LearnedExplainer) != isinstance(row, Training):
            remedy = "declare it as a Training" if issubclass(kind, LearnedExplainer) else "declare it as Untrained"
            raise TypeError(f"{name}: {row.method} {'learns' if issubclass(kind, LearnedExplainer) else 'does not learn'}, "
                            f"got {type(row).__name__}; {remedy}")  # fmt: skip
        settings = restore(kind, dict(row.settings))
        if any(field.name == "seed" for field in dataclasses.fields(kind)):
            settings = {"seed": seed} | settings
        made = getattr(kind, row.preset) if isinstance(row, Untrained) and row.preset else kind
        explainer: Explainer = made(self.classifier, **self._parts(kind, row, seed), **settings)
        if isinstance(row, Untrained) or not isinstance(explainer, LearnedExplainer):
            return explainer, None
        train, validation = self.splits["train"], self.splits["validation"]
        folder = _folder(row.method, row.run, train, seed, self.classifier.fingerprint)
        history = _fit(explainer, row, train, validation, folder, seed)
        adjust(explainer, row.after or {})
        if row.after and isinstance(explainer, MedXGAN):  # another search leaves other residuals
            explainer.calibrate(validation)
        return explainer, history

    def ready(self, name: str, seed: int) -> bool:
        """Return whether a row's explainer can be had without training anything but judges."""
        row, train, known = self.rows[name], self.splits["train"], self.classifier.fingerprint
        if isinstance(row, Training):
            return trained(row.method, row, train, seed, known)
        return self._model_ready(row.model) and (not row.explainer or self.ready(row.explainer, seed))

    def _model_ready(self, training: Training | None) -> bool:
        if training is None:
            return True
        watched = self.classifier.fingerprint if _watches(training) else ""
        done = trained(training.method, training, self.splits["train"], 0, watched)
        return done and self._model_ready(training.model)

    def _parts(self, kind: type[Explainer], row: Row, seed: int) -> dict[str, Any]:
        """Return the parts of an explainer by name."""
        parts: dict[str, Any] = {}
        for field in dataclasses.fields(kind):
            if field.kw_only or not field.init or field.name == "classifier":
                continue
            needed = field.default is dataclasses.MISSING
            if field.name == "reference":
                parts["reference"] = self.splits["train"]
            elif field.name == "explainer" and isinstance(row, Untrained) and (needed or row.explainer):
                parts["explainer"] = self.make(row.explainer, seed)[0]
            elif field.name == "autoencoder" and isinstance(row, Untrained) and (needed or row.autoencoder):
                parts["autoencoder"] = self.autoencoder()
            elif row.model is not None and needed:
                parts[field.name] = self.model(row.model)
            elif needed:
                raise ValueError(f"{row.method}: its part {field.name!r} is not filled; give the row a model")
        return parts

    def autoencoder(self) -> torch.nn.Module:
        """Return the autoencoder of all classes that judges realism (IM2), from the cache or trained."""
        explainer = baseline("identity")(self.classifier)  # a context belongs to an explainer; which one is no matter
        train = self.splits["train"]
        context = Context(explainer=explainer, data=train, reference=train, judges=cache() / "judges")
        return judge(Autoencoders, context, JudgeSettings()).networks["all"]

    def model(self, training: Training) -> Any:
        """Return the generative model of these settings, from the cache or trained; its seed is 0.

        One that can keep a classifier's features is shown the classifier that is explained.
        """
        from obverse.models import model  # only tables with such rows need it

        train, validation = self.splits["train"], self.splits["validation"]
        kind: Any = model(training.method)
        inner = () if training.model is None else (self.model(training.model),)
        watches = _watches(training)
        watched = {"classifier": self.classifier} if watches else {}
        made = kind(*inner, train.image_shape, seed=0, **watched, **restore(kind, dict(training.settings)))
        folder = _folder(training.method, training, train, 0, self.classifier.fingerprint if watches else "")
        _fit(made, training, train, validation, folder, 0)
        return made


def weights(explainer: Explainer) -> str:
    """Return a digest of all networks that an explainer works with: its own, its parts' and the classifier's."""
    digest = hashlib.sha256()
    for module in _networks(explainer):
        digest.update(digest_of(module, ()).encode())
    return digest.hexdigest()[:12]


def _networks(explainer: Explainer) -> list[torch.nn.Module]:
    parts = [getattr(explainer, field.name) for field in dataclasses.fields(explainer) if field.init]
    inner = [network for part in parts if isinstance(part, Explainer) for network in _networks(part)]
    return [*explainer._modules(), *inner]


def _fit(job: Trainable, training: Training, train: Dataset, validation: Dataset, folder: Path, seed: int) -> History:
    """Train, go on, or take the weights of a run that is done, whatever settings the method has got since.

    Raises:
        ValueError: that run had another default, classifier or model than there is now.
    """
    if (history := _finished(training, folder)) is not None:
        _check_as_before(job, folder)
        job.networks.load_state_dict(load_tensors(folder / "best" / "networks.safetensors"))
        job.networks.to(job.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        return history
    return fit(
        job, None if training.samples else train, validation=validation, steps=training.steps, batch_size=training.batch_size,
        validate_every=training.validate_every, max_minutes=training.max_minutes, run_dir=folder,
        existing="resume", seed=seed,
    )  # fmt: skip


def _check_as_before(job: Trainable, folder: Path) -> None:
    """Raise where a run that is done differs in what both it and its method now can say of themselves."""

    def told(description: Mapping[str, Any]) -> dict[str, Any]:
        flat = {**description, **description.get("hyperparameters", {})}
        return {name: json.dumps(value, sort_keys=True) for name, value in flat.items() if name != "hyperparameters"}

    before, now = told(read_json(folder / "config.json")["what"]), told(job.describe())
    changed = [f"{name} {before[name]} (now {now[name]})" for name in now if name in before and before[name] != now[name]]
    if changed:
        raise ValueError(f"{folder}: was trained with {', '.join(changed)}; delete the folder to train anew, or name the old "
                         "value in the row's settings")  # fmt: skip


def _finished(training: Training, folder: Path) -> History | None:
    """Return the history of a run that is done, by steps or minutes; None if there is more to train."""
    if not (standing(folder / "best").is_dir() and (standing(folder / "checkpoint") / "state.json").exists()):
        return None
    history = history_of(folder)
    late = training.max_minutes is not None and history.seconds >= 60 * training.max_minutes
    return history if history.steps >= training.steps or late else None


def trained(kind: str, training: Training, data: Dataset, seed: int, classifier: str) -> bool:
    """Return whether a run of these settings is done and in the cache."""
    folder = _folder(kind, training.run, data, seed, classifier)
    return _finished(training, folder) is not None


def _watches(training: Training) -> bool:
    """Return whether a generative model keeps a classifier's features."""
    from obverse.models import model

    return any(field.name == "classifier" for field in dataclasses.fields(model(training.method)))


def _folder(kind: str, training: Training, data: Dataset, seed: int, classifier: str) -> Path:
    known: dict[str, Any] = {**facts(training), "data": data.name, "shape": data.image_shape, "seed": seed,
                             "count": len(data), "classifier": classifier}  # fmt: skip
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return cache() / f"{data.name.replace(':', '-').replace('/', '-')}-{kind}-{digest}"
