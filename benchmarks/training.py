"""Trained networks of the tables, cached outside the repository by their settings, resumable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.table import Training
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import LearnedExplainer, restore
from obverse.methods import method
from obverse.training import History, fit


def cache() -> Path:
    """Return where trained rows are kept: $OBVERSE_BENCHMARKS, or a folder in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(os.environ.get("OBVERSE_BENCHMARKS", f"{home}/obverse/benchmarks"))


def train_classifier(training: Training, train: Dataset, validation: Dataset, seed: int) -> tuple[Classifier, History]:
    """Return the classifier of these settings, from the cache or trained."""
    settings = restore(ClassifierTraining, dict(training.settings))
    job = ClassifierTraining(classes=train.classes, image_shape=train.image_shape, seed=seed, **settings)
    folder = _folder("classifier", training, train, seed, "")
    history = _fit(job, training, train, validation, folder, seed)
    classifier = job.classifier()
    if not (folder / "classifier").exists():
        classifier.save(folder / "classifier")
    return classifier, history


def train_explainer(
    training: Training, classifier: Classifier, train: Dataset, validation: Dataset, seed: int
) -> tuple[LearnedExplainer, History]:
    """Return the explainer of these settings, from the cache or trained."""
    kind = method(training.method)
    explainer = kind(classifier, seed=seed, **restore(kind, dict(training.settings)))  # type: ignore[call-arg]
    if not isinstance(explainer, LearnedExplainer):
        raise TypeError(f"{training.method}: is not trained; leave out its training")
    folder = _folder(training.method, training, train, seed, classifier.fingerprint)
    return explainer, _fit(explainer, training, train, validation, folder, seed)


def _fit(
    job: ClassifierTraining | LearnedExplainer, training: Training, train: Dataset, validation: Dataset, folder: Path,
    seed: int,
) -> History:  # fmt: skip
    return fit(
        job, train, validation=validation, steps=training.steps, batch_size=training.batch_size,
        validate_every=training.validate_every, max_minutes=training.max_minutes, run_dir=folder,
        existing="resume", seed=seed,
    )  # fmt: skip


def _folder(kind: str, training: Training, data: Dataset, seed: int, classifier: str) -> Path:
    facts: dict[str, Any] = {**dataclasses.asdict(training), "data": data.name, "shape": data.image_shape, "seed": seed,
                             "count": len(data), "classifier": classifier}  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return cache() / f"{data.name.replace(':', '-').replace('/', '-')}-{kind}-{digest}"
