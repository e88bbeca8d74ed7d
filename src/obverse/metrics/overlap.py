"""Does it point at the right place? Regions cut from maps, against annotated masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics.base import Context
from obverse.metrics.localisation import MAPS, OnMap, annotation
from obverse.metrics.maps import otsu, overlap, strongest

Rule = Literal["validation", "percentile", "half maximum", "Otsu"]


@dataclass(frozen=True)
class _Overlap(OnMap):
    """A figure of a region cut from a map.

    Args:
        rule: "validation" cuts all maps at the threshold with the best mean Dice on validation; "percentile" takes as
            many of the highest pixels as the reference annotations have on average, by strict rank; "half maximum" and
            "Otsu" cut each map by itself.
        size: share of the image that "percentile" takes; None takes it from the reference masks.
    """

    rule: Rule = "validation"
    size: float | None = None

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return every rule for attribution and signed difference, and the validation rule for the raw image."""
        rules: tuple[Rule, ...] = ("validation", "percentile", "half maximum", "Otsu")
        made = [cls(of, rule=rule) for rule in rules for of in MAPS[:2]]
        return (*made[:2], cls("raw image"), *made[2:])

    @property
    def label(self) -> str:
        """The title, with the rule unless it is the headline one."""
        return super().label if self.rule == "validation" else f"{super().label}, {self.rule}"

    @property
    def learns(self) -> bool:
        """Whether it needs a threshold or a polarity from validation."""
        return self.rule == "validation" or self.of != "attribution"

    @property
    def required(self) -> frozenset[str]:
        """As for any map; a reference for the size of annotations."""
        sized = self.rule != "percentile" or self.size is not None
        return super().required if sized else super().required | {"reference"}

    def prepare(self, context: Context) -> Self:
        """Take threshold and polarity from validation, and the annotations' size from the reference."""
        ready = super().prepare(context)
        sized = self.rule != "percentile" or self.size is not None
        return ready if sized else dataclasses.replace(ready, size=usual_size(context))

    def region(self, explanation: Explanation) -> Tensor:
        """Return (N, 1, H, W) bool.

        Raises:
            NotApplicable: the percentile rule without a size.
        """
        found = self.signed(explanation)
        if self.rule == "validation":
            return found > self.chosen().threshold
        if self.rule == "percentile":
            if self.size is None:
                raise NotApplicable("size: the percentile rule needs the annotations' size; pass size=0.05, or "
                                    "reference= with masks to evaluate")  # fmt: skip
            return strongest(found, max(1, round(self.size * found[0].numel())))
        limit = otsu(found) if self.rule == "Otsu" else 0.5 * found.flatten(1).amax(1).clamp_min(0).double()
        return found.double() > limit.view(-1, 1, 1, 1)

    def note(self) -> str:
        """How the map was cut."""
        if self.rule == "validation":
            return super().note()
        return f"the {self.size:.2%} highest pixels" if self.size is not None else f"cut at {self.rule}"


def usual_size(context: Context) -> float:
    """Return the mean share of the image that the reference's non-empty masks cover; computed once.

    Raises:
        NotApplicable: no reference image has a mask.
    """
    if "size" not in context.shared:
        shares: list[Tensor] = []
        if context.reference is not None and "mask" in context.reference.fields:
            for sample in context.reference.batches(context.batch_size):
                shares.append(annotation(sample).flatten(1).mean(1))
        share = torch.cat(shares) if shares else torch.zeros(1)
        if not bool((share > 0).any()):
            raise NotApplicable("reference: has no image with a non-empty mask; pass the training split with masks")
        context.shared["size"] = float(share[share > 0].mean())
    size: float = context.shared["size"]
    return size


@dataclass(frozen=True)
class IoU(_Overlap):
    """Intersection over union of the cut map and the mask."""

    name: ClassVar[str] = "iou"
    title: ClassVar[str] = "IoU"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of |R and mask| / |R or mask|, R the region cut from the map"
    source: ClassVar[str] = "CX-GAN table 1, SyCE table 2 (percentile); the other rules are ours"
    about: ClassVar[str] = (
        "Tells how well the strongest part of the map covers the annotation. Cannot tell whether the classifier looks "
        "there: read it beside the raw-image control, which needs no classifier. Cut at one threshold for all images, "
        "of best mean Dice on validation; at the percentile of the training annotations' mean size, by strict rank, so "
        "that the area is exact (SyCE cuts at map >= percentile, which with ties marks up to the whole image); at half "
        "of each map's maximum; and by Otsu. CX-GAN's 'maximum as threshold', taken literally, marks one pixel."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return overlap(self.region(explanation), annotation(sample))[0]


@dataclass(frozen=True)
class Dice(_Overlap):
    """Dice coefficient of the cut map and the mask."""

    name: ClassVar[str] = "dice"
    title: ClassVar[str] = "Dice"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of 2 |R and mask| / (|R| + |mask|), R as for IoU"
    source: ClassVar[str] = "CX-GAN table 1; the rules are ours"
    about: ClassVar[str] = (
        "As IoU, which it follows: the mean Dice never exceeds 2I / (1 + I) for the mean IoU I (two published rows do, "
        "so they are in error)."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return overlap(self.region(explanation), annotation(sample))[1]
