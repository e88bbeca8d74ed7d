"""Is it stable and sparse? Agreement of repeated answers, and how concentrated maps are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.data.base import Dataset, Sample
from obverse.explainer import Explainer
from obverse.explanation import Explanation, NotApplicable
from obverse.generative import GenerativeModel
from obverse.metrics.base import Better, Context, ImageMetric, Measured, Probe, needed
from obverse.metrics.cost import affordable, asked_rows
from obverse.metrics.localisation import evidence
from obverse.metrics.maps import correlation
from obverse.metrics.proximity import ssim
from obverse.metrics.statistics import interval
from obverse.metrics.validity import made

QUESTION = "Is it stable and sparse?"


class Inverted(Protocol):
    """Latents (N, D) that were searched for, and the images (N, C, H, W) made of them."""

    @property
    def latent(self) -> Tensor:
        """(N, D)."""

    @property
    def image(self) -> Tensor:
        """(N, C, H, W) in [0, 1]."""


@runtime_checkable
class Inverts(Protocol):
    """A method that searches for the latents of an image."""

    def invert(self, image: Tensor, *, seed: int = 0) -> Inverted:
        """Return what the search from this seed found."""


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
    formula: ClassVar[str] = (
        "mean over pairs of seeds of SSIM(x'_1, x'_2) and of the correlation of their maps; where latents are searched for, "
        "of the cosine of those and of the SSIM of the images made of them"
    )
    source: ClassVar[str] = "medXGAN table 3 (convergence of inversion)"
    about: ClassVar[str] = (
        "1 for a method without chance, and for a search that starts from an encoder's output. Tells whether an answer would be "
        "another tomorrow. Cannot tell a stable wrong answer from a right one."
    )

    def prepare(self, context: Context) -> Self:
        """Take the seed."""
        return dataclasses.replace(self, seed=context.seed)

    def __call__(self, explainer: Explainer, data: Dataset, classifier: Classifier) -> tuple[Measured, ...]:
        """Return the agreement of maps and, where there are counterfactuals of 11 pixels and more, their SSIM."""
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))[: self.images]
        taken = data[order]
        image = taken.image.to(classifier.device)
        calls = self.repeats * (2 if isinstance(explainer, Inverts) else 1)
        image = image[: affordable(explainer, image, calls, self.budget)]
        rows = asked_rows(explainer, image)
        if len(rows) == 0:
            raise NotApplicable(f"answers: {explainer.name} is asked for none of these {len(image)} images; evaluate others")
        image = image[rows]
        answers = [explainer.explain(image, seed=self.seed + k) for k in range(self.repeats)]
        pairs = list(combinations(answers, 2))
        maps = torch.stack([correlation_or_equal(a.attribution, b.attribution) for a, b in pairs]).mean(0)
        found = {"repeated answers: correlation of maps": maps}
        large = min(image.shape[-2:]) >= 11
        if answers[0].counterfactual is not None and large:
            found["repeated answers: SSIM"] = torch.stack([ssim(made(a), made(b)) for a, b in pairs]).mean(0)
        if isinstance(explainer, Inverts):
            inverted = list(combinations([explainer.invert(image, seed=self.seed + k) for k in range(self.repeats)], 2))
            cosines = [F.cosine_similarity(a.latent, b.latent, dim=1) for a, b in inverted]
            found["repeated searches: cosine of latents"] = torch.stack(cosines).mean(0)
            if large:
                similar = [ssim(a.image, b.image) for a, b in inverted]
                found["repeated searches: SSIM of their images"] = torch.stack(similar).mean(0)
        measured, group = [], None if taken.group is None else taken.group[rows.cpu()]
        for name, values in found.items():
            low, high = interval(values, group, seed=self.seed) or (None, None)
            measured.append(Measured(label=name, value=float(values.mean()), n=len(values), low=low,
                                 high=high, better="higher", note=f"{self.repeats} seeds"))  # fmt: skip
        return tuple(measured)


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
        "medXGAN section 4.2 prints the ratio of two methods at one level; compare the curves of two reports"
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


@dataclass(frozen=True)
class LatentChange(ImageMetric):
    """How far the latent moves, and over how many of its dimensions.

    Args:
        what: "size" is the mean absolute change of a dimension, "share" the share of dimensions that carry it.
        model: whose encoder gives the latents.
    """

    what: Literal["size", "share"] = "size"
    model: GenerativeModel | None = field(default=None, repr=False)

    name: ClassVar[str] = "latent_change"
    title: ClassVar[str] = "latent change"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "none"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    formula: ClassVar[str] = (
        "d = |E(x') - E(x)|: the mean of d over its D dimensions; and the share (sum d)^2 / (D sum d^2), 1 where all change "
        "alike and 1/D where one does"
    )
    source: ClassVar[str] = "C3LT appendix E, fig. 8"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "encoder"})
    about: ClassVar[str] = (
        "Tells whether few directions of the latent space carry the change. The curve has the mean change of every "
        "dimension. Cannot tell whether a dimension means anything; the size is in units of the latent space. E is the "
        "encoder of the generative model that the method works on, so what it cannot encode is not seen; 0 where "
        "nothing changed."
    )

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return the size and the share."""
        return (cls(), cls("share"))

    @property
    def label(self) -> str:
        """The title, with what is measured."""
        return f"{self.title}, mean of a dimension" if self.what == "size" else f"{self.title}, share of dimensions"

    def prepare(self, context: Context) -> Self:
        """Take the encoder."""
        return dataclasses.replace(self, model=context.encoder)

    def change(self, explanation: Explanation) -> Tensor:
        """Return (N, D), the absolute change of every dimension.

        Raises:
            NotApplicable: no model with an encoder.
        """
        encode = needed(self.model, "encoder").encode
        return (encode(made(explanation)) - encode(explanation.image)).abs()

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,)."""
        change = self.change(explanation)
        if self.what == "size":
            return change.mean(1)
        squares = change.square().sum(1) * change.shape[1]
        return torch.where(squares > 0, change.sum(1).square() / squares.clamp_min(1e-30), torch.zeros_like(squares))

    def curve(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor | None:
        """Return (N, D), the change of every dimension."""
        return self.change(explanation) if self.what == "size" else None
