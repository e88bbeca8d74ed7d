"""Does the change drive the decision? The classifier while the pixels that a map ranks first are taken away."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.metrics.base import Better, Context, ImageMetric, Metric
from obverse.metrics.drive import QUESTION
from obverse.metrics.localisation import evidence
from obverse.metrics.perturbation import area, bounds, exchange_curve, exchanged, ranks

Ranking = Literal["attribution", "random"]
_CURVES: WeakKeyDictionary[Explanation, dict[Metric, Tensor]] = WeakKeyDictionary()
"""Curves of the batch at hand, which a metric sums up and shows; gone with the explanation."""


def random_map(explanation: Explanation, seed: int) -> Tensor:
    """Return one random ranking (N, 1, H, W), the same for every image: the control."""
    like = explanation.attribution
    drawn = torch.rand(like.shape[1:], generator=torch.Generator().manual_seed(seed))
    return drawn.to(like.device).expand_as(like)


@dataclass(frozen=True)
class _Ranked(ImageMetric):
    """A figure of a map's ranking of the pixels.

    Args:
        ranking: the attribution, or random numbers as a control.
        seed: of the control and of noise.
    """

    ranking: Ranking = "attribution"
    seed: int = field(default=0, repr=False)

    question: ClassVar[str] = QUESTION

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return one by attribution and one at random as a control."""
        return (cls(), cls("random"))

    @property
    def label(self) -> str:
        """The title, with the ranking."""
        return self.title if self.ranking == "attribution" else f"{self.title}, random ranking (control)"

    def prepare(self, context: Context) -> Self:
        """Take the seed."""
        return dataclasses.replace(self, seed=context.seed)

    def order(self, explanation: Explanation) -> Tensor:
        """Return the map whose highest pixels go first."""
        return (
            evidence(explanation, "attribution")
            if self.ranking == "attribution"
            else random_map(explanation, self.seed)
        )


def mean_fill(image: Tensor) -> Tensor:
    """Return images of each image's own mean, a channel at a time."""
    return image.mean((2, 3), keepdim=True).expand_as(image)


@dataclass(frozen=True)
class _Area(_Ranked):
    """An area under the source's posterior while pixels are exchanged, with the curve itself.

    Args:
        steps: T.
    """

    steps: int = 20

    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @abstractmethod
    def ends(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images (N, C, H, W) from which and to which pixels are exchanged."""

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return area(self.curve(explanation, sample, classifier))

    def curve(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N, T + 1), the source's posterior over the share of the pixels that were exchanged."""
        kept = _CURVES.setdefault(explanation, {})
        if self not in kept:
            order = self.order(explanation)
            counts = bounds(order[0].numel(), self.steps)
            whole = exchange_curve(*self.ends(explanation.image), order, classifier, counts)
            kept[self] = whole.gather(2, explanation.source.view(-1, 1, 1).expand(-1, whole.shape[1], 1))[:, :, 0]
        return kept[self]


@dataclass(frozen=True)
class Deletion(_Area):
    """Area under the source's posterior while the map's highest pixels are replaced by the image's mean."""

    name: ClassVar[str] = "deletion"
    title: ClassVar[str] = "deletion"
    better: ClassVar[Better] = "lower"
    formula: ClassVar[str] = "area under f_source(x_t), x_t: the t/T highest pixels set to the image's mean; T = 20"
    source: ClassVar[str] = "Petsiuk et al. 2018 (RISE), with the image's mean as fill"
    about: ClassVar[str] = (
        "Tells whether the decision hangs on the pixels that the map ranks first. Filled images are unlike any real "
        "one, so a drop may come from strangeness alone: read it beside the random ranking."
    )

    def ends(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and their means."""
        return image, mean_fill(image)


@dataclass(frozen=True)
class Insertion(_Area):
    """Area under the source's posterior while the map's highest pixels come back into a flat image."""

    name: ClassVar[str] = "insertion"
    title: ClassVar[str] = "insertion"
    better: ClassVar[Better] = "higher"
    formula: ClassVar[str] = (
        "area under f_source(x_t), x_t: the image's mean with the t/T highest pixels put back; T = 20"
    )
    source: ClassVar[str] = "Petsiuk et al. 2018 (RISE), from the image's mean instead of a blurred image"
    about: ClassVar[str] = (
        "Tells whether the pixels that the map ranks first suffice for the decision. A classifier that decides flat "
        "images as the source scores high with any map: read it beside the random ranking."
    )

    def ends(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images' means and the images."""
        return mean_fill(image), image


@dataclass(frozen=True)
class PixelDeletion(_Ranked):
    """Share of decisions that survive noise in the map's highest pixels."""

    fractions: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3)
    draws: int = 5

    name: ClassVar[str] = "pixel_deletion"
    title: ClassVar[str] = "decisions kept under pixel deletion"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = (
        "mean of [argmax f(x_q) = source]; the q highest pixels uniform noise; 5 values of q, 5 draws"
    )
    source: ClassVar[str] = "EPE section 4.3, after Samek 2016; fractions 0.02 to 0.3 and 5 draws are ours (unstated)"
    about: ClassVar[str] = (
        "As deletion, with noise on [0, 1] in place of the mean and the decision in place of the posterior. The noise "
        "is the same for every image."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        image, order = explanation.image, self.order(explanation)
        pixels = order[0].numel()
        counts = [0, *(round(share * pixels) for share in self.fractions)]
        kept = torch.zeros(len(image), device=image.device)
        for draw in range(self.draws):
            generator = torch.Generator().manual_seed(self.seed + 1000 * (draw + 1))
            noise = torch.rand(image.shape[1:], generator=generator).to(image.device).expand_as(image)
            decided = exchange_curve(image, noise, order, classifier, counts)[:, 1:].argmax(2)
            kept += (decided == explanation.source[:, None]).float().mean(1)
        return kept / self.draws


@dataclass(frozen=True)
class ConfidenceDrop(_Ranked):
    """Drop of the source's posterior when the map's highest pixels are replaced by the image's mean."""

    masked: float = 0.05

    name: ClassVar[str] = "confidence_drop"
    title: ClassVar[str] = "confidence drop"
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "mean of f_source(x) - f_source(x with its 5 % highest pixels set to the image's mean)"
    source: ClassVar[str] = "medXGAN table 2, at equal mask area and with the mean of the original as fill"
    about: ClassVar[str] = (
        "One point of the deletion curve. The paper's masks were of unequal area, and its fill was the mean of the "
        "image being edited; both are put right, so its figures do not compare."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        image, order = explanation.image, self.order(explanation)
        count = torch.full((len(image),), max(1, round(self.masked * order[0].numel())), device=image.device)
        after = classifier.posterior(exchanged(image, mean_fill(image), ranks(order), count))
        drop = explanation.posterior_before - after
        return drop.gather(1, explanation.source[:, None])[:, 0]
