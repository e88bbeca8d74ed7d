"""Is it the true answer? Comparisons with the true image of the other class, where data has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.losses import l1_each
from obverse.metrics.base import Better, ImageMetric, needed
from obverse.metrics.maps import correlation
from obverse.metrics.region import mean_within
from obverse.metrics.validity import made

QUESTION = "Does it point at the right place?"


def true_twin(sample: Sample) -> Tensor:
    """Return the twins.

    Raises:
        NotApplicable: the data has none.
    """
    return needed(sample.twin, "twin")


def has_other_twin(explanation: Explanation, sample: Sample) -> Tensor:
    """Return (N,) bool: the twin differs from the image, and the image was decided as labelled.

    An image that was decided wrongly is explained towards its own class, where its twin is not the answer.
    """
    rows = (true_twin(sample) != explanation.image).flatten(1).any(1)
    return rows if sample.label is None else rows & (sample.label == explanation.source)


@dataclass(frozen=True)
class TwinDistance(ImageMetric):
    """Mean absolute difference from the true image of the other class."""

    of: Literal["counterfactual", "image"] = "counterfactual"

    name: ClassVar[str] = "twin_distance"
    title: ClassVar[str] = "distance to the true twin"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean over pixels and channels of |x' - twin|, on [0, 1]"
    source: ClassVar[str] = "obverse (generated data knows the answer)"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "twin"})
    about: ClassVar[str] = (
        "Tells how far the answer is from the one true answer. The unchanged image is the control: an answer that is "
        "farther than it did more harm than good. Cannot be had on data without twins."
    )

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return one for the counterfactual and one for the unchanged image as a control."""
        return (cls(), cls("image"))

    @property
    def label(self) -> str:
        """The title, with what is compared."""
        return self.title if self.of == "counterfactual" else f"{self.title}, unchanged image (control)"

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows whose twin is the answer."""
        return has_other_twin(explanation, sample)

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        image = made(explanation) if self.of == "counterfactual" else explanation.image
        return l1_each(image, true_twin(sample))


@dataclass(frozen=True)
class TrueDifference(ImageMetric):
    """Correlation of the difference with the true difference."""

    name: ClassVar[str] = "true_difference"
    title: ClassVar[str] = "correlation with the true difference"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "mean of corr(x' - x_s, twin - x) over pixels and channels; 0 where either is constant"
    source: ClassVar[str] = "obverse, after CX-GAN's generated data"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "twin"})
    about: ClassVar[str] = (
        "Tells whether the right pixels change in the right direction. Blind to the amplitude and to a constant shift: "
        "read it beside the distance to the twin. x_s is the stable image, or the image where there is none."
    )

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows whose twin is the answer."""
        return has_other_twin(explanation, sample)

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        return correlation(needed(explanation.difference, "counterfactual"), true_twin(sample) - explanation.image)


@dataclass(frozen=True)
class LesionLeft(ImageMetric):
    """Share of the lesion that the counterfactual still has."""

    name: ClassVar[str] = "lesion_left"
    title: ClassVar[str] = "residual lesion contrast"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (-1000.0, 1000.0)
    formula: ClassVar[str] = "mean of (x' - twin) over the mask / mean of (x - twin) over the mask"
    source: ClassVar[str] = "obverse, after CX-GAN's published animation, in which the disc never goes"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "twin", "mask"})
    about: ClassVar[str] = (
        "0 where the lesion is gone, 1 where it is untouched, negative where too much was taken. Tells a map that "
        "finds the lesion from a counterfactual that removes it."
    )

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows whose twin is the answer and whose lesion stands out by more than a thousandth."""
        contrast = mean_within(explanation.image - true_twin(sample), needed(sample.mask, "mask")).abs() > 1e-3
        return contrast & has_other_twin(explanation, sample)

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,)."""
        twin, mask = true_twin(sample), needed(sample.mask, "mask")
        return mean_within(made(explanation) - twin, mask) / mean_within(explanation.image - twin, mask)
