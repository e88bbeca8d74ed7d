"""The networks of a DCGAN with encoder (Radford et al.; C3LT section 4.1), for square or oblong images of 28 to 128 px.

Deviations: a start of 4 to 8 px so that doublings reach the image's size without a crop; a convolution at full resolution
at the end; instead of batch norm the generator has the progressive GAN's norm of each pixel's features, and the others
have none, so that an image does not depend on its batch mates and averaged weights need no statistics of their own.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import group_norm


def start_of(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return how often the sides can be halved down to 4 to 8 px, and the height and width then.

    Raises:
        ValueError: sides that do not halve so far together.
    """
    _, height, width = image_shape
    doublings = 0
    while min(height, width) > 8 and height % 2 == 0 and width % 2 == 0:
        height, width, doublings = height // 2, width // 2, doublings + 1
    if not 4 <= min(height, width) <= 8 or doublings == 0:
        raise ValueError(f"image_shape: expected sides of 4 to 8 times a power of 2 (28, 32, 48, 64, 96, 128), got "
                         f"{image_shape}; open the images with another size")  # fmt: skip
    return doublings, height, width


def on_sphere(x: Tensor) -> Tensor:
    """Scale to a mean square of one over axis 1: latents (N, D) as the GAN's prior has them, or the features of each pixel."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Generator(nn.Module):
    """From latents (N, D) to images (N, C, H, W) in [0, 1].

    Args:
        image_shape: (C, H, W).
        latent_size: D.
        width: channels at full resolution; each halving doubles them, up to 8 times.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_size: int, *, width: int) -> None:
        super().__init__()
        doublings, height, side = start_of(image_shape)
        widths = _widths(width, doublings)[::-1]
        self.start = (widths[0], height, side)
        self.dense = nn.Linear(latent_size, widths[0] * height * side)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1) for inner, outer in pairwise(widths)
        )
        self.out = nn.Conv2d(width, image_shape[0], 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """Return (N, C, H, W) in [0, 1]."""
        x = F.relu(on_sphere(self.dense(latent).view(-1, *self.start)))
        for layer in self.up:
            x = F.relu(on_sphere(layer(x)))
        image: Tensor = torch.sigmoid(self.out(x).float())
        return image


class Pyramid(nn.Module):
    """Strided convolutions from an image to some numbers: the critic (one) and the encoder (D).

    Args:
        image_shape: (C, H, W).
        outputs: how many numbers an image.
        width: channels at full resolution; each halving doubles them, up to 8 times.
        norm: whether each level but the first is normalised over groups of channels; that hides how bright an image is.
    """

    def __init__(self, image_shape: tuple[int, int, int], outputs: int, *, width: int, norm: bool = False) -> None:
        super().__init__()
        doublings, height, side = start_of(image_shape)
        widths = _widths(width, doublings)
        self.stem = nn.Conv2d(image_shape[0], width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(inner, outer, 4, stride=2, padding=1) for inner, outer in pairwise(widths))
        self.norms = nn.ModuleList(
            group_norm(channels) if norm else nn.Identity() for channels in widths[1:]
        )
        self.out = nn.Linear(widths[-1] * height * side, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, outputs)."""
        x = F.leaky_relu(self.stem(image), 0.2)
        for layer, norm in zip(self.down, self.norms):
            x = F.leaky_relu(norm(layer(x)), 0.2)
        numbers: Tensor = self.out(x.flatten(1))
        return numbers


def _widths(width: int, doublings: int) -> list[int]:
    return [width * min(2**level, 8) for level in range(doublings + 1)]
