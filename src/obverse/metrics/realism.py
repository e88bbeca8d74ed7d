"""Is it realistic? Distances between counterfactuals and real images of the class they were turned into."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from obverse.classifier import Classifier
from obverse.data.base import Sample
from obverse.explanation import Explanation, NotApplicable
from obverse.metrics.base import Better, Context, SetMetric, needed
from obverse.metrics.distances import MOST, Plane, frechet, jensen_shannon, kernel_distance
from obverse.metrics.judges import Embedding, JudgeSettings, judge

QUESTION = "Is it realistic?"
Space = Literal["classifier features", "embedding", "Inception"]
Of = Literal["counterfactual", "stable"]
LEAST = 50
"""Answers below which no distance is given."""
MOST_REAL = 5_000
"""Reference images at most, the first ones of a seeded order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Real:
    """Features of real images.

    Args:
        extract: from (N, C, H, W) to (N, D).
        features: (M, D) of the reference.
        posterior: (M, K) of the reference.
        plane: of their two principal components.
        note: what a reader must know of the space.
    """

    extract: Callable[[Tensor], Tensor]
    features: Tensor
    posterior: Tensor
    plane: Plane
    note: str

    def of(self, classes: Tensor, sure: bool) -> Tensor:
        """Return the features of real images decided as one of `classes`; if `sure`, with at least 0.9."""
        best = self.posterior.max(1)
        rows = torch.isin(best.indices, classes.unique()) & ((best.values >= 0.9) | (not sure))
        return self.features[rows]


def real(context: Context, space: Space, settings: JudgeSettings) -> Real:
    """Return the features of the reference; computed once for each space.

    Raises:
        NotApplicable: no reference, no folder for judges, no weights of Inception, or a classifier without features.
    """
    key = f"real {space} {settings}"
    if key not in context.shared:
        reference = needed(context.reference, "reference")
        note = "the classifier's own"
        extract: Callable[[Tensor], Tensor] = context.classifier.features
        embedding = judge(Embedding, context, settings) if space == "embedding" else None
        if embedding is not None:
            extract = embedding.embed
        if space == "Inception":
            extract, note = _inception(context)
        order = torch.randperm(len(reference), generator=torch.Generator().manual_seed(context.seed))
        found, posterior = [], []
        with torch.no_grad():
            for rows in order[:MOST_REAL].split(context.batch_size):
                image = reference[rows].image.to(context.classifier.device)
                found.append(extract(image).float().cpu())
                posterior.append(context.classifier.posterior(image).cpu())
        features = torch.cat(found)
        plane = Plane.of(features[:MOST])
        if embedding is not None:
            kl = embedding.kl(reference[order[:256]].image)
            note = f"VAE + MLP, {features.shape[1]} numbers, KL {kl:.3g} nat, PC1 {plane.shares[0]:.1%}"
        context.shared[key] = Real(extract=extract, features=features, posterior=torch.cat(posterior), plane=plane,
                                   note=note)  # fmt: skip
    kept: Real = context.shared[key]
    return kept


def _inception(context: Context) -> tuple[Callable[[Tensor], Tensor], str]:
    """Return Inception-v3 with the weights of the file that was named, and which those are."""
    from obverse.networks.inception import load_inception  # 22 million weights; only where asked for

    network, digest = load_inception(needed(context.inception, "inception"))
    network.to(context.classifier.device)
    return network, f"Inception-v3, 2048 numbers, weights {digest[:12]}"


