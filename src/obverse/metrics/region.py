"""Is it close, outside the lesion? Change inside and outside annotated regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.metrics.base import Better, ImageMetric
from obverse.metrics.localisation import annotation
from obverse.metrics.proximity import QUESTION, ssim
from obverse.metrics.validity import made

Region = Literal["inside", "outside"]
Sign = Literal["signed", "absolute"]


def mean_within(value: Tensor, region: Tensor) -> Tensor:
    """Return (N,) the mean of (N, C, H, W) over the pixels of regions (N, 1, H, W); 0 where a region is empty."""
    region = region.expand_as(value).flatten(1)
    return (value.flatten(1) * region).sum(1) / region.sum(1).clamp_min(1)


@dataclass(frozen=True)
class MaskedSsim(ImageMetric):
    """Structural similarity with the annotated region removed from both images."""

    name: ClassVar[str] = "masked_ssim"
    title: ClassVar[str] = "SSIM, lesion removed"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "SSIM((1 - mask) x', (1 - mask) x)"
    source: ClassVar[str] = "CX-GAN table 4"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "mask"})
    about: ClassVar[str] = (
        "Tells whether the healthy part is left alone. The removed region counts as equal, as in the paper, so large "
        "regions flatter."
    )

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows with a non-empty mask."""
        return (annotation(sample) > 0).flatten(1).any(1)

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        outside = 1 - annotation(sample)
        return ssim(made(explanation) * outside, explanation.image * outside)


@dataclass(frozen=True)
class NonResemblance(ImageMetric):
    """Change inside or outside the annotated region.

    Args:
        region: where.
        sign: "signed" is the printed formula, "absolute" what its name says.
    """

    region: Region = "inside"
    sign: Sign = "absolute"

    name: ClassVar[str] = "non_resemblance"
    title: ClassVar[str] = "non-resemblance"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    formula: ClassVar[str] = (
        "absolute: mean of |x' - x| over the region; as printed: 1 - mean of (x' - x) over the region"
    )
    source: ClassVar[str] = "CX-GAN eqs 11 and 12, table 3"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "mask"})
    about: ClassVar[str] = (
        "Should be high inside and low outside when a lesion is removed. The printed formula has no absolute value and "
        "gives 1 for equal images, so changes of both signs cancel; the absolute one is 0 for equal images."
    )

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return both regions, absolute and as printed."""
        return (cls(), cls("outside"), cls("inside", "signed"), cls("outside", "signed"))

    @property
    def label(self) -> str:
        """The title, with region and formula."""
        return f"{self.title}, {self.region} the lesion" + (" (as printed)" if self.sign == "signed" else "")

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows with a non-empty mask, and for the outside one that does not cover everything."""
        mask = annotation(sample).flatten(1)
        return (mask > 0).any(1) & ((mask == 0).any(1) if self.region == "outside" else torch.ones_like(mask[:, 0] > 0))

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,): in [0, 1] absolute, in [0, 2] signed."""
        change, mask = made(explanation) - explanation.image, annotation(sample)
        region = mask if self.region == "inside" else 1 - mask
        return mean_within(change.abs(), region) if self.sign == "absolute" else 1 - mean_within(change, region)
