"""Two public sets of photographs: brain MRI with and without tumours, magnetic tiles with and without defects."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from obverse.data.files import find_folder
from obverse.data.folder import folder
from obverse.data.reading import Record, in_threads
from obverse.data.records import Catalogue, thumbnails
from obverse.data.splits import SIMILAR, clusters, similar_pairs, standardised

SLICES_SIMILAR = 0.95
"""Brain slices that correlate so are mostly of one patient; at 0.93 clusters begin to run together (the largest has 37
slices, at 0.95 11)."""
NEIGHBOURS_SIMILAR = 0.8
"""The same for slices with neighbouring file numbers; at 0.75 the largest cluster grows from 19 to 64 slices."""
TILE_STEP = 100
"""File numbers of one tile's photographs are at most so far apart, those of two tiles mostly several hundred."""


def brain_mri(option: str = "", *, data_dir: str | Path | None = None) -> Catalogue:
    """Return the brain MRI slices of Bhuvaji et al. (2020), the set of medXGAN's MRI experiments.

    The official folders Training and Testing are pooled and split anew, 70/15/15 %: 251 of the 394 test files, all
    105 without a tumour among them, are byte for byte also in Training. Of each file with copies (under the same
    label) one is kept, 2870 of 3264. No patient is named; so slices are clustered, and no cluster is divided: two
    are linked that correlate at 0.95 as thumbnails, or at 0.8 with consecutive numbers in their file names (series
    are numbered in order). Slices of one patient in other planes, or under unrelated names, may still be divided.
    The clusters are the sample's `group`.

    Args:
        option: "" for the four classes (none, glioma, meningioma, pituitary) or "tumour" for none and tumour.
        data_dir: a folder that has a sub-folder brain-tumor-mri.

    Raises:
        FileNotFoundError: the files are nowhere.
        ValueError: another option.
    """
    _check_option("brain-mri", option, "tumour")
    place = find_folder("brain-tumor-mri", ("Training", "Testing"), data_dir,
                        source="the authors' repository sartajbhuvaji/brain-tumor-classification-dataset")  # fmt: skip
    kinds = {"no_tumor": "none", "glioma_tumor": "glioma", "meningioma_tumor": "meningioma",
             "pituitary_tumor": "pituitary"}  # fmt: skip
    merged = {kind: name if name == "none" or not option else "tumour" for kind, name in kinds.items()}
    catalogue = _renamed(folder(place), "brain-mri", option, merged)
    # of copies the one in Training is kept, whose name tells the series
    found = sorted(catalogue.records, key=lambda record: record.split != "train")
    records = _without_copies(tuple(found))
    group, contradicting = _slices(records)
    lost = len(found) - len(records)
    notes = (f"official Training and Testing pooled, {lost} byte-identical copies of {len(found)} files left out",
             _grouped(group, f"correlation {SLICES_SIMILAR}, or {NEIGHBOURS_SIMILAR} with consecutive file numbers"),
             _contradicting(contradicting))  # fmt: skip
    return _clustered(catalogue, records, group, notes)


def magnetic_tile(option: str = "", *, data_dir: str | Path | None = None) -> Catalogue:
    """Return the magnetic tiles of Huang, Qiu and Yuan (2018), with masks of their defects.

    Most tiles were photographed under six exposures (exp1 to exp6), which often correlate little. Their numbers
    (exp3_num_853) rise by 10 to 80 within a tile; so photographs are linked whose numbers are consecutive and at
    most 100 apart, or whose thumbnails correlate at 0.99, and no cluster is divided among the splits (70/15/15 %,
    near enough alike in each of the six classes). The clusters are the sample's `group`. Masks may be empty although
    the class is a defect (4 of "uneven"); the notes count them.

    Args:
        option: "" for the six classes (free, blowhole, break, crack, fray, uneven) or "defect" for free and defect.
        data_dir: a folder that has a sub-folder magnetic-tile.

    Raises:
        FileNotFoundError: the files are nowhere.
        ValueError: another option.
    """
    _check_option("magnetic-tile", option, "defect")
    place = find_folder("magnetic-tile", ("images", "masks"), data_dir,
                        source="the authors' repository abin24/Magnetic-tile-defect-datasets. (sorted into "
                        "images/CLASS and masks/CLASS)")  # fmt: skip
    kinds = ("free", "blowhole", "break", "crack", "fray", "uneven")
    merged = {kind: kind if kind == "free" or not option else "defect" for kind in kinds}
    catalogue = _renamed(folder(place), "magnetic-tile", option, merged)
    group, contradicting = _tiles(catalogue.records)
    notes = (_grouped(group, f"file numbers at most {TILE_STEP} apart, or correlation {SIMILAR}"),
             _contradicting(contradicting))  # fmt: skip
    return _clustered(catalogue, catalogue.records, group, notes)


