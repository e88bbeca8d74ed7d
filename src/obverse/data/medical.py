"""Slices of DICOM and NIfTI files as pictures: rescaled, windowed, the right way up (extra `medical`).

Turned as radiologists look at them, where the file says how it lies: the patient's left on the right, the front on top
of axial slices, the head on top of all others.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from obverse.data.images import CorruptImageError

if TYPE_CHECKING:
    from pydicom import Dataset as Dicom

Array = NDArray[np.float32]
MOST_PIXELS = 25_000_000  # of one slice
MOST_SLICES = 4_000
MOST_BYTES = 512_000_000  # of a decompressed NIfTI file
DEFLATED = "1.2.840.10008.1.2.1.99"  # inflates without a limit when read
LETTERS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
PERCENT = (0.5, 99.5)  # of a slice's values, shown as black and white where a file names no window


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice of a file.

    Args:
        image: (C, H, W) float32 in [0, 1], C = 3 for colour.
        index: which slice, from 0.
        count: how many the file holds.
        notes: what was done to the values, for whoever looks at it.
    """

    image: Array
    index: int
    count: int
    notes: tuple[str, ...]


def is_medical(path: Path) -> bool:
    """Say whether a file is DICOM or NIfTI, by its content."""
    with path.open("rb") as file:
        head = file.read(352)
    return head[128:132] == b"DICM" or _is_nifti(head)


def read_slice(path: Path, index: int | None = None, *, window: tuple[float, float] | None = None) -> Slice:
    """Return one slice of a DICOM or NIfTI file.

    Args:
        path: the file.
        index: which slice, from 0, NIfTI's from the feet up; None takes the middle one.
        window: values shown as black and as white; None takes the file's own window (DICOM), or else the 0.5 % and
            99.5 % percentiles of the slice.

    Raises:
        CorruptImageError: unreadable, or larger than the limits of this module; the text names the file.
        ValueError: no such slice, or the extra is not installed.
    """
    if not is_medical(path):
        raise CorruptImageError(f"{path}: expected a DICOM or NIfTI file, got another kind; replace it")
    with path.open("rb") as file:
        dicom = file.read(132)[128:] == b"DICM"
    try:
        return _dicom(path, index, window) if dicom else _nifti(path, index, window)
    except CorruptImageError:
        raise
    except ImportError as error:
        raise ValueError(f"{path}: needs {error.name}; pip install -e '.[medical]' in obverse's folder") from error
    except Exception as error:  # the libraries' own exceptions have no base in common
        got = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptImageError(f"{path}: expected a readable {'DICOM' if dicom else 'NIfTI'} file, got {got}; replace it, "
                                "or save it as PNG or TIFF") from error  # fmt: skip


def fitted(image: Array, shape: tuple[int, int, int]) -> torch.Tensor:
    """Return (C, H, W) in [0, 1] in the shape of a classifier's images, stretched like `read_image`."""
    if len(image) != shape[0]:
        grey = np.array((0.299, 0.587, 0.114), np.float32)  # as Pillow turns colour to grey
        image = np.repeat(image, 3, 0) if shape[0] == 3 else np.tensordot(grey, image, 1)[None].astype(np.float32)
    size = (shape[2], shape[1])
    bands = [Image.fromarray(np.ascontiguousarray(band, np.float32)) for band in image]
    drawn = [band if band.size == size else band.resize(size, Image.Resampling.BILINEAR) for band in bands]
    return torch.from_numpy(np.stack([np.asarray(band) for band in drawn]).clip(0, 1))


def windowed(values: Array, centre: float, width: float, function: str = "LINEAR") -> Array:
    """Return values as shares of a window, clipped to [0, 1].

    Source: DICOM PS3.3, C.11.2.1.2 (LINEAR) and C.11.2.1.3 (LINEAR_EXACT and SIGMOID).
    """
    if function == "SIGMOID":
        curve: Array = (1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80)))).astype(np.float32)
        return curve
    if function == "LINEAR":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    shares: Array = ((values - centre) / width + 0.5).clip(0, 1).astype(np.float32)
    return shares


