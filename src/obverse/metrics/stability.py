"""Is it stable and sparse? Agreement of repeated answers, and how concentrated maps are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explainer import Explainer
from obverse.explanation import Explanation
from obverse.metrics.base import Better, Context, ImageMetric, Measured, Probe
from obverse.metrics.cost import affordable
from obverse.metrics.localisation import evidence
from obverse.metrics.maps import correlation
from obverse.metrics.proximity import ssim
from obverse.metrics.statistics import interval
from obverse.metrics.validity import made

QUESTION = "Is it stable and sparse?"


@dataclass(frozen=True)
class RepeatAgreement(Probe):
    """How alike the answers of several seeds are.

    Args:
        images: how many are explained, the first ones of a seeded order.
        repeats: how often each.
        budget: seconds it may take; slow methods are repeated on fewer images.
        seed: the first of the seeds.
    """

    images: int = 32
    repeats: int = 3
    budget: float = 60.0
    seed: int = 0

    name: ClassVar[str] = "repeat_agreement"
    title: ClassVar[str] = "agreement of repeated answers"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    formula: ClassVar[str] = "mean over pairs of seeds of SSIM(x'_1, x'_2), and of the correlation of their maps"
    source: ClassVar[str] = "medXGAN section 4 (convergence of inversion): images; latents are the method's own"
    about: ClassVar[str] = (
        "1 for a method without chance. Tells whether an answer would be another tomorrow. Cannot tell a stable wrong "
        "answer from a right one."
    )

    def prepare(self, context: Context) -> Self:
        """Take the seed."""
        return dataclasses.replace(self, seed=context.seed)

    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return the agreement of maps and, where there are counterfactuals of 11 pixels and more, their SSIM."""
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))[: self.images]
        image = data[order].image.to(classifier.device)
        image = image[: affordable(explainer, image, self.repeats, self.budget)]
        answers = [explainer.explain(image, seed=self.seed + k) for k in range(self.repeats)]
        pairs = list(combinations(answers, 2))
        maps = torch.stack([correlation_or_equal(a.attribution, b.attribution) for a, b in pairs]).mean(0)
        found = {"correlation of maps": maps}
        if answers[0].counterfactual is not None and min(image.shape[-2:]) >= 11:
            found["SSIM"] = torch.stack([ssim(made(a), made(b)) for a, b in pairs]).mean(0)
        rows = []
        for name, values in found.items():
            low, high = interval(values, seed=self.seed) or (None, None)
            rows.append(Measured(label=f"repeated answers: {name}", value=float(values.mean()), n=len(values), low=low,
                                 high=high, better="higher", note=f"{self.repeats} seeds"))  # fmt: skip
        return tuple(rows)


def correlation_or_equal(first: Tensor, second: Tensor) -> Tensor:
    """Return (N,) correlations; 1 where both are the same, constant ones too."""
    same = (first == second).flatten(1).all(1)
    return torch.where(same, torch.ones_like(same, dtype=torch.float32), correlation(first, second))


@dataclass(frozen=True)
class MapArea(ImageMetric):
    """Share of the image where the map exceeds a tenth of its maximum."""

    level: float = 0.1

    name: ClassVar[str] = "map_area"
    title: ClassVar[str] = "share of the image in the map"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "mean over pixels of [M > 0.1 max M]; the curve has every level; 0 for a map of zeros"
    source: ClassVar[str] = (
        "medXGAN table 3 prints the ratio of two methods at one level; compare the curves of two reports"
    )
    about: ClassVar[str] = "Tells how concentrated the map is. Cannot tell whether it is right."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) in [0, 1]."""
        return self.above(explanation, torch.tensor([self.level]))[:, 0]

    def curve(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor | None:
        """Return (N, 21), the share at levels 0, 0.05, ..., 1."""
        return self.above(explanation, torch.linspace(0, 1, 21))

    def above(self, explanation: Explanation, levels: Tensor) -> Tensor:
        """Return (N, L), the share of pixels above each level times the maximum."""
        found = evidence(explanation, "attribution").flatten(1)
        limit = found.amax(1, keepdim=True) * levels.to(found.device)
        return torch.stack([(found > limit[:, k : k + 1]).float().mean(1) for k in range(len(levels))], 1)
