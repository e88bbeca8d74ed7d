"""An encoder and a generator conditioned on a bin, through the gain and offset of its batch norms (EPE appendix A.1)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import glorot, squash

WIDEST = 16
"""Channels grow from `width` to at most 16 times that, as in the released networks (64 to 1024)."""


def halvings(image_shape: tuple[int, int, int]) -> int:
    """Return how often an image is halved until it is about 4 pixels high: 3 at 28 px, 5 at 128, 6 at 256."""
    return max(1, round(math.log2(min(image_shape[1:]) / 4)))


def widths(width: int, depth: int) -> list[int]:
    """Return the channels at full resolution and after each halving."""
    return [width * min(2**level, WIDEST) for level in range(depth + 1)]


def interpolated(table: Tensor, position: Tensor) -> Tensor:
    """Return the rows of a (B, D) table at positions (N,) in bins, mixed between two and continued straight beyond the ends."""
    position = position.to(table.dtype)
    low = position.floor().long().clamp(0, len(table) - 2)
    # an embedding's gradient is one kernel on a GPU, that of indexing a sort
    return F.embedding(low, table).lerp(F.embedding(low + 1, table), (position - low)[:, None])


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and offset belong to a bin; batch statistics in training, running ones in evaluation.

    Args:
        channels: of the input.
        bins: rows of the two tables, gains of 1 and offsets of 0 at first.
    """

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, affine=False)
        self.gain = nn.Parameter(torch.ones(bins, channels))
        self.offset = nn.Parameter(torch.zeros(bins, channels))

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Return the normed input, scaled and shifted for each row's position in bins (N,)."""
        x = self.norm(x)
        gain, offset = interpolated(self.gain, position).to(x.dtype), interpolated(self.offset, position).to(x.dtype)
        return torch.addcmul(offset[:, :, None, None], x, gain[:, :, None, None])


class _Down(nn.Module):
    """BN-ReLU-pool-Conv3-BN-ReLU-Conv3 and a pooled 1x1 shortcut."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inner, eps=1e-3), nn.BatchNorm2d(outer, eps=1e-3)
        self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, padding=1), nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(_halve(F.relu(self.norm1(x))))
        y = self.conv2(F.relu(self.norm2(y)))
        result: Tensor = y + self.skip(_halve(x))
        return result


class _Up(nn.Module):
    """BN-ReLU-double-Conv3-BN-ReLU-Conv3 with conditional norms, and a doubled 1x1 shortcut."""

    def __init__(self, inner: int, outer: int, bins: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ConditionalNorm(inner, bins), ConditionalNorm(outer, bins)
        self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, padding=1), nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor, position: Tensor, size: tuple[int, int]) -> Tensor:
        y = self.conv1(F.interpolate(F.relu(self.norm1(x, position)), size))
        y = self.conv2(F.relu(self.norm2(y, position)))
        # a 1x1 convolution before doubling equals one after it
        result: Tensor = y + F.interpolate(self.skip(x), size)
        return result


class ConditionalGenerator(nn.Module):
    """E and G of EPE: an encoder that knows no bin, and a generator that is told one in every block.

    Deviations from the released networks: the encoder is unconditional, as the paper writes E(x); the stem is a plain
    convolution, since a norm and a ReLU on pixels would black out all that is darker than the mean; the last tangent keeps
    a gradient where the image is black or white (see `squash`); any side length.

    Args:
        image_shape: (C, H, W).
        bins: how many.
        width: channels at full resolution; the released networks have 64.
        depth: halvings between the image and the embedding.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, bins: int, width: int, depth: int) -> None:
        super().__init__()
        channels, height, side = image_shape
        sides = [(-(-height // 2**level), -(-side // 2**level)) for level in range(depth)]
        self.sizes = sides[::-1]
        steps = list(itertools.pairwise(widths(width, depth)))
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(_Down(a, b) for a, b in steps)
        self.up = nn.ModuleList(_Up(b, a, bins) for a, b in reversed(steps))
        self.norm = nn.BatchNorm2d(width, eps=1e-3)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        glorot(self)

    def encode(self, image: Tensor) -> Tensor:
        """Return E(x), (N, channels, about 4, about 4)."""
        x: Tensor = self.stem(image)
        for down in self.down:
            x = down(x)
        return x

    def decode(self, latent: Tensor, position: Tensor) -> Tensor:
        """Return G(latent, position), images in [0, 1], float32.

        Args:
            latent: (N, ...) from `encode`.
            position: (N,) in bins, from 0 to bins - 1; between two bins their gains and offsets are mixed, and beyond the ends
                they go on as between the last two.
        """
        x = latent
        for up, size in zip(self.up, self.sizes):
            x = up(x, position, size)
        out: Tensor = self.out(F.relu(self.norm(x)))
        return (1 + squash(out)) / 2

    def forward(self, image: Tensor, position: Tensor) -> Tensor:
        """Return eq. 2, G(E(x), c)."""
        return self.decode(self.encode(image), position)


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)
