"""Does the change drive the decision? The classifier on the way from the image to the counterfactual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self
from weakref import WeakKeyDictionary

from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.metrics.base import Better, ImageMetric
from obverse.metrics.perturbation import area, bounds, edits, exchange_curve
from obverse.metrics.validity import made

QUESTION = "Does the change drive the decision?"
Order = Literal["change", "own mask", "edits"]
MOST_EDITS = 100
"""Different values above which a map is no list of edits."""

_TRANSITIONS: WeakKeyDictionary[Explanation, dict[tuple[Order, int], Tensor]] = WeakKeyDictionary()
"""Transition curves of the batch at hand, which three metrics summarise; gone with the explanation."""


def transition(explanation: Explanation, classifier: Classifier, order: Order, steps: int) -> Tensor:
    """Return (N, T + 1, K) posteriors while the image turns into the counterfactual, largest change first."""
    kept = _TRANSITIONS.setdefault(explanation, {})
    if (order, steps) not in kept:
        end = made(explanation)
        change = (end - explanation.image).abs().mean(1, keepdim=True)
        by = change if order == "change" else explanation.attribution
        counts = edits(by) if order == "edits" else bounds(by[0].numel(), steps)
        kept[order, steps] = exchange_curve(explanation.image, end, by, classifier, counts)
    return kept[order, steps]


@dataclass(frozen=True)
class _Transition(ImageMetric):
    """An area under the curve from the image to the counterfactual.

    Args:
        order: which pixels go first: the largest absolute change, or the method's own mask; "edits" takes one step for
            all pixels to which that mask gives one value, as CVE's does for every edit.
        steps: T; not for "edits".
    """

    order: Order = "change"
    steps: int = 50

    question: ClassVar[str] = QUESTION
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return one by absolute change and, where the method makes a mask or edits of its own, one by each."""
        return (cls(), cls("own mask"), cls("edits"))

    @property
    def label(self) -> str:
        """The title, with the order."""
        return self.title + {"own mask": ", by the method's own mask", "edits": ", after each edit"}.get(self.order, "")

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return all rows by change; by own mask those whose attribution is more than the absolute difference.

        By edits those of them whose attribution has few values, and for which all that changes is edited.
        """
        if self.order == "change" or explanation.difference is None:
            return super().applies(explanation, sample)
        change = explanation.difference.abs().mean(1, keepdim=True)
        own = (change - explanation.attribution).abs().flatten(1).amax(1) > 2 / 255  # beyond rounding to 8 bits
        if self.order == "own mask":
            return own
        values = explanation.attribution.flatten(1).sort(dim=1).values
        few = ((values[:, 1:] != values[:, :-1]) & (values[:, 1:] > 0)).sum(1) + (values[:, 0] > 0)
        idle = ((explanation.attribution == 0) & (change > 1 / 255)).flatten(1).any(1)
        return own & (few > 0) & (few <= MOST_EDITS) & ~idle

    def of_class(self, explanation: Explanation, classifier: Classifier, which: Tensor) -> Tensor:
        """Return (N, T + 1), the curve of one class (N,) a row."""
        curve = transition(explanation, classifier, self.order, self.steps)
        return curve.gather(2, which.view(-1, 1, 1).expand(-1, curve.shape[1], 1))[:, :, 0]

    def under(self, explanation: Explanation, classifier: Classifier, which: Tensor) -> Tensor:
        """Return (N,), the area under the curve of one class (N,) a row."""
        number = None if self.order != "edits" else (edits(explanation.attribution).diff(dim=1) > 0).sum(1)
        return area(self.of_class(explanation, classifier, which), number)


@dataclass(frozen=True)
class Cout(_Transition):
    """Counterfactual transition score."""

    name: ClassVar[str] = "cout"
    title: ClassVar[str] = "COUT"
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "AUPC of the target class - AUPC of the source class"
    source: ClassVar[str] = "C3LT eq. 8, T = 50"
    about: ClassVar[str] = (
        "Tells whether few pixels suffice to turn the decision. Cannot tell whether they are the right ones: sparse "
        "adversarial noise scores high. The released code takes 15 of 784 pixels a step, 53 steps and widths that "
        "add up to 1.014; here the steps are as equal as possible and the widths 1/T, as printed. Pixels go with all "
        "their channels, those of equal change in reading order. CVE's few edits count one step each, as in the paper."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        target = self.under(explanation, classifier, explanation.target)
        return target - self.under(explanation, classifier, explanation.source)


@dataclass(frozen=True)
class AupcTarget(_Transition):
    """Area under the target class's curve."""

    name: ClassVar[str] = "aupc_target"
    title: ClassVar[str] = "AUPC of the target"
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = (
        "1/T sum_t (f_target(x_t) + f_target(x_(t+1))) / 2, x_0 = x, x_T = x', largest change first"
    )
    source: ClassVar[str] = "C3LT eq. 8"
    about: ClassVar[str] = "The part of COUT that says how early the new decision comes."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return self.under(explanation, classifier, explanation.target)

    def curve(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor | None:
        """Return (N, T + 1), the target's posterior over the share of exchanged pixels; none after edits, which differ."""
        return None if self.order == "edits" else self.of_class(explanation, classifier, explanation.target)


@dataclass(frozen=True)
class AupcSource(_Transition):
    """Area under the source class's curve."""

    name: ClassVar[str] = "aupc_source"
    title: ClassVar[str] = "AUPC of the source"
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "as AUPC of the target, for the source class"
    source: ClassVar[str] = "C3LT eq. 8 (the query class)"
    about: ClassVar[str] = "The part of COUT that says how early the old decision goes."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return self.under(explanation, classifier, explanation.source)

    def curve(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor | None:
        """Return (N, T + 1), the source's posterior over the share of exchanged pixels; none after edits, which differ."""
        return None if self.order == "edits" else self.of_class(explanation, classifier, explanation.source)