def arranged(image: Array, across: Sequence[float], down: Sequence[float]) -> Array:
    """Return a slice (C, H, W) turned and mirrored to how radiologists look at it.

    Args:
        image: the slice.
        across, down: the directions of growing column and row number, in DICOM's patient coordinates (to the left, to
            the back, to the head).
    """
    first, second = (int(np.argmax(np.abs(vector))) for vector in (across, down))
    if first > second:  # left-right goes across, and front-back where there is no left-right
        image, across, down = image.transpose(0, 2, 1), down, across
        first, second = second, first
    if across[first] < 0:
        image = image[..., ::-1]
    if (down[second] < 0) == (second == 1):  # the back goes down, but the head goes up
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


# ---------------------------------------------------------------------- DICOM


def _dicom(path: Path, index: int | None, window: tuple[float, float] | None) -> Slice:
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
    from pydicom.pixels.utils import pixel_array

    if read_file_meta_info(path).get("TransferSyntaxUID") == DEFLATED:
        raise CorruptImageError(f"{path}: expected another form than deflated DICOM, which is not read; save it anew")
    header = dcmread(path, stop_before_pixels=True)
    if "Rows" not in header or "Columns" not in header:
        raise CorruptImageError(f"{path}: expected a DICOM file with a picture, got one without; choose another")
    count = int(header.get("NumberOfFrames") or 1)
    colour = int(header.get("SamplesPerPixel", 1)) > 1
    index = _checked(path, index, count, int(header.Rows) * int(header.Columns))
    values = pixel_array(path, index=index)
    notes = []
    if colour or header.PhotometricInterpretation == "PALETTE COLOR":
        if not colour:
            values = apply_color_lut(values, header)
        bits = int(header.BitsStored) if colour else 8 * values.itemsize
        image = (values.astype(np.float32) / (2**bits - 1)).clip(0, 1).transpose(2, 0, 1)
    else:
        slope = _setting(header, index, "RescaleSlope", "PixelValueTransformationSequence")
        offset = _setting(header, index, "RescaleIntercept", "PixelValueTransformationSequence")
        if slope is None and "ModalityLUTSequence" in header:
            values = apply_modality_lut(values, header)
        values = values.astype(np.float32) * float(1 if slope is None else slope) + float(offset or 0)
        centre = _setting(header, index, "WindowCenter", "FrameVOILUTSequence")
        width = _setting(header, index, "WindowWidth", "FrameVOILUTSequence")
        if window is None and centre is not None and width is not None:
            function = str(_setting(header, index, "VOILUTFunction", "FrameVOILUTSequence") or "LINEAR")
            image = windowed(values, _first(centre), _first(width), function)
            notes.append(f"window of the file: centre {_first(centre):g}, width {_first(width):g}")
        elif window is None and "VOILUTSequence" in header:
            bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
            image = apply_voi(values.astype(np.int32), header).astype(np.float32) / (2**bits - 1)
            notes.append("values from the file's own lookup table")
        else:
            image = _scaled(values, window, notes)
        if header.PhotometricInterpretation == "MONOCHROME1":
            image = 1 - image
            notes.append("inverted: the file stores white as 0")
        image = image[None]
    vectors = _directions(header, index)
    turned = image if vectors is None else arranged(image, *vectors)
    if vectors is None:
        notes.append("shown as stored: the file does not say how the patient lies")
    return Slice(image=turned, index=index, count=count, notes=tuple(notes))


def _setting(header: Dicom, index: int, name: str, group: str) -> Any:
    """Return a value from the header or, in multi-frame files, from the frame's or the shared group; or None."""
    for sequence, place in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        parts = header.get(sequence) or []
        if place < len(parts) and group in parts[place] and name in parts[place][group].value[0]:
            return parts[place][group].value[0].get(name)
    return header.get(name)


