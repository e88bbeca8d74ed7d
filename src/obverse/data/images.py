"""Reading image files: what is inside, decoding, resizing, masks and thumbnails; a broken file is named."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
THUMBNAIL = 32  # pixels
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError,
           Image.DecompressionBombWarning)  # fmt: skip


class CorruptImageError(ValueError):
    """A file cannot be read as an image; the text names it."""


@dataclass(frozen=True)
class Header:
    """What a file says about its image: height and width in pixels, whether it has colours, whether above 8 bit."""

    height: int
    width: int
    colour: bool
    deep: bool


def read_header(path: Path) -> Header:
    """Return what is in an image file without decoding it (but for files with a palette: of greys alone it is no colour).

    Raises:
        CorruptImageError: not an image, or one of more pixels than Pillow's limit against decompression bombs.
    """
    with _opened(path) as opened:
        image = _upright(opened)
        return Header(image.height, image.width, coloured(image), image.mode in _DEEP)


def coloured(image: Image.Image) -> bool:
    """Return whether a picture has colours: a palette of greys has none; to look into a palette decodes the picture."""
    if image.mode == "P":
        palette = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return image.mode not in _GREY and image.mode not in _DEEP


def read_image(path: Path, height: int, width: int, *, colour: bool, deep: bool) -> npt.NDArray[np.generic]:
    """Return an image file as an array, resized where it must be.

    The whole image is stretched to the height and width, bilinear with antialiasing: a crop could cut away the
    very finding that the label is about. Alpha is dropped. An EXIF orientation is applied, so that the image stands
    as every viewer shows it.
    16-bit values are divided by 65535, whatever their own largest value; of 16-bit colour files 8 bits are read.

    Args:
        path: the file.
        height: of the result, pixels.
        width: of the result, pixels.
        colour: three channels, a grey image three times the same; otherwise one.
        deep: float32 in [0, 1] without rounding to 8 bit; otherwise uint8.

    Returns:
        (3 or 1, height, width).

    Raises:
        CorruptImageError: unreadable or truncated.
        ValueError: 32-bit pixels outside the range.
    """
    with _opened(path) as opened:
        image = _upright(opened)
        if image.mode in _DEEP:
            array = np.asarray(_resized(_deep_image(image, path), height, width)).clip(0, 1)
        else:
            array = np.asarray(_resized(image.convert("RGB" if colour else "L"), height, width))
    if deep and array.dtype == np.uint8:
        array = array.astype(np.float32) / 255
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.repeat(array, 3, axis=0) if colour and len(array) == 1 else array


def read_mask(path: Path, header: Header, image_path: Path, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return a mask file as (1, height, width) of 0 and 1, in the images' geometry.

    Inside is where a pixel is not black (with transparency that varies: not transparent); in JPEG files, whose black is not
    exact, where it is above 127. After resizing
    it is where at least half of a pixel's area was inside or, if no pixel has as much, where most was: a small
    region never vanishes as a whole. An image's EXIF orientation is not applied to its mask, only the mask's own.

    Raises:
        CorruptImageError: unreadable or truncated.
        ValueError: the mask's size is not that of its image; both are named.
    """
    with _opened(path) as opened:
        mask = _upright(opened)
        if mask.size != (header.width, header.height):
            raise _Refused(
                f"{path}: expected a mask of {header.width} x {header.height} pixels like its image {image_path}, got "
                f"{mask.width} x {mask.height}; draw the mask on the image's own grid"
            )
        values = _levels(mask)
        lossy = opened.format == "JPEG"
    inside = Image.fromarray((values > (127 if lossy else 0)).astype(np.float32))
    share = np.asarray(inside.resize((width, height), Image.Resampling.BOX))
    least = min(0.5, float(share.max())) - 1e-6
    return ((share > 0) & (share >= least)).astype(np.uint8)[None]


def _levels(mask: Image.Image) -> npt.NDArray[Any]:
    """Return (height, width) levels of a mask, 0 outside: of palettes and colours the brightest channel, or the alpha."""
    if mask.mode in (*_DEEP, "L", "1"):
        return np.asarray(mask)
    if mask.has_transparency_data:
        alpha: npt.NDArray[Any] = np.asarray(mask.convert("RGBA"))[..., 3]
        if alpha.min() < alpha.max():
            return alpha
    brightest: npt.NDArray[Any] = np.asarray(mask.convert("RGB")).max(-1)
    return brightest


def read_thumbnail(path: Path) -> npt.NDArray[np.float32]:
    """Return a grey float32 thumbnail of 32 x 32 pixels, each the mean of what it covers; zeros if unreadable."""
    try:
        with _opened(path) as opened:
            opened.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))  # a JPEG is decoded no larger than needed
            image = _upright(opened)
            grey = (image if image.mode in _DEEP else image.convert("L")).convert("F")
            return np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    except CorruptImageError:
        return np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.float32)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file; whatever the block fails with while decoding, other than our own errors, names the file."""
    try:
        # opened by path, an uncompressed TIFF file that lies on its side is mapped and scrambled by Pillow 13.0
        with path.open("rb") as file, Image.open(file) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 2**62):
                raise OSError(f"{image.width} x {image.height} pixels, above Pillow's limit Image.MAX_IMAGE_PIXELS")
            yield image
    except _Refused as error:
        raise ValueError(str(error)) from None
    except _BROKEN as error:
        raise CorruptImageError(
            f"{path}: expected a readable image, got {str(error) or type(error).__name__}; replace or remove the file, or "
            "leave such files out with skip_corrupt=True (--skip-corrupt)"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Return an image as its EXIF orientation says; undecoded where there is none or it cannot be read."""
    # Pillow decodes a PNG file in search of EXIF data behind the pixels, where hardly any has them
    if image.format == "PNG" and "exif" not in image.info:
        return image
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except (SyntaxError, ValueError, struct.error):
        return image
    if not turned:
        return image
    image.load()  # which turns a TIFF file, and removes the tag
    return ImageOps.exif_transpose(image)


class _Refused(Exception):
    """A file that can be read but not used."""


def _resized(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        image.load()
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _deep_image(image: Image.Image, path: Path) -> Image.Image:
    """Return a one-channel float image in [0, 1]."""
    values = np.asarray(image)
    low, high, limit = float(values.min()), float(values.max()), 1 if image.mode == "F" else 65535
    if not 0 <= low <= high <= limit:
        raise _Refused(f"{path}: expected values from 0 to {limit}, got {low:g} to {high:g}; rescale the file to "
                       "16 bit")  # fmt: skip
    return Image.fromarray(values.astype(np.float32) / np.float32(limit))


def image_for(path: Path, shape: tuple[int, int, int]) -> torch.Tensor:
    """Return one image file as a classifier takes it: (C, H, W) float32 in [0, 1], stretched like `read_image`.

    Of DICOM and NIfTI files (extra `medical`) the middle slice is taken.

    Raises:
        FileNotFoundError: no such file.
        CorruptImageError: unreadable or truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(f"image: expected a picture file, got {path}, which is not there; check the path")
    from obverse.data.medical import fitted, is_medical, read_slice  # which needs this module

    if is_medical(path):
        return fitted(read_slice(path).image, shape)
    return torch.from_numpy(read_image(path, shape[1], shape[2], colour=shape[0] == 3, deep=True).copy())
