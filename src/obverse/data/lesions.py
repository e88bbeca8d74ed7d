"""Generated lesions: blurred noise, healthy or with a brighter disc, where the true counterfactual is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from obverse.data.base import MemoryDataset, Sample

COUNTS = {"train": 20_000, "validation": 2_000, "test": 2_000}
CLASSES = ("healthy", "diseased")
SIGMA = 2.5  # pixels of the recipe's own canvas
LOW, HIGH = -4.0, 6.0  # noise deviations shown as black and as white


def lesions(
    variant: str = "", *, split: str, size: int = 128, count: int | None = None, seed: int = 0
) -> MemoryDataset:
    """Return healthy and diseased noise images, half and half in random order, with masks and true twins.

    Source: CX-GAN (synthetic data), with these deviations: the border of the blur reflects (the authors' repeated
    border is 3.4 times too strong in the corners); the amplitude is 2 noise deviations (at their 10 a threshold on
    the raw image scores Dice 0.999); grey values have a fixed scale, from -4 deviations (black) to +6 (white), so
    that a lesion changes no pixel outside it. Clipped: 1 in 9,000 healthy pixels (87 % of them within 4 pixels of the
    border, where reflected noise is up to 1.8 times stronger) and 1 in 40,000 of the lesions'. Images and twins are
    stored in 8 bit: they differ by exactly 51/255 inside the mask (less where white clips) and by 0 outside.

    Everything scales with `size`: blur (2.5 pixels at 128), radius (8), centres ((24, 24) or (104, 104)) and
    jitter (up to 5 pixels on each axis), so that 64 pixels show the same picture at half the resolution.
    Every diseased sample carries its mask and the same noise without the lesion as its twin. A healthy sample's
    mask is empty and its twin is the image itself.

    Variant "published": amplitude 10 and each image scaled from its own minimum to its own maximum, the twin too,
    so that a twin also differs outside the mask. Variant "squares": the VA-GAN recipe, scaled from 112 pixels: two
    squares of 20 pixels, one in the centre and one 32 pixels off it on both axes, jitter -5 to +4, amplitude 2, each
    image scaled by itself.

    Args:
        variant: "", "published" or "squares".
        split: "train", "validation" or "test"; each has random numbers of its own.
        size: height and width, pixels.
        count: images in this split; None is 20,000 for train and 2,000 for the others.
        seed: another seed gives other images.

    Raises:
        ValueError: an unknown variant or split, a size below 16, a count below 2.
    """
    if variant not in _RECIPES:
        names = ", ".join(repr(name) for name in _RECIPES if name)
        raise ValueError(f"variant: expected {names} or none, got {variant!r}; write e.g. lesions:published")
    if split not in COUNTS:
        raise ValueError(f"split: expected train, validation or test, got {split!r}; choose one of them")
    count = COUNTS[split] if count is None else count
    if count < 2:
        raise ValueError(f"count: expected at least 2 (one of each class), got {count}; ask for more images")
    if size < 16:
        raise ValueError(f"size: expected at least 16 pixels, got {size}; the lesion would be a single pixel")
    recipe = _RECIPES[variant]
    generator = Generator().manual_seed(seed * len(COUNTS) + list(COUNTS).index(split))
    label = (torch.randperm(count, generator=generator) >= count - count // 2).long()
    parts = [_draw(recipe, part, size, generator) for part in label.split(500)]
    sample = Sample(
        image=torch.cat([part[0] for part in parts]),
        label=label,
        mask=torch.cat([part[1] for part in parts]),
        twin=torch.cat([part[2] for part in parts]),
    )
    note = f"generated: amplitude {recipe.amplitude:g} noise deviations, {recipe.note}, seed {seed}"
    name = f"lesions:{variant}" if variant else "lesions"
    return MemoryDataset(sample, CLASSES, name=name, split=split, notes=(note,))


def blur(image: Tensor, sigma: float) -> Tensor:
    """Return (..., H, W) blurred by a Gaussian of `sigma` pixels, cut at 4 sigma, with reflecting borders.

    The border pixel itself is repeated (d c b a | a b c d), as in scipy.ndimage.gaussian_filter(mode="reflect").
    """
    # two matrix products: exact at the borders and faster on a CPU than two convolutions
    rows, columns = (_blur_matrix(length, sigma).to(image) for length in image.shape[-2:])
    return rows @ image @ columns.mT


def _blur_matrix(length: int, sigma: float) -> Tensor:
    reach = int(4.0 * sigma + 0.5)
    offset = torch.arange(-reach, reach + 1)
    weight = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
    weight /= weight.sum()
    column = (torch.arange(length)[:, None] + offset) % (2 * length)
    column = torch.where(column < length, column, 2 * length - 1 - column)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, column, weight.expand(length, -1))


@dataclass(frozen=True)
class _Recipe:
    canvas: int  # pixels of the published image; all lengths below are in these
    amplitude: float  # noise deviations
    finding: Callable[[Tensor, Tensor, Generator], Tensor]
    scale: Callable[[Tensor], Tensor]
    note: str


def _draw(recipe: _Recipe, label: Tensor, size: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, mask and twin, each (N, 1, size, size) uint8."""
    noise = blur(torch.randn(len(label), size, size, generator=generator), SIGMA * size / recipe.canvas)
    centred = noise - noise.mean((1, 2), keepdim=True)
    noise /= torch.linalg.vector_norm(centred, dim=(1, 2), keepdim=True) / size  # its deviation; the mean stays
    # a pixel's centre in the published picture's own pixels; at the published size, its own number
    position = (torch.arange(size) + 0.5) * recipe.canvas / size - 0.5
    kind = torch.randint(0, 2, (len(label), 1), generator=generator)
    mask = recipe.finding(position, kind, generator) & (label == 1)[:, None, None]
    twin = recipe.scale(noise)
    if recipe.scale is _fixed_scale:
        # added after rounding, so that image and twin can differ by nothing but the lesion
        step = round(recipe.amplitude * 255 / (HIGH - LOW))
        image = torch.where(mask, twin.clamp(max=255 - step) + step, twin)
    else:
        image = recipe.scale(noise + recipe.amplitude * mask)
    return image[:, None], mask[:, None].to(torch.uint8), twin[:, None]


