"""Is it valid? Whether the classifier, and a second one, decide the counterfactual as asked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Self

from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.metrics.base import Better, Context, ImageMetric, needed

QUESTION = "Is it valid?"


def made(explanation: Explanation) -> Tensor:
    """Return the counterfactuals.

    Raises:
        NotApplicable: the method makes none.
    """
    return needed(explanation.counterfactual, "counterfactual")


@dataclass(frozen=True)
class Validity(ImageMetric):
    """Share of counterfactuals that the classifier decides as asked."""

    name: ClassVar[str] = "validity"
    title: ClassVar[str] = "validity (Val)"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of [argmax f(x') = target]"
    source: ClassVar[str] = "C3LT eq. 9"
    share: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})
    about: ClassVar[str] = (
        "Tells how often the answer is one. Cannot tell whether the change means anything: adversarial noise scores 1; "
        "read it beside transfer. Taken on the counterfactual as an 8-bit file would keep it."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        made(explanation)
        return explanation.valid.float()


@dataclass(frozen=True)
class AccA(ImageMetric):
    """Share of counterfactuals that keep the original decision."""

    name: ClassVar[str] = "acc_a"
    title: ClassVar[str] = "acc_a, decision kept"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of [argmax f(x_a) = argmax f(x)]"
    source: ClassVar[str] = "SyCE table 1a (acc_a)"
    share: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})
    about: ClassVar[str] = (
        "With two classes it is 1 - validity; with more, a decision for a third class counts for neither. "
        "The paper calls the counterfactual the adversarial image."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        made(explanation)
        return (explanation.posterior_after.argmax(1) == explanation.source).float()


@dataclass(frozen=True)
class AccS(ImageMetric):
    """Share of stable images that keep the original decision."""

    name: ClassVar[str] = "acc_s"
    title: ClassVar[str] = "acc_s, decision kept by the stable image"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of [argmax f(x_s) = argmax f(x)]"
    source: ClassVar[str] = "SyCE supplement table 2 (acc_s)"
    share: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"stable"})
    about: ClassVar[str] = (
        "Tells whether the method's own picture of the image, with which the counterfactual is compared, is still "
        "decided as the image is. Cannot tell whether it looks like the image: see the L1 to the stable image."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        return (classifier.decide(needed(explanation.stable, "stable")) == explanation.source).float()


@dataclass(frozen=True)
class PosteriorGain(ImageMetric):
    """How much more probable the target becomes."""

    name: ClassVar[str] = "posterior_gain"
    title: ClassVar[str] = "posterior gain"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "mean of f(x')[target] - f(x)[target]"
    source: ClassVar[str] = "obverse"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})
    about: ClassVar[str] = (
        "Tells how far the decision moved, also where it did not flip. Cannot tell a calibrated classifier "
        "from an overconfident one."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        made(explanation)
        gain = explanation.posterior_after - explanation.posterior_before
        return gain.gather(1, explanation.target[:, None])[:, 0]


def second_decision(judge: Classifier | None, image: Tensor) -> Tensor:
    """Return (N,) what the second classifier decides.

    Raises:
        NotApplicable: there is none.
    """
    judge = needed(judge, "second_classifier")
    return judge.decide(image.to(judge.device)).to(image.device)


@dataclass(frozen=True)
class _Judged(ImageMetric):
    """A figure that a second classifier gives."""

    judge: Classifier | None = field(default=None, repr=False)

    question: ClassVar[str] = QUESTION
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    share: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "second_classifier"})

    def prepare(self, context: Context) -> Self:
        """Take the second classifier."""
        return dataclasses.replace(self, judge=context.second_classifier)


@dataclass(frozen=True)
class Transfer(_Judged):
    """Share of flips that a second, independently trained classifier agrees with."""

    name: ClassVar[str] = "transfer"
    title: ClassVar[str] = "transfer to a second classifier"
    better: ClassVar[Better] = "higher"
    formula: ClassVar[str] = "mean of [argmax f2(x') = target] over valid answers to images with argmax f2(x) = source"
    source: ClassVar[str] = "obverse, after what SyCE's released digit models showed"
    about: ClassVar[str] = (
        "Tells counterfactuals, which change what both classifiers look at, from adversarial noise, which fools one. "
        "Cannot tell whether a disagreement is the explainer's fault or the first classifier's own quirk, which a "
        "faithful explanation must show."
    )

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the valid rows on whose image both classifiers agree."""
        rows: Tensor = explanation.valid & (second_decision(self.judge, explanation.image) == explanation.source)
        return rows

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        return (second_decision(self.judge, made(explanation)) == explanation.target).float()


@dataclass(frozen=True)
class TransferAccA(_Judged):
    """Share of counterfactuals that a second classifier gives the original decision."""

    name: ClassVar[str] = "transfer_acc_a"
    title: ClassVar[str] = "transfer acc_a, decision kept for a second classifier"
    better: ClassVar[Better] = "lower"
    formula: ClassVar[str] = "mean of [argmax f2(x_a) = argmax f(x)]"
    source: ClassVar[str] = "SyCE table 1a (acc_a), with another classifier as judge"
    about: ClassVar[str] = (
        "Over all answers, valid or not, so it compares with acc_a. Includes the share on which the two classifiers "
        "disagree anyway."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        return (second_decision(self.judge, made(explanation)) == explanation.source).float()


@dataclass(frozen=True)
class TransferValidity(_Judged):
    """Share of counterfactuals that a second classifier decides as asked."""

    name: ClassVar[str] = "transfer_validity"
    title: ClassVar[str] = "validity for a second classifier"
    better: ClassVar[Better] = "higher"
    formula: ClassVar[str] = "mean of [argmax f2(x') = target]"
    source: ClassVar[str] = "obverse, after C3LT's rigged classifier (supplement D)"
    about: ClassVar[str] = (
        "Over all answers, valid or not: tells whether an honest classifier recognises what one that was trained on "
        "wrong labels could not. With two classes it is 1 - transfer acc_a."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        return (second_decision(self.judge, made(explanation)) == explanation.target).float()


def check_second(second: Classifier, first: Classifier) -> None:
    """Raise unless two classifiers have the same classes in the same order and take the same images.

    Raises:
        ValueError: they do not, or the second is the first.
    """
    if second.classes != first.classes or second.image_shape != first.image_shape:
        raise ValueError(f"second_classifier: expected classes {first.classes} of {first.image_shape} images, got "
                         f"{second.classes} of {second.image_shape}; train it on the same data")  # fmt: skip
    if second.fingerprint == first.fingerprint:
        raise ValueError("second_classifier: expected one trained independently, got the classifier under "
                         "explanation; train another from a different seed")  # fmt: skip
