"""Is it close? How little of the image changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation, NotApplicable
from obverse.losses import l1_each
from obverse.metrics.base import Better, ImageMetric, needed
from obverse.metrics.validity import made

QUESTION = "Is it close?"
Against = Literal["image", "stable"]
AT_ONCE = {"cpu": 65_536, "cuda": 500_000}
"""Numbers compared at a time; SSIM holds some thirty times as many, and is twice as fast where they fit the caches."""


def start(explanation: Explanation, against: Against) -> Tensor:
    """Return what the counterfactual is compared with.

    Raises:
        NotApplicable: the method makes no stable image.
    """
    return explanation.image if against == "image" else needed(explanation.stable, "stable")


@dataclass(frozen=True)
class _Distance(ImageMetric):
    """A distance from the image, or from the method's own picture of it.

    Args:
        against: what the counterfactual is compared with.
    """

    against: Against = "image"

    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})
    question: ClassVar[str] = QUESTION

    @property
    def label(self) -> str:
        """The title, with what is compared."""
        return self.title if self.against == "image" else f"{self.title}, to the stable image"

    @property
    def required(self) -> frozenset[str]:
        """A counterfactual, and a stable image if that is compared."""
        return self.needs if self.against == "image" else self.needs | {"stable"}


@dataclass(frozen=True)
class L1(_Distance):
    """Mean absolute change of a pixel, on [0, 1]."""

    name: ClassVar[str] = "l1"
    title: ClassVar[str] = "L1 on [0, 1]"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean over pixels and channels of |x' - x|"
    source: ClassVar[str] = "C3LT eq. 10, on [0, 1] (the paper's scale is twice this, see l1_paper)"
    about: ClassVar[str] = (
        "Tells how much changed on the average pixel. Cannot tell one strong change in one place from a "
        "faint one everywhere, nor a needed change from an idle one. 0 when nothing changed, valid or not."
    )

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return one against the image and one against the stable image."""
        return (cls(), cls("stable"))

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return l1_each(made(explanation), start(explanation, self.against))


@dataclass(frozen=True)
class L1Paper(_Distance):
    """Mean absolute change of a pixel on a range of width 2, as C3LT prints it."""

    name: ClassVar[str] = "l1_paper"
    title: ClassVar[str] = "L1 on [-1, 1] (C3LT's scale)"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    formula: ClassVar[str] = "mean over pixels and channels of |(2x' - 1) - (2x - 1)|"
    source: ClassVar[str] = "C3LT eq. 10; the released code keeps images in [-1, 1]"
    about: ClassVar[str] = "Twice L1 on [0, 1]; only for reading beside the numbers C3LT prints."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 2]."""
        return 2 * l1_each(made(explanation), start(explanation, self.against))


@dataclass(frozen=True)
class L2(_Distance):
    """Root of the mean squared change of a pixel, on [0, 1]."""

    name: ClassVar[str] = "l2"
    title: ClassVar[str] = "L2 on [0, 1]"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "root of the mean over pixels and channels of (x' - x)^2"
    source: ClassVar[str] = "obverse"
    about: ClassVar[str] = "As L1, with strong changes counting for more."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return (made(explanation) - start(explanation, self.against)).square().flatten(1).mean(1).sqrt()


@dataclass(frozen=True)
class ChangedShare(_Distance):
    """Share of pixels that change by more than a stated step in any channel."""

    step: float = 0.05

    name: ClassVar[str] = "changed_share"
    title: ClassVar[str] = "share of pixels changed"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean over pixels of [max over channels |x' - x| > 0.05]"
    source: ClassVar[str] = "obverse"
    about: ClassVar[str] = "Tells how much of the image is touched. Cannot tell how strongly; the step is arbitrary."

    def note(self) -> str:
        """The step."""
        return f"by more than {self.step:g}"

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        change = (made(explanation) - start(explanation, self.against)).abs().amax(1)
        return (change > self.step).float().flatten(1).mean(1)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return (N,) structural similarity, Gaussian window of deviation 1.5 and width 11, for a range of 1.

    Raises:
        NotApplicable: images with a side below 11.
    """
    if min(first.shape[-2:]) < 11:
        raise NotApplicable(f"image: SSIM's window needs sides of at least 11, got {tuple(first.shape[-2:])}; "
                            "use L1 and L2")  # fmt: skip
    from torchmetrics.functional.image import structural_similarity_index_measure  # slow to import

    parts = []
    size = max(1, AT_ONCE.get(first.device.type, 500_000) // first[0].numel())
    for one, other in zip(first.split(size), second.split(size)):
        found = structural_similarity_index_measure(
            one, other, data_range=1.0, reduction="none", return_full_image=True
        )
        if not isinstance(found, tuple):
            raise TypeError(
                f"SSIM: expected value and map from torchmetrics, got {type(found).__name__}; check its version"
            )
        parts.append(found[1][..., 5:-5, 5:-5].flatten(1).mean(1))  # whole windows only, as printed; it mirrors the border
    return torch.cat(parts).clamp(-1, 1) if parts else first.new_zeros(0)


@dataclass(frozen=True)
class Ssim(_Distance):
    """Structural similarity of counterfactual and image."""

    name: ClassVar[str] = "ssim"
    title: ClassVar[str] = "SSIM"
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "SSIM(x', x), Gaussian window of deviation 1.5 and width 11, range 1"
    source: ClassVar[str] = "Wang et al. 2004, by torchmetrics"
    about: ClassVar[str] = (
        "Tells whether structure is kept where brightness may shift. Dark flat ground scores 1, so data with much of "
        "it (digits) scores high with anything."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        return ssim(made(explanation), start(explanation, self.against))


@dataclass(frozen=True)
class _Picture(ImageMetric):
    """A figure of the method's own picture of the image, for methods that make one and say how good it is."""

    question: ClassVar[str] = QUESTION

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return all rows, or none where the method does not say."""
        known = getattr(explanation, self.name) is not None
        return torch.full((len(explanation),), known, device=explanation.image.device)

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        values: Tensor = getattr(explanation, self.name)
        return values.float()


@dataclass(frozen=True)
class Residual(_Picture):
    """Mean absolute error of the method's own picture of the image, on [0, 1]."""

    name: ClassVar[str] = "residual"
    title: ClassVar[str] = "residual of the method's own picture"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean over pixels and channels of |x_s - x|"
    source: ClassVar[str] = "EPE eq. 5 (delta = 0), medXGAN eq. 5 without its class term"
    about: ClassVar[str] = (
        "Tells whether the method explains this image or a similar one that it can make. Says nothing of the "
        "counterfactual."
    )


@dataclass(frozen=True)
class Represented(_Picture):
    """Share of images whose residual is at most that of 9 in 10 validation images."""

    name: ClassVar[str] = "represented"
    title: ClassVar[str] = "well represented"
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "share of images with a residual up to the 90th percentile on validation, fixed before"
    source: ClassVar[str] = "obverse"
    about: ClassVar[str] = (
        "About 0.9 on images like the validation set's; much less says that the method was not made for these images."
    )
    share: ClassVar[bool] = True