@dataclass(frozen=True)
class _Distance(SetMetric):
    """A distance between the features of answers and of real images of the class asked for.

    Args:
        space: whose features.
        of: counterfactuals against real images decided as the target, or stable images against the source.
        sure: whether only images with a posterior of at least 0.9 count, on both sides (EPE's present and absent).
        settings: of the embedding.
        known: the reference's features.
        least: answers and real images that a class must have to count.
        only: classes that count; None is all.
    """

    space: Space = "classifier features"
    of: Of = "counterfactual"
    sure: bool = False
    settings: JudgeSettings = field(default=JudgeSettings(), repr=False)
    known: Real | None = field(default=None, repr=False)
    least: int = LEAST
    only: tuple[int, ...] | None = None

    question: ClassVar[str] = QUESTION
    better: ClassVar[Better] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, float("inf"))
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return every space for counterfactuals, sure ones apart, and the embedding for stable images."""
        return (cls(), cls(sure=True), cls("embedding"), cls("embedding", "stable"), cls("Inception"))

    @property
    def label(self) -> str:
        """The title, with space and images."""
        stable = ", stable images" if self.of == "stable" else ""
        return f"{self.title}, {self.space}{stable}{', posterior at least 0.9' if self.sure else ''}"

    @property
    def required(self) -> frozenset[str]:
        """A reference, the images, judges for the embedding, and weights for Inception."""
        own = {"embedding": {"judges"}, "Inception": {"inception"}}.get(self.space, set())
        return self.needs | {self.of} | own

    @property
    def features_of(self) -> str:
        """The images and their space; distances share them."""
        return f"{self.of} {self.space} {self.settings}"

    def prepare(self, context: Context) -> Self:
        """Take the reference's features."""
        return dataclasses.replace(self, known=real(context, self.space, self.settings))

    def learned(self) -> Real:
        """Return the reference's features.

        Raises:
            NotApplicable: not prepared.
        """
        return needed(self.known, "reference")

    def features(self, explanation: Explanation, sample: Sample, classifier: Classifier) -> Tensor:
        """Return (N, 1 + D): the posterior of the class that is compared with, then the features."""
        image = needed(explanation.counterfactual if self.of == "counterfactual" else explanation.stable, self.of)
        which = explanation.target if self.of == "counterfactual" else explanation.source
        posterior = classifier.posterior(image).gather(1, which[:, None])
        return torch.cat([posterior, self.learned().extract(image).float().to(posterior.device)], 1)

    def kept(self, features: Tensor) -> Tensor:
        """Return all answers, or the sure ones."""
        return (features[:, 0] >= 0.9) | (not self.sure)

    def sets(self, features: Tensor, source: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, for each class that answers are compared with, their features and those of its real images.

        Raises:
            NotApplicable: too few of either for every class.
        """
        pairs = self._classes(features, source, target)
        enough = [pair for pair in pairs.values() if min(map(len, pair)) >= self.least]
        if not enough:
            made, real_ones = next(iter(pairs.values()), (features, features[:0]))
            raise NotApplicable(f"answers: a distance of sets needs at least {self.least} answers and real images of a class, "
                                f"got {len(made)} and {len(real_ones)}; evaluate more images")  # fmt: skip
        return enough

    def _classes(self, features: Tensor, source: Tensor, target: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        asked = target if self.of == "counterfactual" else source
        return {k: (features[asked == k, 1:], self.learned().of(torch.tensor([k]), self.sure))
                for k in asked.unique().tolist() if self.only is None or k in self.only}  # fmt: skip

    def resampled(self, features: Tensor, source: Tensor, target: Tensor) -> Self:
        """Return the distance of the classes that have enough here, however few of them a draw holds."""
        pairs = self._classes(features, source, target)
        enough = tuple(k for k, pair in pairs.items() if min(map(len, pair)) >= self.least)
        return dataclasses.replace(self, only=enough, least=2)

    def compute(self, features: Tensor, source: Tensor, target: Tensor) -> float:
        """Return the distance; of several classes the mean, weighted by answers.

        Classes are not pooled: unchanged images of two classes, each asked to be the other, are as a set near perfect.
        """
        return _weighted([(len(made), self.distance(made, others)) for made, others in self.sets(features, source, target)])

    @abstractmethod
    def distance(self, first: Tensor, second: Tensor) -> float:
        """Return the distance of two sets of features."""

    def beside(self, features: Tensor, source: Tensor, target: Tensor) -> Mapping[str, float]:
        """Return the floor between disjoint real images, as many as answers on one side, and between real classes.

        Where classes have too few answers or real images for a distance, how many answers are left out for it stands there too.
        """
        known, floors, sets = self.learned(), [], self.sets(features, source, target)
        for made, others in sets:
            order = torch.randperm(len(others), generator=torch.Generator().manual_seed(0))
            count = min(len(made), len(others) // 2)
            floors.append((len(made), self.distance(others[order[:count]], others[order[count:]])))
        found = {"floor between real images": _weighted(floors)}
        pair = source.unique().tolist(), target.unique().tolist()
        if len(known.posterior[0]) == 2 or (len(pair[0]) == len(pair[1]) == 1):
            a, b = (0, 1) if len(known.posterior[0]) == 2 else (pair[0][0], pair[1][0])
            ends = [known.of(torch.tensor([k]), self.sure) for k in (a, b)]
            if min(map(len, ends)) >= self.least:
                found["real to real, other class"] = self.distance(*ends)
        if left := len(features) - sum(len(made) for made, _ in sets):
            found["answers left out, too few of their class"] = left
        return found

    def note(self) -> str:
        """What the space is."""
        return "" if self.known is None else self.known.note


def _weighted(figures: list[tuple[int, float]]) -> float:
    return sum(n * value for n, value in figures) / sum(n for n, _ in figures)


@dataclass(frozen=True)
class FrechetDistance(_Distance):
    """Frechet distance of Gaussians fitted to the features."""

    name: ClassVar[str] = "frechet"
    title: ClassVar[str] = "Frechet distance"
    formula: ClassVar[str] = "|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), unbiased covariances"
    source: ClassVar[str] = "C3LT table 2 (FID), SyCE section 6.3 (FD), EPE table 1; on named features"
    about: ClassVar[str] = (
        "Tells how far the set of answers is from real images of that class, in units of the feature space: compare "
        "within one space only, with the floor (as many real images against other real ones) and the distance of the "
        "two real classes. Over all directions it is the mean of the classes', since sets of pooled classes favour doing "
        "nothing. Falls with n. Says nothing of single images. SyCE prints 1e5 times the value, on an "
        "embedding that had collapsed onto the decision; this one is not, see KL and PC1 in the note."
    )

    def distance(self, first: Tensor, second: Tensor) -> float:
        """Return the Frechet distance."""
        return frechet(first, second)


@dataclass(frozen=True)
class KernelDistance(_Distance):
    """Squared maximum mean discrepancy with a cubic kernel."""

    name: ClassVar[str] = "kernel_distance"
    title: ClassVar[str] = "kernel distance"
    range: ClassVar[tuple[float, float]] = (-float("inf"), float("inf"))
    formula: ClassVar[str] = "unbiased MMD^2, kernel (x.y / D + 1)^3, at most 5,000 of each set"
    source: ClassVar[str] = "C3LT table 2 (KID), on named features"
    resamples: ClassVar[int] = 0
    about: ClassVar[str] = (
        "As the Frechet distance, without bias in n and without the Gaussian; small negative values mean nothing. "
        "The published KID averages over subsets; here all answers are used at once. No interval: see the floor."
    )

    def distance(self, first: Tensor, second: Tensor) -> float:
        """Return the squared discrepancy."""
        return kernel_distance(first, second)


@dataclass(frozen=True)
class JensenShannon(_Distance):
    """Jensen-Shannon distance of densities in the plane of two principal components."""

    space: Space = "embedding"

    name: ClassVar[str] = "jensen_shannon"
    title: ClassVar[str] = "Jensen-Shannon distance"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    formula: ClassVar[str] = "root of the base-2 divergence of kernel densities on a 100 x 100 grid over PC1 and PC2"
    source: ClassVar[str] = "SyCE section 6.3"
    resamples: ClassVar[int] = 0
    about: ClassVar[str] = (
        "Tells whether answers lie where real images lie, as far as two components show. Both and the grid are fitted "
        "on real images only, so that a value does not depend on what else is compared (SyCE pools all methods). "
        "No interval: see the floor."
    )

    @classmethod
    def instances(cls) -> tuple[Self, ...]:
        """Return counterfactuals and stable images in the embedding."""
        return (cls(), cls("embedding", "stable"))

    def distance(self, first: Tensor, second: Tensor) -> float:
        """Return the distance."""
        return jensen_shannon(first, second, self.learned().plane)