def _first(value: Any) -> float:
    """Return a window's value, the first where a file has several."""
    return float(value[0] if isinstance(value, Sequence) and not isinstance(value, str) else value)


def _directions(header: Dicom, index: int) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return the directions across and down in patient coordinates, or None where the file names none."""
    cosines = _setting(header, index, "ImageOrientationPatient", "PlaneOrientationSequence")
    if cosines is not None and len(cosines) == 6:
        values = [float(value) for value in cosines]
        return values[:3], values[3:]
    letters = [str(name)[:1] for name in header.get("PatientOrientation") or []]
    if len(letters) == 2 and all(name in LETTERS for name in letters):
        across, down = (LETTERS[name] for name in letters)
        return None if np.dot(across, down) else (across, down)
    return None


# ---------------------------------------------------------------------- NIfTI


def _is_nifti(head: bytes) -> bool:
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 352)
        except zlib.error:
            return False
    return head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # 348 or 540, either order


def _nifti(path: Path, index: int | None, window: tuple[float, float] | None) -> Slice:
    import nibabel

    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        with gzip.open(io.BytesIO(content)) as file:
            content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise CorruptImageError(
            f"{path}: expected at most {MOST_BYTES // 10**6} MB, got more when decompressed; cut it"
        )
    kind = nibabel.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
    volume = kind.from_bytes(content)
    shape = volume.shape
    if len(shape) < 2 or volume.get_data_dtype().fields is not None:
        raise CorruptImageError(f"{path}: expected a volume of numbers, got {volume.get_data_dtype()} of shape {shape}; "
                                "save one channel")  # fmt: skip
    spatial = (*shape, 1)[:3]
    direction = volume.affine[:3, :3] * np.array([[-1.0], [-1.0], [1.0]])  # from right, front, up to left, back, up
    along = int(np.argmax(np.abs(direction[2]))) if spatial[2] > 1 else 2
    kept = [axis for axis in range(3) if axis != along]
    index = _checked(path, index, spatial[along], math.prod(spatial[axis] for axis in kept))
    place = index if direction[2, along] >= 0 else spatial[along] - 1 - index
    chosen: list[Any] = [slice(None)] * min(len(shape), 3) + [0] * (len(shape) - 3)
    if len(shape) > 2:
        chosen[along] = place
    notes: list[str] = ["the first volume of several"] if math.prod(shape[3:]) > 1 else []
    values = np.asarray(volume.dataobj[tuple(chosen)], dtype=np.float32)
    image = _scaled(values, window, notes)[None]
    return Slice(image=arranged(image, direction[:, kept[1]], direction[:, kept[0]]), index=index, count=spatial[along],
                 notes=tuple(notes))  # fmt: skip


# ---------------------------------------------------------------------- both


def _checked(path: Path, index: int | None, count: int, size: int) -> int:
    if not 0 < size <= MOST_PIXELS or not 0 < count <= MOST_SLICES:
        raise CorruptImageError(f"{path}: expected at most {MOST_PIXELS // 10**6} million pixels a slice and {MOST_SLICES} "
                                f"slices, got {size} and {count}; cut it")  # fmt: skip
    index = count // 2 if index is None else index
    if not 0 <= index < count:
        raise CorruptImageError(f"{path}: expected a slice from 0 to {count - 1}, got {index}; choose one of them")
    return index


def _scaled(values: Array, window: tuple[float, float] | None, notes: list[str]) -> Array:
    """Return values as shares of a window, by default between two percentiles, which the notes then say."""
    if not np.isfinite(values).all():
        values = np.nan_to_num(values, posinf=0, neginf=0)
        notes.append("values that are not finite count as 0")
    low, high = np.percentile(values, PERCENT) if window is None else window
    if window is None:
        notes.append(f"no window in the file: {low:g} is black and {high:g} is white, the {PERCENT[0]:g} % and "
                     f"{PERCENT[1]:g} % percentiles of this slice")  # fmt: skip
    shares: Array = ((values - low) / max(high - low, 1e-12)).clip(0, 1).astype(np.float32)
    return shares