@functools.lru_cache(maxsize=2)  # the splits of a set are opened one after another
def _without_copies(records: tuple[Record, ...]) -> tuple[Record, ...]:
    digests = in_threads(lambda record: hashlib.sha256(record.path.read_bytes()).digest(), records)
    first: dict[tuple[bytes, str], Record] = {}
    for record, digest in zip(records, digests):
        first.setdefault((digest, record.label), record)
    return tuple(first.values())


@functools.lru_cache(maxsize=2)
def _slices(records: tuple[Record, ...]) -> tuple[Tensor, int]:
    flat = standardised(thumbnails(tuple(record.path for record in records)))
    links = _consecutive([(str(record.path.parent), *_series(record.path)) for record in records])
    links = links[(flat[links[:, 0]] * flat[links[:, 1]]).sum(1) >= NEIGHBOURS_SIMILAR]
    pairs = similar_pairs(flat, SLICES_SIMILAR)
    near = pairs[(flat[pairs[:, 0]] * flat[pairs[:, 1]]).sum(1) >= SIMILAR]
    return clusters(torch.cat([links, pairs]), len(flat)), _other_label(near, records)


@functools.lru_cache(maxsize=2)
def _tiles(records: tuple[Record, ...]) -> tuple[Tensor, int]:
    number = torch.tensor([_series(record.path)[1] for record in records])
    links = _consecutive([("", "", value) for value in number.tolist()])
    links = links[number[links[:, 1]] - number[links[:, 0]] <= TILE_STEP]
    near = similar_pairs(standardised(thumbnails(tuple(record.path for record in records))), SIMILAR)
    return clusters(torch.cat([links, near]), len(records)), _other_label(near, records)


def _series(path: Path) -> tuple[str, int]:
    """Return what stands before the last number of a name, and the number; -1 without any."""
    match = re.fullmatch(r"(.*?)(\d+)\D*", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, -1)


def _consecutive(names: Sequence[tuple[str, str, int]]) -> Tensor:
    """Return (L, 2) the pairs of rows that follow each other by number under the same folder and name."""
    order = sorted(range(len(names)), key=lambda row: names[row])
    pairs = [pair for pair in itertools.pairwise(order) if names[pair[0]][:2] == names[pair[1]][:2]]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _other_label(near: Tensor, records: Sequence[Record]) -> int:
    """Return how many images have a near duplicate with another label."""
    return len({one for one, other in near.tolist() if records[one].label != records[other].label})


def _grouped(group: Tensor, rule: str) -> str:
    size = torch.bincount(group)
    return (f"groups: {len(size)} clusters of {len(group)} images (the largest {int(size.max())}, "
            f"{int((size == 1).sum())} of one image), linked by {rule}")  # fmt: skip


def _contradicting(images: int) -> str:
    return f"{images} images have a near duplicate (correlation {SIMILAR}) under another label"


def _clustered(catalogue: Catalogue, records: Sequence[Record], group: Tensor, notes: tuple[str, ...]) -> Catalogue:
    width = len(str(len(group)))  # so that names sort like numbers
    grouped = (dataclasses.replace(record, split=None, group=f"{value:0{width}}")
               for record, value in zip(records, group.tolist()))  # fmt: skip
    return dataclasses.replace(catalogue, records=tuple(grouped), notes=notes)


def _check_option(name: str, option: str, known: str) -> None:
    if option not in ("", known):
        raise ValueError(f"spec: expected {name} or {name}:{known}, got {name}:{option}; write one of them")


def _renamed(catalogue: Catalogue, name: str, option: str, merged: dict[str, str]) -> Catalogue:
    found = {record.label for record in catalogue.records}
    if found != set(merged):
        raise ValueError(f"data_dir: expected the folders {', '.join(merged)} for {name}, got "
                         f"{', '.join(sorted(found))}; unpack the set again")  # fmt: skip
    classes = tuple(dict.fromkeys(merged.values()))
    return dataclasses.replace(catalogue, name=f"{name}:{option}" if option else name, classes=classes, merged=merged)
