"""Is it realistic? Reconstruction by autoencoders of the classes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation
from obverse.metrics.base import Better, Context, ImageMetric, needed
from obverse.metrics.judges import Autoencoders, JudgeSettings, judge
from obverse.metrics.realism import QUESTION
from obverse.metrics.validity import made

EPSILON = 1e-8
LEAST_IMAGES = 50
"""Reference images decided as a class, for its autoencoder to count."""


@dataclass(frozen=True)
class _Manifold(ImageMetric):
    """A figure from autoencoders trained on the reference, one a class and one on all.

    Args:
        of: the counterfactuals, or as their floor the images themselves, each against its own class.
        settings: of the autoencoders.
        judges: the trained ones.
    """

    of: Literal["counterfactual", "image"] = "counterfactual"
    settings: JudgeSettings = field(default=JudgeSettings(), repr=False)
    judges: Autoencoders | None = field(default=None, repr=False)

    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    needs: ClassVar[frozenset[str]] = frozenset({"reference", "judges"})

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return one for the counterfactuals and one for the real images."""
        return (cls(), cls("image"))

    @property
    def label(self) -> str:
        """The title, with the images."""
        return self.title if self.of == "counterfactual" else f"{self.title}, real images (floor)"

    @property
    def required(self) -> frozenset[str]:
        """Reference and judges; a counterfactual if that is judged."""
        return self.needs | ({"counterfactual"} if self.of == "counterfactual" else set())

    def judged(self, explanation: Explanation) -> tuple[Tensor, Tensor, Tensor]:
        """Return (N, C, H, W) images, the class that each should be of, and the other one."""
        if self.of == "image":
            return explanation.image, explanation.source, explanation.target
        return made(explanation), explanation.target, explanation.source

    def prepare(self, context: Context) -> Self:
        """Take or train the autoencoders."""
        return dataclasses.replace(self, judges=judge(Autoencoders, context, self.settings))

    def applies(self, explanation: Explanation, sample: Sample) -> Tensor:
        """Return the rows whose two classes had images enough for an autoencoder; one that saw none knows nothing."""
        _, own, other = self.judged(explanation)
        counts = None if self.judges is None else self.judges.counts
        if counts is None:
            return super().applies(explanation, sample)
        enough = counts.to(own.device) >= LEAST_IMAGES
        return enough[own] & enough[other]

    def by_class(self, image: Tensor, which: Tensor) -> Tensor:
        """Return (N, C, H, W), each image as the autoencoder of its class in `which` has it.

        Raises:
            NotApplicable: not prepared.
        """
        judges, out = needed(self.judges, "judges"), torch.empty_like(image)
        for k in which.unique().tolist():
            out[which == k] = judges.reconstruct(image[which == k], f"class{k}").to(image.device)
        return out


@dataclass(frozen=True)
class IM1(_Manifold):
    """Whether the target's autoencoder knows the counterfactual better than the source's does."""

    name: ClassVar[str] = "im1"
    title: ClassVar[str] = "IM1"
    formula: ClassVar[str] = "|x' - AE_target(x')|^2 / (|x' - AE_source(x')|^2 + 1e-8)"
    source: ClassVar[str] = "C3LT table 2, after Van Looveren and Klaise 2021"
    about: ClassVar[str] = (
        "Below 1 where the counterfactual is more like the target class than like the source. Depends on the "
        "autoencoders, whose shape no paper gives: compare under the same ones only. Classes are decisions of the "
        "classifier on the reference; answers between classes with fewer than 50 images there have no figure."
    )

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,)."""
        image, own, other = self.judged(explanation)
        error = (image - self.by_class(image, own)).square().flatten(1).sum(1)
        return error / ((image - self.by_class(image, other)).square().flatten(1).sum(1) + EPSILON)


@dataclass(frozen=True)
class IM2(_Manifold):
    """Whether the target's autoencoder agrees with that of all classes."""

    name: ClassVar[str] = "im2"
    title: ClassVar[str] = "IM2"
    formula: ClassVar[str] = "|AE_target(x') - AE_all(x')|^2 / (|x'|_1 + 1e-8)"
    source: ClassVar[str] = "C3LT table 2 (printed times 10), after Van Looveren and Klaise 2021"
    about: ClassVar[str] = "Low where the counterfactual lies on the data's manifold. Smaller for brighter images."

    def __call__(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N,)."""
        image, own, _ = self.judged(explanation)
        one = self.by_class(image, own)
        everything = needed(self.judges, "judges").reconstruct(image, "all").to(image.device)
        return (one - everything).square().flatten(1).sum(1) / (image.abs().flatten(1).sum(1) + EPSILON)
