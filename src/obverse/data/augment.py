"""Random flips, rotation, zoom and shift of a batch, on the batch's own device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Augment:
    """A random affine map for each image: bilinear, the border pixel repeated outside, the centre kept in place.

    Args:
        rotation: largest angle to either side, degrees; counter-clockwise for a uniform number near 1.
        zoom: smallest and largest factor, drawn for x and y separately; below 1 magnifies (Keras' meaning).
        shift: largest move to either side on each axis, as a fraction of the image's width or height.
        horizontal_flip: probability that left and right are exchanged.
        vertical_flip: probability that top and bottom are exchanged.

    Raises:
        ValueError: a negative angle or shift, a zoom that is not 0 < low <= high, a probability outside [0, 1].
    """

    rotation: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rotation", "shift"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name}: expected a finite number of at least 0, got {value}; "
                                 "give the largest move, it is drawn to both sides")  # fmt: skip
        if not 0 < self.zoom[0] <= self.zoom[1] < math.inf:
            raise ValueError(f"zoom: expected 0 < low <= high, got {self.zoom}; (1, 1) leaves the size alone")
        for name in ("horizontal_flip", "vertical_flip"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name}: expected a probability in [0, 1], got {value}; 0.5 flips every other image")

    def __call__(self, image: Tensor, uniform: Tensor) -> Tensor:
        """Return the images after the maps that `uniform` chooses; the input itself where everything is off.

        Args:
            image: (N, C, H, W) in [0, 1].
            uniform: (N, 6) in [0, 1), on the same device: rotation, zoom x, zoom y, shift x, shift y, flips.

        Returns:
            (N, C, H, W) in [0, 1].

        Raises:
            ValueError: `uniform` is not (N, 6).
        """
        return self._warp(image, uniform, "bilinear").clamp(0, 1) if self != NONE else image

    def mask(self, mask: Tensor, uniform: Tensor) -> Tensor:
        """Return masks (N, 1, H, W) of 0 and 1 after the same maps, by nearest neighbour."""
        return self._warp(mask, uniform, "nearest") if self != NONE else mask

    def matrix(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """Return (N, 2, 3): from output to input position, x before y, both from -1 to 1 across the image."""
        centred = 2 * uniform[:, [0, 3, 4]] - 1
        angle = centred[:, 0] * math.radians(self.rotation)
        cosine, sine = angle.cos(), angle.sin()
        scale = self.zoom[0] + (self.zoom[1] - self.zoom[0]) * uniform[:, 1:3]
        left_right, rest = _chance(uniform[:, 5], self.horizontal_flip)
        top_bottom, _ = _chance(rest, self.vertical_flip)
        x = torch.where(left_right, -scale[:, 0], scale[:, 0])
        y = torch.where(top_bottom, -scale[:, 1], scale[:, 1])
        # the aspect ratio keeps the rotation rigid in pixels; a shift of the whole width is 2 in these units
        return torch.stack(
            [
                torch.stack([cosine * x, -sine * y * (height / width), -2 * self.shift * centred[:, 1]], dim=1),
                torch.stack([sine * x * (width / height), cosine * y, -2 * self.shift * centred[:, 2]], dim=1),
            ],
            dim=1,
        )

    def _warp(self, image: Tensor, uniform: Tensor, mode: str) -> Tensor:
        if tuple(uniform.shape) != (len(image), 6):
            raise ValueError(f"uniform: expected shape ({len(image)}, 6), got {tuple(uniform.shape)}; "
                             "draw six numbers in [0, 1) for each image")  # fmt: skip
        # in bf16 a sampling position would be off by up to a quarter of a pixel at 128 pixels
        with torch.autocast(image.device.type, enabled=False):
            matrix = self.matrix(uniform.to(image.dtype), image.shape[2], image.shape[3])
            grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
            return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)


def _chance(uniform: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Return whether an event of this probability happens, and what is left of `uniform`: uniform and independent."""
    happens = uniform < probability
    below, above = uniform / max(probability, 1e-12), (uniform - probability) / max(1 - probability, 1e-12)
    rest = torch.where(happens, below, above)
    return happens, rest


NONE = Augment()
DIGITS = Augment(rotation=5, zoom=(0.8, 1), vertical_flip=0.5)
"""SyCE's digits settings, read from its released configuration (no horizontal flip, no shift)."""
