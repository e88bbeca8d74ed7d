"""Controls: answers that know little or nothing of the decision, which any figure must beat.

None is from a paper. What each shows: a high score of `raw_image` or `image_minus_blur` says that the finding is simply
bright or sharp; of `random_map`, that the metric is generous; of `identity`, what doing nothing earns; of `mean_image`,
what a prototype earns; of `reconstruction`, what a generative model's inaccuracy earns by itself; of
`adversarial_noise`, what unseen changes of the same size earn.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from obverse.baselines.common import (
    Gallery,
    blur,
    check_same_classifier,
    counterfactual_of,
    margin,
    search_logits,
)
from obverse.data.base import Dataset
from obverse.explainer import Answer, Explainer, Query
from obverse.explanation import as_saved
from obverse.losses import l1_each
from obverse.search import minimise
from obverse.settings import check_positive


@dataclass(eq=False, kw_only=True)
class RawImage(Explainer):
    """The image itself as its attribution: is the finding merely bright, or merely dark?

    Args:
        tone: whether bright or dark pixels are the evidence.
    """

    name: ClassVar[str] = "raw_image"
    needs_gradient: ClassVar[bool] = False

    tone: Literal["bright", "dark"] = "bright"

    def answer(self, query: Query) -> Answer:
        """Return the mean over channels, or 1 minus it."""
        grey = query.image.mean(1, keepdim=True)
        return Answer(attribution=grey if self.tone == "bright" else 1 - grey)


@dataclass(eq=False, kw_only=True)
class ImageMinusBlur(Explainer):
    """What a blur would take away: is the finding merely a spot or an edge?

    Args:
        sigma: of the Gaussian, in pixels.
        tone: spots brighter than their surroundings, darker ones, or both.
    """

    name: ClassVar[str] = "image_minus_blur"
    needs_gradient: ClassVar[bool] = False

    sigma: float = 5.0
    tone: Literal["bright", "dark", "both"] = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "sigma")

    def answer(self, query: Query) -> Answer:
        """Return the mean over channels of the difference, or of its wanted side."""
        change = query.image - blur(query.image, self.sigma)
        wanted = {"both": change.abs(), "bright": change.clamp_min(0), "dark": (-change).clamp_min(0)}[self.tone]
        return Answer(attribution=wanted.mean(1, keepdim=True))


@dataclass(eq=False, kw_only=True)
class RandomMap(Explainer):
    """Uniform noise as the attribution: the floor of every localisation figure.

    Each image's noise is drawn from the seed and its own pixels, so it differs between images and not between batches.
    """

    name: ClassVar[str] = "random_map"
    needs_gradient: ClassVar[bool] = False

    def answer(self, query: Query) -> Answer:
        """Return (M, 1, H, W) in [0, 1)."""
        size, maps = query.image.shape[-2:], []
        for row, answer in zip(query.image.cpu(), query.answer.tolist()):
            code = zlib.crc32(row.contiguous().numpy().tobytes(), query.seed & 0xFFFFFFFF) + answer
            maps.append(torch.rand(1, *size, generator=torch.Generator().manual_seed(code)))
        noise = torch.stack(maps) if maps else query.image[:, :1]
        return Answer(attribution=noise.to(query.image.device))


@dataclass(eq=False, kw_only=True)
class Identity(Explainer):
    """The image itself as its counterfactual: what doing nothing earns."""

    name: ClassVar[str] = "identity"
    needs_gradient: ClassVar[bool] = False

    def answer(self, query: Query) -> Answer:
        """Return a copy of the image."""
        return Answer(counterfactual=query.image.clone())


@dataclass(eq=False, kw_only=True)
class MeanImage(Explainer):
    """The mean image of what is decided as the target: valid perhaps, but of nobody.

    Args:
        reference: images of every class, usually the training split.

    Raises:
        ValueError: images of another shape; when explaining: a target that is decided for none of them.
    """

    name: ClassVar[str] = "mean_image"
    needs_gradient: ClassVar[bool] = False

    reference: Dataset = field(kw_only=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._gallery = Gallery(self.classifier, self.reference, "pixels")

    def answer(self, query: Query) -> Answer:
        """Return the mean image of each row's target."""
        for wanted in query.target.unique().tolist():
            self._gallery.rows(int(wanted))  # raises where there is none
        return Answer(counterfactual=self._gallery.means[query.target].clamp(0, 1))

    def describe(self) -> dict[str, Any]:
        """Return the settings and which images the mean is of."""
        return super().describe() | {"reference": f"{self.reference.name} {self.reference.split}".strip()}


