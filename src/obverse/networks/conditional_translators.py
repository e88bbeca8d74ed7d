"""A translator told from which class to which, and a critic told the class: one pair of networks for all classes."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obverse.networks.blocks import check_sides, clip, glorot
from obverse.networks.critics import Critic


class ClassAffine(nn.Module):
    """A gain and an offset a channel: a part for the class an image comes from plus one for where it goes.

    Args:
        channels: of the input.
        classes: K.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.source, self.target = (nn.Embedding(classes, 2 * channels) for _ in range(2))
        for table in (self.source, self.target):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return (1 + gain) * x + offset for (N, C, H, W) and (N,) classes."""
        gain, offset = (self.source(source) + self.target(target)).to(x.dtype)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(offset, x, 1 + gain)


class _Block(nn.Module):
    def __init__(self, inner: int, outer: int, classes: int) -> None:
        super().__init__()
        self.norm, self.conv = ClassAffine(inner, classes), nn.Conv2d(inner, outer, 3, padding=1)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        made: Tensor = self.conv(F.relu(self.norm(x, source, target)))
        return made


class _Blocks(nn.ModuleList):
    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        for block in self:
            x = block(x, source, target)
        return x


class ConditionalUNet(nn.Module):
    """The translator of SyCE (see `UNet`) whose gains and offsets belong to the classes it translates between.

    Args:
        channels: of the image.
        classes: K.
        width: channels at full resolution.
        depth: poolings; the image's sides must be multiples of 2 ** depth.
        refine: whether a block of convolutions follows the last skip.
        residual: whether the network predicts the change, and starts close to the identity.
        noise: numbers an image that say which of several answers to give; each is seen as a constant channel.
    """

    def __init__(
        self, channels: int, classes: int, *, width: int = 16, depth: int = 2, refine: bool = True, residual: bool = False,
        noise: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.factor, self.adds, self.noise = 2**depth, residual, noise
        widths = [width * 2**level for level in range(depth + 1)]

        def blocks(*channels: int) -> _Blocks:
            return _Blocks(_Block(inner, outer, classes) for inner, outer in itertools.pairwise(channels))

        self.stem = blocks(channels + noise, width, width)
        self.down = nn.ModuleList(blocks(a, b) for a, b in itertools.pairwise(widths))
        self.residual = nn.ModuleList(blocks(b, b, b, b) for b in widths[1:])
        inner, self.up = widths[-1], nn.ModuleList()
        for outer in reversed(widths[:-1]):
            self.up.append(blocks(inner, outer, outer))
            inner = 2 * outer
        self.refine = blocks(inner, width, width) if refine else None
        self.out = nn.Conv2d(width if refine else inner, channels, 1)
        glorot(self)
        if residual:
            nn.init.normal_(self.out.weight, std=1e-3)

    def forward(self, image: Tensor, source: Tensor, target: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the translated image (N, C, H, W), clipped to [0, 1], float32.

        Args:
            image: (N, C, H, W) in [0, 1].
            source, target: (N,) int64, what it is decided and what it shall be.
            noise: (N, noise) in [0, 1], where the network has a noise input; None is 0.5 throughout.
        """
        check_sides(self, image.shape)
        x = image
        if self.noise:
            given = image.new_full((len(image), self.noise), 0.5) if noise is None else noise.to(image.dtype)
            x = torch.cat([image, given[:, :, None, None].expand(-1, -1, *image.shape[-2:])], 1)
        x = self.stem(x, source, target)
        skips = []
        for down, residual in zip(self.down, self.residual):
            skips.append(x)
            x = F.max_pool2d(down(x, source, target), 2)
            x = x + residual(x, source, target)
        for up in self.up:
            x = F.interpolate(up(x, source, target), scale_factor=2, mode="nearest")
            x = torch.cat([skips.pop(), x], 1)
        if self.refine is not None:
            x = self.refine(x, source, target)
        out: Tensor = self.out(x).float()
        return clip(image + out if self.adds else out)


class ConditionalCritic(Critic):
    """The critic of SyCE (see `Critic`) for a class: a logit for any image plus the projection on a row of the class.

    Source: Miyato and Koyama 2018, eq. 4, on the flat features, so that the class is told where things are.

    Args:
        image_shape: (C, H, W).
        classes: K.
        width, levels: see `Critic`.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int, *, width: int = 32, levels: int = 3) -> None:
        super().__init__(image_shape, width=width, levels=levels)
        self.of_class = nn.Embedding(classes, self.out.in_features)
        nn.init.normal_(self.of_class.weight, std=self.out.in_features**-0.5)

    def forward(self, image: Tensor, which: Tensor) -> Tensor:  # type: ignore[override]
        """Return (N,) logits of being a real image of class `which` (N,)."""
        x = image
        for layer in self.layers:
            x = layer(F.leaky_relu(x, 0.3))
        features = x.flatten(1)
        logit: Tensor = self.out(features).squeeze(1) + (self.of_class(which) * features.float()).sum(1)
        return logit
