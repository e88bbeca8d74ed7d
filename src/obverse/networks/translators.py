"""Networks from an image to an image of the same size."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import Affine, check_sides, clip, from_blocks, glorot, to_blocks

Norm = Literal["affine", "batch", "none"]


class UNet(nn.Module):
    """The translator of SyCE (supplement E.1): pre-activated convolutions, max pooling, nearest upsampling, skips.

    Widths double from `width` at every pooling. With one channel, width 16 and depth 2 it has the 205,557 numbers of
    the published digits model (with the affine norm: its batch norm never ran, so it was a gain and an offset).

    Args:
        channels: of the image.
        width: channels at full resolution.
        depth: poolings; the image's sides must be multiples of 2 ** depth.
        norm: "affine", "batch" for live batch statistics, or "none", which is a quarter faster.
        refine: whether a block of convolutions follows the last skip; without it (as published) the finest decoder
            features are upsampled from half the resolution.
        residual: whether the network predicts the change and starts as the identity, instead of the whole image.
        noise: numbers an image that say which of several answers to give; each is seen as a constant channel.
        grid: whether these are laid over the image as a square grid instead, so that places differ; their count is a square.
            The first is a constant channel besides, by which places can agree that are further apart than the network sees.
        slope: of the ReLUs below 0; above 0 none can die, which without a norm and at high rates they do.
        shrink: side of the blocks of pixels that the network works on as channels: 2 costs a quarter, for large images.
    """

    def __init__(
        self, channels: int, *, width: int = 16, depth: int = 2, norm: Norm = "affine", refine: bool = False,
        residual: bool = False, noise: int = 0, grid: bool = False, slope: float = 0.0,
        shrink: int = 1,
    ) -> None:
        super().__init__()
        if grid and math.isqrt(noise) ** 2 != noise:
            raise ValueError(f"noise: expected a square number for a grid, got {noise}; 64 is a grid of 8 x 8")
        self.factor, self.adds, self.noise, self.grid, self.shrink = shrink * 2**depth, residual, noise, grid, shrink
        channels *= shrink**2
        def block(inner: int, outer: int) -> nn.Sequential:
            return _block(inner, outer, norm, slope)

        widths = [width * 2**level for level in range(depth + 1)]
        self.stem = nn.Sequential(block(channels + (2 * bool(noise) if grid else noise), width), block(width, width))
        self.down = nn.ModuleList(block(a, b) for a, b in itertools.pairwise(widths))
        self.residual = nn.ModuleList(
            nn.Sequential(*(block(b, b) for _ in range(3))) for b in widths[1:]
        )
        self.up = nn.ModuleList()
        inner = widths[-1]
        for level in reversed(range(depth)):
            outer = widths[level]
            self.up.append(nn.Sequential(block(inner, outer), block(outer, outer)))
            inner = 2 * outer
        self.refine = nn.Sequential(block(inner, width), block(width, width)) if refine else None
        self.out = nn.Conv2d(width if refine else inner, channels, 1)
        glorot(self)
        if residual:
            nn.init.zeros_(self.out.weight)  # starts as the identity

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the translated image (N, C, H, W), clipped to [0, 1], float32."""
        out = self.raw(image, noise)
        return clip(image + out if self.adds else out)

    def raw(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) float32, neither added to the image nor clipped.

        Args:
            image: (N, C, H, W).
            noise: (N, noise) in [0, 1], where the network has a noise input; None is 0.5 throughout.
        """
        check_sides(self, image.shape)
        x = to_blocks(image, self.shrink)
        if self.noise:  # not negative: the first block starts with a ReLU
            given = image.new_full((len(image), self.noise), 0.5) if noise is None else noise.to(image.dtype)
            x = torch.cat([x, self._laid(given, x.shape[-2], x.shape[-1])], 1)
        x = self.stem(x)
        skips = [x]
        for down, residual in zip(self.down, self.residual):
            x = F.max_pool2d(down(x), 2)
            x = x + residual(x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = F.interpolate(up(x), scale_factor=2, mode="nearest")
            x = torch.cat([skips.pop(), x], 1)
        if self.refine is not None:
            x = self.refine(x)
        return from_blocks(self.out(x).float(), self.shrink)

    def _laid(self, noise: Tensor, height: int, width: int) -> Tensor:
        constant = noise[:, : 1 if self.grid else None, None, None].expand(-1, -1, height, width)
        if not self.grid:
            return constant
        side = math.isqrt(self.noise)
        return torch.cat([constant, F.interpolate(noise.view(-1, 1, side, side), (height, width), mode="nearest")], 1)


def _block(inner: int, outer: int, norm: Norm, slope: float) -> nn.Sequential:
    inplace = norm != "none"  # on what the norm made; without a norm it would overwrite a skip
    rectifier = nn.LeakyReLU(slope, inplace) if slope else nn.ReLU(inplace)
    layers: list[nn.Module] = [rectifier, nn.Conv2d(inner, outer, 3, padding=1)]
    if norm != "none":
        layers.insert(0, nn.BatchNorm2d(inner, eps=1e-3) if norm == "batch" else Affine(inner))
    return nn.Sequential(*layers)
