"""obverse demo: the main job on images that it makes itself, so that every answer is known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from obverse.checkpoint import write_json
from obverse.classification import ClassifierTraining
from obverse.classifier import Classifier
from obverse.commands.options import parse
from obverse.data.base import Dataset
from obverse.evaluation import evaluate
from obverse.methods.syce import CyCE
from obverse.opened import DataOptions
from obverse.training import History, fit

CLASSIFIER_STEPS, EXPLAINER_STEPS = 350, 600
SETTINGS: dict[str, Any] = {
    # the change instead of the whole image, and images of the wanted class left alone: learnt in minutes, not hours
    "residual": True, "identity": 5.0, "width": 8, "depth": 2, "refine": True, "norm": "none", "critic_width": 16,
    "generator_rate": 1e-3, "critic_rate": 1e-3, "momentum": (0.0, 0.99), "penalty_every": 4, "realism": 2.0,
    "adversarial_class": 0.2, "cycle_class": 0.02,
}  # fmt: skip
METRICS = ("validity", "posterior_gain", "l1", "dice", "iou", "ncc", "average_precision", "twin_distance", "seconds")


@dataclass(kw_only=True)
class DemoOptions:
    """Where the demo goes.

    Args:
        out: folder for the runs and the report; a demo that was cut short goes on there.
        overwrite: start again, also where a demo was run.
        seed: of weights, training and intervals; the images are always the same.
    """

    out: Path = Path("demo")
    overwrite: bool = False
    seed: int = 0


def run(arguments: list[str]) -> int:
    """Train a classifier and an explainer on generated lesions, score them against the truth, write the report."""
    about = "See obverse work: generated images, a classifier, an explainer, its figures and a report. No download."
    options: DemoOptions = parse("demo", about, {"demo": DemoOptions}, arguments)["demo"]
    began, out = time.monotonic(), options.out
    source = DataOptions(data="lesions", size=64, count=6000)
    train = source.open("train")
    small = DataOptions(data="lesions", size=64, count=400)
    validation, test = small.open("validation"), small.open("test")
    print(f"{len(train)} noise images of 64 px, half with a faint disc in one of two places; every diseased image has a "
          "known healthy twin")  # fmt: skip

    print("\n1. a classifier: healthy or diseased?")
    classifier, accuracy = _classifier(train, validation, test, out / "classifier", options)
    print(f"   accuracy on {len(test)} test images: {accuracy:.3f}")

    print("\n2. an explainer (CyCE): what would the image look like if the classifier decided otherwise?")
    explainer = CyCE(classifier, seed=options.seed, **SETTINGS)
    history = _fit(explainer, train, validation, out / "explainer", EXPLAINER_STEPS, 16, options)
    classifier.save(out / "explainer" / "classifier")
    write_json(out / "explainer" / "run.json", {"data": small.plain(), "view": {}})

    print("\n3. its figures, against the truth")
    report = evaluate(explainer, test, reference=train, validation=validation, history=history, metrics=METRICS,
                      seed=options.seed)  # fmt: skip
    path = out / "report.html"
    report.save(path)
    report.save(out / "report.json")
    print(f"\nclassifier accuracy {accuracy:.3f}")
    for row in (*report.headline(5), report.row("Dice, raw image (control)")):
        print(f"{row.label}: {row.text()}")
    print(f"\nall figures with intervals: the report, and {out / 'report.json'}")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes\nreport: {path.resolve()}")
    return 0


def _classifier(
    train: Dataset, validation: Dataset, test: Dataset, folder: Path, options: DemoOptions
) -> tuple[Classifier, float]:
    job = ClassifierTraining(classes=train.classes, image_shape=train.image_shape, architecture="ResNet", width=8,
                             learning_rate=3e-3, noise=0.05, seed=options.seed)  # fmt: skip
    _fit(job, train, validation, folder, CLASSIFIER_STEPS, 64, options)
    classifier = job.classifier()
    classifier.save(folder / "classifier")
    right = torch.eq(classifier.posteriors(test).argmax(1), torch.as_tensor(test.labels()))
    return classifier, float(right.float().mean())


def _fit(
    job: ClassifierTraining | CyCE,
    train: Dataset,
    validation: Dataset,
    folder: Path,
    steps: int,
    batch_size: int,
    options: DemoOptions,
) -> History:
    return fit(job, train, validation=validation, steps=steps, batch_size=batch_size, validate_every=50, run_dir=folder,
               existing="overwrite" if options.overwrite else "resume", seed=options.seed)  # fmt: skip