@dataclass(eq=False, kw_only=True)
class Reconstruction(Explainer):
    """What an autoencoder makes of the image, with nothing asked: decisions that change here change by inaccuracy.

    Args:
        autoencoder: maps (N, C, H, W) in [0, 1] to the same; its output is clipped. It is moved to the classifier's device.

    Raises:
        ValueError: when explaining: an autoencoder that returns another shape.
    """

    name: ClassVar[str] = "reconstruction"
    needs_gradient: ClassVar[bool] = False

    autoencoder: nn.Module = field(kw_only=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.autoencoder.to(self.classifier.device)

    def answer(self, query: Query) -> Answer:
        """Return the reconstruction, and its mean absolute error as the residual."""
        again = reconstruct(self.autoencoder, query.image)
        return Answer(counterfactual=again, residual=l1_each(again, query.image))

    def _modules(self) -> list[nn.Module]:
        return [self.classifier.module, self.autoencoder]


RADII = (1.0, 2.0, 4.0, 8.0)
"""Of the balls in which adversarial noise is searched, in units of the mean absolute change to be matched."""


@dataclass(eq=False, kw_only=True)
class AdversarialNoise(Explainer):
    """Adversarial noise as large (L1) as another explainer's change: what imperceptible cheating earns.

    Targeted sign-gradient ascent in L-infinity balls whose radii are 1, 2, 4 and 8 times the mean absolute change to be
    matched. The noise of each is scaled until its L1 norm, rounded to the 256 levels of a file, is no less, or each of its
    pixels is at an end; then it is taken back at random pixels until the norms are equal but for one pixel. Kept is, image
    by image, the one that leads furthest towards the target.

    Args:
        explainer: whose counterfactuals set the size.
        steps: of each ascent.

    Raises:
        ValueError: an explainer of another classifier.
        NotApplicable: when explaining: an explainer without counterfactuals.
    """

    name: ClassVar[str] = "adversarial_noise"

    explainer: Explainer = field(kw_only=False)
    steps: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "steps")
        check_same_classifier(self.explainer, self.classifier, self.name)

    def answer(self, query: Query) -> Answer:
        """Return the image plus noise of the size of the explainer's change."""
        other = counterfactual_of(self.explainer, query, self.name)
        size = l1_each(other, query.image).view(-1, 1, 1, 1)
        best, lead = query.image, torch.full((len(query.image),), -torch.inf, device=size.device)
        for factor in RADII:
            found = self._noisy(query, size, factor)
            reached = margin(search_logits(self.classifier, found), query.target)
            further = reached > lead
            best, lead = torch.where(further.view_as(size), found, best), torch.maximum(lead, reached)
        return Answer(counterfactual=best)

    def _noisy(self, query: Query, size: Tensor, factor: float) -> Tensor:
        """Return the image plus noise of L1 `size` (M, 1, 1, 1), found in a ball of `factor` times that radius."""
        radius = factor * size

        def noisy(noise: Tensor, rows: Tensor) -> Tensor:  # noise in units of the ball's radius
            return (query.image[rows] + radius[rows] * noise).clamp(0, 1)

        def objective(noise: Tensor, rows: Tensor) -> Tensor:
            return -margin(search_logits(self.classifier, noisy(noise, rows)), query.target[rows])

        found = minimise(
            objective, torch.zeros_like(query.image), steps=self.steps, rate=2.5 / self.steps, update="sign",
            project=lambda noise, _: noise.clamp(-1, 1),
        )  # fmt: skip
        stuck = (found.value == 0).flatten(1).all(1).view_as(size)  # nothing helps: any noise of that size
        value = torch.where(stuck, query.normal(query.image[0].numel()).view_as(query.image).clamp(-1, 1), found.value)
        change = radius * value
        saved = as_saved(query.image + _scale(query.image, change, size) * change)
        return _thinned(query, saved, size)

    def describe(self) -> dict[str, Any]:
        """Return the settings and the explainer whose change is matched."""
        return super().describe() | {"explainer": self.explainer.describe()}

    def _modules(self) -> list[nn.Module]:
        return [*super()._modules(), *self.explainer._modules()]


def reconstruct(autoencoder: nn.Module, image: Tensor) -> Tensor:
    """Return what an autoencoder makes of images, clipped to [0, 1].

    Raises:
        ValueError: it returns another shape.
    """
    again = autoencoder(image)
    if not isinstance(again, Tensor) or again.shape != image.shape:
        got = tuple(again.shape) if isinstance(again, Tensor) else type(again).__name__
        raise ValueError(f"autoencoder: expected images of shape {tuple(image.shape)} back, got {got}; pass a module "
                         "that encodes and decodes")  # fmt: skip
    return again.float().clamp(0, 1)


def _scale(image: Tensor, change: Tensor, size: Tensor) -> Tensor:
    """Return (M, 1, 1, 1): by how much to multiply the change so that its L1, as it would be saved, is at least `size`."""
    low, high = torch.full_like(size, -20.0), torch.full_like(size, 20.0)  # exponents of 2
    for _ in range(50):  # bisection: what clipping and rounding leave of a change grows with its scale
        middle = (low + high) / 2
        left = l1_each(as_saved(image + middle.exp2() * change), image).view_as(size)
        low, high = torch.where(left < size, middle, low), torch.where(left < size, high, middle)
    return high.exp2()


def _thinned(query: Query, noisy: Tensor, size: Tensor) -> Tensor:
    """Return the noisy images with the noise left at random pixels only, as many as make an L1 of at most `size`."""
    change = (noisy - query.image).flatten(1)
    order = query.normal(change.shape[1]).argsort(1)
    left = change.abs().gather(1, order).cumsum(1) <= size.flatten(1) * change.shape[1] + 1e-4  # what adding up rounds
    kept = torch.zeros_like(left).scatter(1, order, left)
    return query.image + (change * kept).view_as(noisy)
