"""Uploaded files: judged before they are decoded, and decoded in a process of their own that may fail."""

from __future__ import annotations

import contextlib
import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from obverse.data.images import CorruptImageError, coloured, image_for
from obverse.data.medical import fitted, is_medical, read_slice

FORMATS = ("PNG", "JPEG", "TIFF")
MOST_BYTES = 64_000_000
MOST_PIXELS = 25_000_000
MOST_MEMORY = 3_000_000_000  # bytes that decoding may take
MOST_SECONDS = 20  # that decoding may take
READABLE = f"{', '.join(FORMATS)}, DICOM or NIfTI"
LIMITS = f"at most {MOST_BYTES // 10**6} MB and {MOST_PIXELS // 10**6} million pixels"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file as the classifier takes it.

    Args:
        image: (1, C, H, W) float32 in [0, 1].
        index: which slice it shows.
        count: how many the file holds.
        notes: what was done to the values.
    """

    image: Tensor
    index: int
    count: int
    notes: tuple[str, ...]


def read_upload(path: Path, shape: tuple[int, int, int], index: int | None = None) -> Upload:
    """Return an uploaded file, decoded in another process.

    Args:
        path: the file.
        shape: (C, H, W) that the classifier takes.
        index: which slice of a volume; None takes the middle one.

    Raises:
        ValueError: not a picture, too large, damaged, or one that the decoder could not stand; the text names the file
            and says what to do.
    """
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_decode, args=(theirs, str(path), shape, index), daemon=True)  # type: ignore[attr-defined]
    child.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(MOST_SECONDS) else None
    except EOFError:  # it died
        found = None
    finally:
        ours.close()
        child.kill()
        child.join()
    if isinstance(found, str):
        raise ValueError(found)
    if found is None:
        raise ValueError(f"{path.name}: expected a picture that can be decoded within {MOST_SECONDS} s, this one could "
                         "not; save it as an ordinary PNG")  # fmt: skip
    image, index, count, notes = found
    return Upload(image=torch.from_numpy(image)[None], index=index, count=count, notes=notes)


def warm_up() -> None:
    """Start the process that decoders are forked from, so that the first upload does not wait for it."""
    if _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")  # a plain fork of a process with threads can hang
    context.set_forkserver_preload([__name__, "pydicom.pixels.utils", "pydicom.pixels.processing", "nibabel"])
    return context


def _decode(answer: Connection, path: str, shape: tuple[int, int, int], index: int | None) -> None:
    """Send what `checked` returns, or the text of its error."""
    _limit()
    found: tuple[np.ndarray, int, int, tuple[str, ...]] | str
    try:
        found = checked(Path(path), shape, index)
    except Exception as error:  # whatever a decoder raises is a fault of the file
        name = Path(path).name
        found = f"{name}: {str(error) or type(error).__name__}".replace(f"{name}: {path}: ", f"{name}: ")
    answer.send(found)
    answer.close()


def _limit() -> None:
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    torch.set_num_threads(1)
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        status = Path("/proc/self/statm")
        if status.exists():
            most = int(status.read_text().split()[0]) * resource.getpagesize() + MOST_MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def checked(
    path: Path, shape: tuple[int, int, int], index: int | None = None
) -> tuple[np.ndarray, int, int, tuple[str, ...]]:
    """Return (C, H, W), slice number, how many slices, and notes, having looked before decoding.

    Raises:
        ValueError: see `read_upload`.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path}: expected {LIMITS}, got {size / 1e6:.0f} MB; make it smaller")
    if is_medical(path):
        part = read_slice(path, index)
        notes = [*part.notes, *_turned(part.image.shape[0] == 3, part.image.shape[1:], shape)]
        if part.count > 1:
            notes.insert(0, f"slice {part.index + 1} of {part.count}")
        return fitted(part.image, shape).numpy(), part.index, part.count, tuple(notes)
    notes = _looked_at(path, shape)
    try:
        return image_for(path, shape).numpy(), 0, 1, tuple(notes)
    except CorruptImageError as error:
        raise ValueError(_damaged(path, error.__cause__)) from error


def _looked_at(path: Path, shape: tuple[int, int, int]) -> list[str]:
    """Return notes on a picture file from its header, of one with a palette after decoding it."""
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"{path}: expected {LIMITS}, got {picture.width} x {picture.height} pixels; make it "
                                 "smaller")  # fmt: skip
            notes = _turned(coloured(picture), (picture.height, picture.width), shape)
            if picture.mode.startswith("I"):
                notes.append("16 bit: 65535 is white; if the picture looks black, its values use only a part of that")
            if getattr(picture, "is_animated", False):
                notes.append("the first of several pictures in the file")
            return notes
    except UnidentifiedImageError:
        raise ValueError(f"{path}: expected a {READABLE} file, got something else; convert it") from None
    except Image.DecompressionBombError:
        raise ValueError(f"{path}: expected {LIMITS}, got far more pixels; make it smaller") from None
    except OSError as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path: Path, error: BaseException | None) -> str:
    return f"{path}: expected a whole picture, got a damaged one ({error}); save it anew"


def _turned(colour: bool, size: tuple[int, ...], shape: tuple[int, int, int]) -> list[str]:
    notes = []
    if size != shape[1:]:
        notes.append(f"stretched from {size[1]} x {size[0]} to the classifier's {shape[2]} x {shape[1]} pixels")
    if colour and shape[0] == 1:
        notes.append("colour turned to grey")
    return notes
