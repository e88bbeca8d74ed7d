"""CEM, pertinent negatives (Dhurandhar et al. 2018): the least that must be added for another decision."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from obverse.baselines.common import margin, search_logits
from obverse.baselines.controls import reconstruct
from obverse.classifier import Classifier
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import as_saved
from obverse.search import minimise
from obverse.settings import check_positive
from obverse.training import Precision, in_bf16


@dataclass(eq=False, kw_only=True)
class CEM(Explainer):
    """The pertinent negative: least c hinge(x + d) + beta |d|_1 + |d|_2^2 + gamma |x + d - AE(x + d)|^2 over d (eq. 1).

    Solved as published: shrinkage-thresholding steps with momentum (threshold beta, rate falling as a square root),
    and an outer search over c, ten times as large after a failure and halfway back after a success; kept is the
    successful image of the least |d|_2^2 + beta |d|_1. As C3LT does, the hinge asks for a class that is named, not
    for any other.

    Deviations: all images are searched at once; progress is looked at every `check_every` steps instead of each; an
    image that has succeeded and got no better for `patience` steps leaves the search; the first step is half as long and
    the first c five times as large, because with the published ones and an autoencoder the search swings (digits 3 and 8:
    L1 0.11 instead of 0.04). `CEM.published` switches all but the first off. In both, the point that momentum looks ahead
    to and what the autoencoder returns are clipped to [0, 1], where the released code clips the image alone, and a success is one
    of the image as an 8-bit file would keep it.

    Args:
        autoencoder: maps images to themselves, for gamma; None leaves that term out. It is moved to the classifier's
            device.
        change: "add" may only brighten pixels, as published (with a black background: add strokes); "any" lifts that.
        beta: weight of the L1 norm, and the threshold.
        gamma: weight of the autoencoder's squared error (C3LT: 100).
        kappa: margin of logits by which the target must lead.
        constant: the first c.
        searches: values of c.
        steps: a search.
        rate: of the first step.
        patience: steps without progress after a success.
        check_every: steps between two looks.
        precision: of the search; "auto" is bf16 where the machine is fast at it. Successes are judged in float32.

    Raises:
        ValueError: numbers that are not positive; when explaining: an autoencoder that returns another shape.
    """

    name: ClassVar[str] = "cem"

    autoencoder: nn.Module | None = field(default=None, kw_only=False, repr=False)
    change: Literal["add", "any"] = "add"
    beta: float = 0.1
    gamma: float = 100.0
    kappa: float = 0.0
    constant: float = 50.0
    searches: int = 3
    steps: int = 300
    rate: float = 0.005
    patience: int = 30
    check_every: int = 5
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "constant", "searches", "steps", "rate", "patience", "check_every")
        if min(self.beta, self.gamma, self.kappa) < 0:
            raise ValueError(f"beta, gamma, kappa: expected at least 0, got {self.beta:g}, {self.gamma:g}, "
                             f"{self.kappa:g}; 0 switches one off")  # fmt: skip
        if self.autoencoder is not None:
            self.autoencoder.to(self.classifier.device)

    @classmethod
    def published(cls, classifier: Classifier, autoencoder: nn.Module | None = None) -> Self:
        """Return the published setting: 9 searches of 1000 steps, every step looked at, none cut short."""
        return cls(
            classifier, autoencoder, constant=10.0, searches=9, steps=1000, rate=0.01, patience=1000, check_every=1,
            precision="float32",
        )  # fmt: skip

    def answer(self, query: Query) -> Answer:
        """Return the nearest success of all searches, or where there was none the last image of the last search."""
        count, like = len(query.image), query.image.new_zeros(len(query.image))
        best, best_distance = query.image.clone(), torch.full_like(like, torch.inf)
        constant, low = torch.full_like(like, self.constant), torch.zeros_like(like)
        high = torch.full_like(like, torch.inf)
        for _ in range(self.searches):
            search = _Search(self, query, constant)
            search.run()
            success = search.distance.isfinite()
            nearer = search.distance < best_distance
            failed = ~success & best_distance.isinf()
            replace = nearer | failed
            best[replace] = search.found[replace]
            best_distance = torch.minimum(best_distance, search.distance)
            high = torch.where(success, torch.minimum(high, constant), high)
            low = torch.where(success, low, torch.maximum(low, constant))
            constant = torch.where(high.isfinite(), (low + high) / 2, constant * 10)
        return Answer(counterfactual=best.view(count, *self.classifier.image_shape))

    def smooth_loss(self, image: Tensor, query: Tensor, target: Tensor, constant: Tensor) -> Tensor:
        """Return (M,) all of eq. 1 but the L1 norm, which the shrinkage steps stand for."""
        hinge = (self.kappa - margin(search_logits(self.classifier, image).float(), target)).clamp_min(0)
        loss = constant * hinge + (image - query).square().flatten(1).sum(1)
        if self.autoencoder is not None:
            error = image - reconstruct(self.autoencoder, image).float()
            loss = loss + self.gamma * error.square().flatten(1).sum(1)
        return loss

    def describe(self) -> dict[str, Any]:
        """Return the settings and whether there is an autoencoder."""
        return super().describe() | {"autoencoder": type(self.autoencoder).__name__ if self.autoencoder else None}

    def _modules(self) -> list[nn.Module]:
        return [*super()._modules(), *([self.autoencoder] if self.autoencoder is not None else [])]


class _Search:
    """One search of c for all images: what `minimise` moves is the momentum point, `current` are the images."""

    def __init__(self, method: CEM, query: Query, constant: Tensor) -> None:
        self.method, self.query, self.constant = method, query, constant
        self.current = query.image.clone()
        self.found = query.image.clone()
        self.distance = torch.full_like(constant, torch.inf)
        self.since = torch.zeros_like(constant)
        self.low = in_bf16(method.precision, query.image.device)
        self.moves = -1  # `minimise` also projects the start

    def run(self) -> None:
        """Search, leaving the nearest success in `found` and its distance, infinite where there is none."""
        found = minimise(
            self.loss, self.query.image, steps=self.method.steps, rate=self.method.rate, update="sgd",
            project=self.shrink, done=self.rest, check_every=self.method.check_every,
        )  # fmt: skip
        failed = self.distance.isinf() & ~found.stopped
        self.found[failed] = self.current[failed]

    def loss(self, point: Tensor, rows: Tensor) -> Tensor:
        """Return (M,) the loss of the momentum points at this step's rate."""
        # the rate falls to 0 as a square root: as a factor of the loss, since `minimise` has one rate
        share = 1 - max(self.moves, 0) / self.method.steps
        with torch.autocast(point.device.type, torch.bfloat16, enabled=self.low):
            loss = self.method.smooth_loss(point, self.query.image[rows], self.query.target[rows], self.constant[rows])
        return loss * math.sqrt(max(share, 0.0))

    def shrink(self, point: Tensor, rows: Tensor) -> Tensor:
        """Threshold the change, keep to the allowed side, and return the momentum point."""
        start, self.moves = self.query.image[rows], self.moves + 1
        change = point - start
        change = change.sign() * (change.abs() - self.method.beta).clamp_min(0)
        image = self._allowed(start + change, start)
        momentum = self.moves / (self.moves + 3)
        ahead = self._allowed(image + momentum * (image - self.current[rows]), start)
        self.current[rows] = image
        return ahead

    def rest(self, _: Tensor, rows: Tensor) -> Tensor:
        """Note successes that are nearer than before; return which images may leave."""
        image, start = self.current[rows], self.query.image[rows]
        with torch.autocast(image.device.type, enabled=False):
            lead = margin(search_logits(self.method.classifier, as_saved(image)), self.query.target[rows])
        distance = _distance(image - start, self.method.beta)
        better = (lead > self.method.kappa) & (distance < self.distance[rows])
        noted = rows[better]
        self.found[noted], self.distance[noted] = image[better], distance[better]
        self.since[rows] = torch.where(better, torch.zeros_like(distance), self.since[rows] + self.method.check_every)
        return self.distance[rows].isfinite() & (self.since[rows] >= self.method.patience)

    def _allowed(self, image: Tensor, start: Tensor) -> Tensor:
        image = image.clamp(0, 1)
        return torch.maximum(image, start) if self.method.change == "add" else image


def _distance(change: Tensor, beta: float) -> Tensor:
    return change.square().flatten(1).sum(1) + beta * change.abs().flatten(1).sum(1)
