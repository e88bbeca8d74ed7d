"""Is it still the same subject? Closeness in a latent space, and verification by a recogniser."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics.base import Better, Context, ImageMetric, SetMetric, needed
from obverse.metrics.judges import Embedding, JudgeSettings, judge
from obverse.metrics.validity import made
from obverse.modules import frozen

QUESTION = "Is it still the same subject?"
MOST = 5000
"""Candidates at most, the first ones."""
Space = Literal["classifier features", "embedding"]


@dataclass(frozen=True)
class _Neighbours(SetMetric):
    """A share from nearest neighbours among images and counterfactuals.

    Args:
        space: whose features; the classifier's own are made to move with the decision, and tell little here.
        settings: of the embedding.
        extract: from (N, C, H, W) to (N, D).
    """

    space: Space = "embedding"
    settings: JudgeSettings = field(default=JudgeSettings(), repr=False)
    extract: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)

    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual"})
    per_direction: ClassVar[bool] = False
    resamples: ClassVar[int] = 0

    @property
    def label(self) -> str:
        """The title, with the space."""
        return f"{self.title}, {self.space}"

    @property
    def required(self) -> frozenset[str]:
        """A counterfactual; reference and judges for the embedding."""
        return self.needs | ({"reference", "judges"} if self.space == "embedding" else set())

    @property
    def features_of(self) -> str:
        """Image and counterfactual in the space."""
        return f"image and counterfactual {self.space} {self.settings}"

    def prepare(self, context: Context) -> Self:
        """Take the space."""
        found: Callable[[Tensor], Tensor] = context.classifier.features
        if self.space == "embedding":
            found = judge(Embedding, context, self.settings).embed
        return dataclasses.replace(self, extract=found)

    def features(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N, 2 D + 2), the image's, the counterfactual's, and two numbers that tell images apart."""
        extract = classifier.features if self.extract is None else self.extract
        draw = torch.Generator().manual_seed(0)
        weights = torch.rand(2, explanation.image[0].numel(), generator=draw).to(explanation.image.device)
        own = (explanation.image.flatten(1)[:, None] * weights).sum(2)  # the same sum for the same image, whatever its row
        return torch.cat([extract(explanation.image).float(), extract(made(explanation)).float(), own], 1)

    def parts(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first `MOST` images and counterfactuals, (M, D) each, and (M, M) bool, which are of the same image.

        Raises:
            NotApplicable: one answer alone has no others to be told from.
        """
        if len(features) < 2:
            raise NotApplicable(
                f"answers: closeness needs at least 2 answers, got {len(features)}; evaluate more images"
            )
        features, own = features[:MOST, :-2].double(), features[:MOST, -2:]
        one, other = features.chunk(2, 1)
        return one, other, (own[:, None] == own).all(2)

    def note(self) -> str:
        """How many candidates there are at most."""
        return f"at most {MOST} candidates; falls as their number grows"


def nearest(first: Tensor, second: Tensor, rivals: Tensor) -> Tensor:
    """Return (N,) the distance of each row of `first` to the nearest of its rivals (N, M) in `second`; infinite for none."""
    found = []
    for rows in torch.arange(len(first)).split(500):
        distance = torch.cdist(first[rows], second, compute_mode="donot_use_mm_for_euclid_dist")
        found.append(distance.masked_fill(~rivals[rows], float("inf")).amin(1))
    return torch.cat(found)


@dataclass(frozen=True)
class LatentCloseness(_Neighbours):
    """Share of counterfactuals that are closer to their own image than to any other image's towards the same class."""

    name: ClassVar[str] = "latent_closeness"
    title: ClassVar[str] = "latent closeness"
    formula: ClassVar[str] = "mean of [|E(x_i) - E(x'_i)| < |E(x'_i) - E(x'_j)| for every x'_j of another image, same target]"
    source: ClassVar[str] = "EPE eq. 10, exact L2; E is a named embedding instead of the explainer's own encoder"
    about: ClassVar[str] = (
        "Tells whether the counterfactual still belongs to its image. Falls as the number of candidates grows, so "
        "compare at equal n; an answer without a rival is left out. The released code uses the image's embedding under two "
        "conditions and an approximate search, and does not measure the equation."
    )

    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the share.

        Raises:
            NotApplicable: no two images are asked for the same class.
        """
        image, other, same = self.parts(features)
        asked = target[:MOST]
        away = nearest(other, other, ~same & (asked[:, None] == asked))
        if not bool(away.isfinite().any()):
            raise NotApplicable("answers: closeness needs two images that are asked for the same class; evaluate more images")
        return float(((image - other).norm(dim=1) < away)[away.isfinite()].double().mean())


@dataclass(frozen=True)
class FirstNeighbour(_Neighbours):
    """Share of counterfactuals whose nearest neighbour, of all images and counterfactuals, is their own image."""

    name: ClassVar[str] = "first_neighbour"
    title: ClassVar[str] = "first neighbour is the own image"
    formula: ClassVar[str] = (
        "mean of [argmin over all x_j, and all x'_j of other images, of |E(x'_i) - E(.)| is x_i]"
    )
    source: ClassVar[str] = "EPE, the variant in the released notebook"
    about: ClassVar[str] = "Stricter than latent closeness: counterfactuals of other images compete too."

    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the share."""
        image, other, same = self.parts(features)
        rivals = torch.minimum(nearest(other, image, ~same), nearest(other, other, ~same))
        return float(((image - other).norm(dim=1) < rivals).double().mean())


@dataclass(frozen=True)
class Verification(ImageMetric):
    """Share of counterfactuals that a recogniser takes for the same subject."""

    recogniser: torch.nn.Module | None = field(default=None, repr=False)
    limit: float = 0.5

    name: ClassVar[str] = "verification"
    title: ClassVar[str] = "same subject by the recogniser"
    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    share: ClassVar[bool] = True
    formula: ClassVar[str] = "mean of [1 - cos(R(x), R(x')) < 0.5]"
    source: ClassVar[str] = "EPE section 4.1 (VGGFace2); the recogniser is the caller's"
    needs: ClassVar[frozenset[str]] = frozenset({"counterfactual", "recogniser"})
    about: ClassVar[str] = (
        "Tells whether a person is still recognised. As good as the recogniser, which must take images in [0, 1]; the "
        "paper's architecture, layer and crop are unstated. A vector of zeros counts as another subject."
    )

    def prepare(self, context: Context) -> Self:
        """Take a copy of the recogniser, in evaluation mode and where the classifier is."""
        if context.recogniser is None:
            return self
        return dataclasses.replace(self, recogniser=frozen(copy.deepcopy(context.recogniser), context.classifier.device))

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,) 0 or 1."""
        recogniser = needed(self.recogniser, "recogniser")
        one, other = recogniser(explanation.image), recogniser(made(explanation))
        return (1 - F.cosine_similarity(one.flatten(1), other.flatten(1)) < self.limit).float()
