"""How well a model represents images, and how much its samples are like them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.data.base import Dataset
from obverse.generative import GenerativeModel


@dataclass(frozen=True)
class Reconstruction:
    """How far images are from what the model makes of them; it bounds every explanation that uses the model.

    Args:
        count: images.
        error: mean absolute error of a pixel, on [0, 1].
        worst: the error that one image in twenty exceeds.
    """

    count: int
    error: float
    worst: float

    def words(self) -> str:
        """Say it in one line."""
        return (f"reconstruction error {self.error:.4f} (mean absolute, pixels in [0, 1]) on {self.count} images; one in 20 "
                f"is above {self.worst:.4f}")  # fmt: skip


def reconstruction(model: GenerativeModel, data: Dataset) -> Reconstruction:
    """Return how well encoder and decoder bring the images of a set back.

    Raises:
        NotApplicable: no encoder.
        ValueError: no images, or of another shape.
    """
    if len(data) == 0:
        raise ValueError("data: expected at least one image, got none; check the split")
    with torch.no_grad():
        errors = torch.cat([residual(batch.image, model.decode(model.encode(batch.image)))
                            for batch in data.batches(256, model.device)])  # fmt: skip
    return Reconstruction(len(errors), float(errors.mean()), float(errors.quantile(0.95)))


def residual(image: Tensor, made: Tensor) -> Tensor:
    """Return (N,) mean absolute errors."""
    return (made - image).abs().flatten(1).mean(1)


def energy_distance(model: GenerativeModel, data: Dataset, *, most: int = 1000, seed: int = 0) -> float:
    """Return how far samples are from images as distributions: 2 E|x - y| - E|x - x'| - E|y - y'| >= 0, in pixel units.

    No network judges, so it holds for any images; it sees missing modes and blur, but not small flaws (Székely). Images of
    more than 32 px are averaged down to that.

    Args:
        model: makes the samples.
        data: its images.
        most: images and samples at most.
        seed: of the samples.
    """
    rows = torch.linspace(0, len(data) - 1, min(most, len(data))).long()
    image = data[rows].image.to(model.device)
    with torch.no_grad():
        if model.classes is None:
            latent = model.sample(len(image), seed=seed)
        else:
            normal = torch.randn(len(image), model.normal_size, generator=torch.Generator().manual_seed(seed))
            latent = model.from_normal(normal.to(model.device), torch.arange(len(image)) % len(model.classes))
        sides = (min(image.shape[2], 32), min(image.shape[3], 32))
        real, made = (F.adaptive_avg_pool2d(x, sides).flatten(1) for x in (image, model.decode(latent)))
    between = torch.cdist(real, made, p=1).mean()
    within = [torch.cdist(x, x, p=1).sum() / max(len(x) * (len(x) - 1), 1) for x in (real, made)]
    return float(2 * between - within[0] - within[1]) / real.shape[1]