def _disc(position: Tensor, kind: Tensor, generator: Generator) -> Tensor:
    centre = torch.where(kind == 0, 24, 104) + torch.randint(-5, 6, (len(kind), 2), generator=generator)
    square = (position - centre[:, :, None]) ** 2  # (N, 2, size): one row an axis
    return square[:, 0, :, None] + square[:, 1, None, :] < 8**2


def _squares(position: Tensor, kind: Tensor, generator: Generator) -> Tensor:
    jitter = torch.randint(-5, 5, (len(kind), 2), generator=generator)  # the recipe leaves out the upper end
    off_centre = torch.where(kind == 0, 56 + 32, 56 - 32) + jitter
    middle = torch.full_like(off_centre, 56)
    return _square(position, middle) | _square(position, off_centre)


def _square(position: Tensor, centre: Tensor) -> Tensor:
    distance = position - centre[:, :, None]
    inside = (distance > -10.25) & (distance < 9.75)  # 20 pixels from centre - 10 to centre + 9
    return inside[:, 0, :, None] & inside[:, 1, None, :]


def _fixed_scale(image: Tensor) -> Tensor:
    return ((image - LOW) * (255 / (HIGH - LOW))).round().clamp(0, 255).to(torch.uint8)


def _own_scale(image: Tensor) -> Tensor:
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return ((image - low) / (high - low) * 255).round().to(torch.uint8)


_FIXED = f"fixed grey scale from {LOW:g} to {HIGH:g} noise deviations"
_OWN = "each image scaled from its own minimum to its own maximum"
_RECIPES = {
    "": _Recipe(128, 2.0, _disc, _fixed_scale, _FIXED),
    "published": _Recipe(128, 10.0, _disc, _own_scale, _OWN),
    "squares": _Recipe(112, 2.0, _squares, _own_scale, _OWN),
}
