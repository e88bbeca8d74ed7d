"""evaluate(): streams a data set through an explainer and the metrics."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from obverse.classifier import Classifier
from obverse.data.base import Dataset
from obverse.explainer import Explainer, Precision
from obverse.metrics import Metric, instances
from obverse.metrics.base import Context
from obverse.metrics.validity import check_second
from obverse.report.base import Report, Row
from obverse.report.collect import Run
from obverse.report.examples import Examples
from obverse.runs import device_name, versions
from obverse.training import History

__all__ = ["Report", "Row", "evaluate"]


def evaluate(
    explainer: Explainer,
    data: Dataset,
    *,
    reference: Dataset | None = None,
    validation: Dataset | None = None,
    second_classifier: Classifier | None = None,
    attribute_classifier: Classifier | None = None,
    recogniser: nn.Module | None = None,
    judges: str | Path | None = None,
    inception: str | Path | None = None,
    metrics: Sequence[str | Metric] | None = None,
    target: int | str | None = None,
    answers: int = 1,
    precision: Precision = "float32",
    history: History | None = None,
    examples: int = 48,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> Report:
    """Explain every image of a data set and say how far the explanations can be trusted.

    Images are streamed; only figures, features and the examples are kept. A metric whose argument is missing is
    listed as skipped, one that fails as failed, and neither loses the others. Answers of which nothing was asked
    (the image was already decided as the target) are left out and counted.

    Args:
        explainer: the method, bound to its classifier.
        data: what is explained.
        reference: real images for set comparisons, usually the training split.
        validation: images on which thresholds are chosen.
        second_classifier: trained independently on the same classes.
        attribute_classifier: multi-label classifier of the data's attributes.
        recogniser: from images to identity vectors, (N, C, H, W) -> (N, D).
        judges: folder where the networks that judge realism are kept; what is missing is trained there on the
            reference, once for a data set and classifier.
        inception: safetensors file with the weights of Inception-v3, for distances on its features.
        metrics: names in METRICS or instances; None takes all.
        target: class index or name for all images; None is the other class, or the runner-up.
        answers: how many answers an image.
        precision: of the method's networks; posteriors are float32.
        history: what `fit` returned, for the training curve.
        examples: how many answers the report shows.
        seed: of every random choice.
        batch_size: images at a time; None takes 256, fewer where they are large, for the sake of memory, and 16 where noise
            chooses among answers: the images of a batch share theirs, and each batch has its own.
        progress: show a bar (where the output is no terminal, one line a minute).

    Raises:
        ValueError: no images, masks that do not fit, a second classifier of other classes, explanations of another
            classifier, or unknown metrics.
    """
    context = Context(
        explainer=explainer, data=data, reference=reference, validation=validation,
        second_classifier=second_classifier, attribute_classifier=attribute_classifier, recogniser=recogniser,
        judges=None if judges is None else Path(judges), inception=None if inception is None else Path(inception),
        target=target, seed=seed, batch_size=batch_size or (min(16, fitting(data)) if explainer.many_answers else fitting(data)),
        precision=precision,
    )  # fmt: skip
    if len(data) == 0:
        raise ValueError("data: expected at least one image, got none; check the split or the filter")
    if second_classifier is not None:
        check_second(second_classifier, explainer.classifier)
    run = Run(context, instances(metrics), Examples(examples, seed))
    run.probe()
    run.stream(answers, precision, progress=progress)
    run.follow(answers)
    found, rows, values = run.results()
    settings = _settings(context, answers, precision) | {"classifier accuracy on these images": run.accuracy}
    settings["data"]["digest"] = run.images.hexdigest()[:16]
    return Report(
        title=f"{explainer.name} on {data.name} {data.split}".strip(), rows=tuple(rows), counts=run.counts,
        skipped=run.skipped, failures=run.failures, settings=settings,
        versions=versions() | _hardware(explainer.classifier), times=run.times, curves=run.curves,
        training=() if history is None else history.curve, values=values,
        identity=torch.stack([found.image, found.source, found.target], 1), group=found.group, examples=run.examples,
    )  # fmt: skip


def _settings(context: Context, answers: int, precision: Precision) -> dict[str, Any]:
    """Return what one needs to do the same again."""
    judge = context.second_classifier
    others = {"reference": context.reference, "validation": context.validation}
    return {
        "explainer": context.explainer.describe(), "data": _describe(context.data), "target": context.target,
        "answers": answers, "precision": precision, "seed": context.seed, "batch size": context.batch_size,
        **{name: _describe(data) for name, data in others.items() if data is not None},
        "second classifier": None if judge is None else judge.fingerprint,
        "judges": None if context.judges is None else str(context.judges),
    }  # fmt: skip


def fitting(data: Dataset) -> int:
    """Return how many images hold a million pixels, at most 256."""
    return max(1, min(256, 2**20 // math.prod(data.image_shape[1:])))


def _describe(data: Dataset) -> dict[str, Any]:
    return {"name": data.name, "split": data.split, "images": len(data), "classes": list(data.classes),
            "shape": list(data.image_shape), "notes": list(data.notes)}  # fmt: skip


def _hardware(classifier: Classifier) -> dict[str, str]:
    device = classifier.device
    name = f"{device.type}: {device_name(device)}"
    return {"device": name, "cores": str(os.cpu_count()), "threads": str(torch.get_num_threads())}
