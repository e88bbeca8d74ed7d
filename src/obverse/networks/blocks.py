"""Small pieces: the clip to [0, 1], initialisation, residual blocks, and which images can be halved often enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, image: Tensor) -> Tensor:
        context.save_for_backward(image)
        return image.clamp(0, 1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (image,), (gradient,) = context.saved_tensors, gradients
        outward = ((image < 0) & (gradient > 0)) | ((image > 1) & (gradient < 0))
        return gradient.masked_fill(outward, 0)


def clip(image: Tensor) -> Tensor:
    """Clip to [0, 1] in float32, with the gradient of a projection.

    A plain clamp has no gradient outside the range, so a pixel that leaves it never returns, and with an unlucky start
    the whole output is dead from the first step. Here a gradient that would bring the pixel back passes.
    """
    clipped: Tensor = _Clip.apply(image.float())  # type: ignore[no-untyped-call]
    return clipped


LEAST_SLOPE = 0.1


def squash(x: Tensor) -> Tensor:
    """Return the hyperbolic tangent in float32, with a gradient that brings back what has gone to its ends.

    Where images are black in most places, a plain tangent is soon so far down everywhere that what is bright in some of
    them, e.g. a small mark, has no gradient left and is never learned. Here a gradient that leads away from the nearer end
    has a slope of at least `LEAST_SLOPE`.
    """
    squashed: Tensor = _Squash.apply(x.float())  # type: ignore[no-untyped-call]
    return squashed


class _Squash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        slope = 1 - y * y
        back = gradient * y > 0  # a step against the gradient leads towards 0
        return gradient * torch.where(back, slope.clamp_min(LEAST_SLOPE), slope)


def memory_format(module: nn.Module) -> torch.memory_format:
    """Return channels_last, the fast layout, unless it would crash this module.

    In torch 2.13 on the CPU the backward pass of a 1x1 convolution of stride 2 over at most 8 channels in channels_last
    ends the process (measured: 4 and 8 channels; 12 and more are fine).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels <= 8 and max(layer.kernel_size) == 1 < max(layer.stride):
            return torch.contiguous_format
    return torch.channels_last


def in_parts(function: Callable[[Tensor], Tensor], image: Tensor, size: int = 64) -> Tensor:
    """Run a function of images, without gradients, on `size` images at a time where the machine is a CPU.

    Large activations are fetched from the system anew at every call there: 64 digits at a time measured 1.3 (U-Net) to
    1.8 (LeNet) times as fast as 256.
    """
    if image.device.type != "cpu" or len(image) <= size:
        return function(image)
    return torch.cat([function(part) for part in image.split(size)])


def to_blocks(image: Tensor, side: int) -> Tensor:
    """Return (N, C side^2, H / side, W / side): each block of pixels as channels (empty batches too, unlike torch's)."""
    n, channels, height, width = image.shape
    return F.pixel_unshuffle(image, side) if n else image.reshape(0, channels * side**2, height // side, width // side)


def from_blocks(x: Tensor, side: int) -> Tensor:
    """Return the image (N, C, H, W) whose blocks of pixels are the channels of (N, C side^2, H / side, W / side)."""
    n, channels, height, width = x.shape
    return F.pixel_shuffle(x, side) if n else x.reshape(0, channels // side**2, height * side, width * side)


class Affine(nn.Module):
    """A learned gain and offset a channel: batch norm whose statistics never moved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return gain * x + offset."""
        return x * self.gain + self.offset


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm of 8 channels a group, or of the next number that divides them."""
    groups = next(groups for groups in range(max(1, channels // 8), 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)


def glorot(module: nn.Module) -> None:
    """Initialise every convolution and linear layer with Glorot uniform weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_sides(network: nn.Module, shape: Sequence[int]) -> None:
    """Raise if a network that halves images a few times cannot take those of this shape.

    Args:
        network: with `factor`, what the sides must be multiples of, or any other, which takes all.
        shape: ending in height and width.

    Raises:
        ValueError: sides that are no such multiples.
    """
    factor = int(getattr(network, "factor", 1))
    if shape[-1] % factor or shape[-2] % factor:
        raise ValueError(f"image: expected sides that are multiples of {factor}, got {tuple(shape[-2:])}; resize, or choose a "
                         "smaller depth or shrink")  # fmt: skip
