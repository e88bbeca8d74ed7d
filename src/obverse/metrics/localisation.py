"""Does it point at the right place? Maps against annotated masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics.base import Better, Context, ImageMetric, needed
from obverse.metrics.maps import Cut, average_precision, best_cut, correlation
from obverse.metrics.validity import made

QUESTION = "Does it point at the right place?"
Map = Literal["attribution", "signed difference", "raw image"]
MAPS: tuple[Map, ...] = ("attribution", "signed difference", "raw image")
MOST_VALIDATION = 500
"""Annotated validation images from which thresholds are chosen."""


def evidence(explanation: Explanation, of: Map) -> Tensor:
    """Return the map (N, 1, H, W) that is compared with the mask.

    Raises:
        NotApplicable: a signed difference of a method without counterfactual.
        ValueError: a map with NaN or infinity.
    """
    if of == "raw image":
        found = explanation.image.mean(1, keepdim=True)
    elif of == "signed difference":
        made(explanation)
        found = explanation.image if explanation.difference is None else explanation.difference
        found = found.mean(1, keepdim=True)
    else:
        found = explanation.attribution
    finite = torch.isfinite(found).flatten(1).all(1)
    if not bool(finite.all()):
        raise ValueError(f"{of}: expected finite maps, got NaN or infinity in {int((~finite).sum())} of {len(finite)}; "
                         f"mend {explanation.method}'s answer")  # fmt: skip
    return found


def annotation(sample: Sample) -> Tensor:
    """Return the masks.

    Raises:
        NotApplicable: the data has none.
    """
    return needed(sample.mask, "mask")


def cuts(context: Context) -> dict[Map, Cut]:
    """Return the cut for each map, chosen by Dice on the annotated validation images; computed once.

    Raises:
        NotApplicable: no validation image has a mask.
    """
    if "cuts" not in context.shared:
        parts = list(context.masked_validation(MOST_VALIDATION))
        masks = torch.cat([annotation(sample) for _, sample in parts])
        found = {}
        for of in MAPS:
            if of == "signed difference" and parts[0][0].counterfactual is None:
                continue
            maps = torch.cat([evidence(explanation, of) for explanation, _ in parts])
            found[of] = best_cut(maps, masks, (1.0,) if of == "attribution" else (1.0, -1.0))
        context.shared["cuts"] = found
    chosen: dict[Map, Cut] = context.shared["cuts"]
    return chosen


@dataclass(frozen=True)
class OnMap(ImageMetric):
    """A figure of a map against a mask, for images with a non-empty mask.

    Args:
        of: the map; "raw image" is a control that needs no classifier.
        cut: threshold and polarity; None takes them from validation.
    """

    of: Map = "attribution"
    cut: Cut | None = None

    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    needs: ClassVar[frozenset[str]] = frozenset({"mask"})
    needs_cut: ClassVar[bool] = True

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return one for the attribution, one for the signed difference, one for the raw image as a control."""
        return tuple(cls(of) for of in MAPS)

    @property
    def label(self) -> str:
        """The title, with the map."""
        return f"{self.title}, {self.of}" + (" (control)" if self.of == "raw image" else "")

    @property
    def learns(self) -> bool:
        """Whether it needs a threshold or a polarity from validation."""
        return self.needs_cut or self.of != "attribution"

    @property
    def required(self) -> frozenset[str]:
        """A mask; validation for a threshold or a polarity; a counterfactual for the difference."""
        made = {"counterfactual"} if self.of == "signed difference" else set()
        return self.needs | made | ({"validation"} if self.learns and self.cut is None else set())

    def prepare(self, context: Context) -> Self:
        """Take threshold and polarity from validation, unless they were given."""
        learn = self.learns and self.cut is None
        return dataclasses.replace(self, cut=cuts(context)[self.of]) if learn else self

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows with a non-empty mask."""
        return (annotation(sample) > 0).flatten(1).any(1)

    def chosen(self) -> Cut:
        """Return the cut.

        Raises:
            NotApplicable: none was given or chosen.
        """
        if self.cut is not None:
            return self.cut
        if self.learns:
            raise NotApplicable(f"cut: {self.name} on the {self.of} needs a threshold and polarity; pass cut=Cut(...), "
                                "or validation= to evaluate")  # fmt: skip
        return Cut(0.0)

    def signed(self, explanation: Explanation) -> Tensor:
        """Return the map, turned so that more is more evidence."""
        return self.chosen().sign * evidence(explanation, self.of)

    def note(self) -> str:
        """The threshold and polarity."""
        if self.cut is None or not self.learns:
            return ""
        side = ">" if self.cut.sign > 0 else "<"
        what = f"map {side} {self.cut.sign * self.cut.threshold:.3g}"
        if not self.needs_cut:
            what = f"{'high' if self.cut.sign > 0 else 'low'} values count"
        return f"{what}, {self.cut.chosen}" if self.cut.chosen else what


@dataclass(frozen=True)
class AveragePrecision(OnMap):
    """Average precision of the map's values as scores for the mask's pixels."""

    name: ClassVar[str] = "average_precision"
    title: ClassVar[str] = "average precision"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of sum_k (R_k - R_(k-1)) P_k over the distinct values of the map, per image"
    source: ClassVar[str] = "obverse (threshold-free companion of IoU and Dice)"
    needs_cut: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Needs no threshold. A constant map scores the mask's share of the image. Cannot tell how sharp the map is."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return average_precision(self.signed(explanation), annotation(sample))


@dataclass(frozen=True)
class NCC(OnMap):
    """Normalised cross-correlation: Pearson's correlation of map and mask."""

    name: ClassVar[str] = "ncc"
    title: ClassVar[str] = "NCC"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "mean of corr(M, mask) over pixels, per image; 0 for a constant map or mask"
    source: ClassVar[str] = "CX-GAN table 1, SyCE table 2"
    needs_cut: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Needs no threshold; the standard deviation is in the JSON. A true difference whose amplitude varies inside "
        "the mask cannot reach 1. The papers' codes give NaN for a constant map; it is 0 here."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [-1, 1]."""
        return correlation(self.signed(explanation), annotation(sample))


@dataclass(frozen=True)
class PointingGame(OnMap):
    """Share of maps whose highest pixel lies in the mask."""

    name: ClassVar[str] = "pointing_game"
    title: ClassVar[str] = "pointing game"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean of [argmax M in mask]; with ties, the share of the highest pixels that lie in it"
    source: ClassVar[str] = "Zhang et al. 2018 (excitation backprop), without a tolerance"
    needs_cut: ClassVar[bool] = False
    about: ClassVar[str] = "Tells whether the map's peak is right. Cannot tell anything of the rest of the map."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        found = self.signed(explanation).flatten(1)
        highest = (found == found.amax(1, keepdim=True)).float()
        return (highest * annotation(sample).flatten(1)).sum(1) / highest.sum(1)
