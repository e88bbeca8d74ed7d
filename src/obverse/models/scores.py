"""How well a model represents images, and how much its samples are like them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from obverse.data.base import Dataset
from obverse.generative import GenerativeModel
from obverse.losses import energy_distance, l1_each


@dataclass(frozen=True)
class Reconstruction:
    """How far images are from what the model makes of them; it bounds every picture that the model makes of an image.

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
        errors = torch.cat([l1_each(batch.image, model.decode(model.encode(batch.image)))
                            for batch in data.batches(256, model.device)])  # fmt: skip
    return Reconstruction(len(errors), float(errors.mean()), float(errors.quantile(0.95)))


def sample_distance(model: GenerativeModel, data: Dataset, *, most: int = 1000, seed: int = 0) -> float:
    """Return how far samples are from images as distributions: their energy distance, from mean absolute differences.

    No network judges, so it holds for any images; it sees missing modes and blur, but not small flaws. Images of more than
    32 px are averaged down to that.

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
        real, made = (F.adaptive_avg_pool2d(x, sides) for x in (image, model.decode(latent)))
    return float(energy_distance(real, made, power=1))
