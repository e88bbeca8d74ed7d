"""Latents whose images a classifier decides as wanted: training without images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.generative import GenerativeModel


@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples by class, the classes side by side.

    Args:
        latent: (M rows, D).
        image: (M rows, C, H, W), what the model makes of them.
        drawn, accepted: (M,) int64, how many were made in search of each class, and how many of these were decided so.
    """

    latent: Tensor
    image: Tensor
    drawn: Tensor
    accepted: Tensor


def draw(
    model: GenerativeModel, classifier: Classifier, classes: Sequence[int], rows: int,
    normal: Callable[[int], Tensor], *, least: float, before: tuple[Sequence[int], Sequence[int]] | None = None,
) -> Drawn:  # fmt: skip
    """Draw until the classifier has decided `rows` samples for each class (C3LT section 3.1, rejection sampling).

    A conditional model is asked for each class and the classifier still has its say; an unconditional one draws for all
    classes at once.

    Args:
        model: makes the images.
        classifier: decides.
        classes: indices into the classifier's classes.
        rows: wanted for each.
        normal: count to (count, model.normal_size) standard normal noise, fresh at every call.
        least: share of the draws below which the search for a class is given up, as soon as three standard deviations
            cannot explain it.
        before: how many were drawn and accepted for each class earlier, which count in that.

    Raises:
        ValueError: a class that a conditional model does not know, or that is hardly ever made.
    """
    count = len(classes)
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in classes]
    have = [0] * count
    drawn, accepted = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
    earlier = before or ([0] * count, [0] * count)
    calls = 0
    while min(have) < rows:
        lacking = [k for k in range(count) if have[k] < rows]
        for group in [lacking] if model.classes is None else [[k] for k in lacking]:
            size = 2 * rows * count
            if model.classes is not None:  # most are decided as asked; the sizes must not depend on how many, see Step.normal
                size = rows if calls == 0 else min(2 * rows, max(8, rows // 2) << (calls - 1))
            noise = normal(size)
            target = None if model.classes is None else model.index(classifier.classes[classes[group[0]]])
            with torch.no_grad():
                latent = model.from_normal(noise, target)
                image = model.decode(latent)
                decided = classifier.decide(image)
            for k in group:
                mine = (decided == classes[k]).nonzero().flatten()
                drawn[k] += len(noise)
                accepted[k] += len(mine)
                mine = mine[: rows - have[k]]
                found[k].append((latent[mine], image[mine]))
                have[k] += len(mine)
                totals = int(drawn[k]) + earlier[0][k], int(accepted[k]) + earlier[1][k]
                _check_hope(model, classifier.classes[classes[k]], *totals, least)
        calls += 1
    latents, images = ([torch.cat([one[part] for one in each]) for each in found] for part in (0, 1))
    return Drawn(torch.cat(latents), torch.cat(images), drawn, accepted)


def _check_hope(model: GenerativeModel, name: str, drawn: int, accepted: int, least: float) -> None:
    wanted = drawn * least
    if accepted < wanted - 3 * math.sqrt(wanted):
        raise ValueError(f"data: the classifier decides {name!r} for {accepted} of {drawn} samples of {model.name} (least "
                         f"acceptance {least:g}): too few to train on samples alone; pass images, a model conditioned on "
                         "the class or trained on those classes, or a lower least_acceptance")  # fmt: skip
