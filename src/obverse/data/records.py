"""From a list of files to a data set: splits, memory or not, and what a report should state about them."""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from obverse.data.base import Dataset, MemoryDataset
from obverse.data.images import CorruptImageError, Header, read_header, read_thumbnail
from obverse.data.reading import FileDataset, Reader, Record, in_threads
from obverse.data.splits import MOST_COMPARED, SIMILAR, SPLITS, assign, near_duplicates

MOST_BYTES = 2_000_000_000  # of decoded images that are kept in memory
RULE = "the whole image is stretched, bilinear with antialiasing; masks are inside where half of a pixel was, or most"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All files of a data set, of every split.

    Args:
        name: the specification that opens it.
        classes: names of the classes, in order.
        records: the files.
        merged: label of a record -> class, where they differ; splits are drawn by label, so that merging
            classes moves no image to another split.
        attribute_names: names of the records' attributes.
        notes: facts about the whole set that a report should state.
    """

    name: str
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    merged: Mapping[str, str] = field(default_factory=dict)
    attribute_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def open_catalogue(catalogue: Catalogue, *, split: str, size: int | None, skip_corrupt: bool, seed: int) -> Dataset:
    """Return one split of a catalogue, decoded into memory where it takes less than 2 GB, else read when asked for.

    Splits are those of the records. Where they have none, 70, 15 and 15 % are drawn by group, alike in each class;
    where only validation is missing, it is 20 % of train. One channel where every file of the catalogue is grey.
    Images without a marked pixel, in classes that have marks, are counted in the notes (if decoded into memory).

    Args:
        catalogue: all files.
        split: "train", "validation" or "test".
        size: height and width that images are stretched to, pixels; None is the first file's.
        skip_corrupt: leave out unreadable files and count them in the notes.
        seed: of the splits.

    Raises:
        CorruptImageError: an unreadable file.
        ValueError: an unknown or empty split, records with and without a split or group, a mask of another size.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected train, validation or test, got {split!r}; choose one of them")
    if size is not None and size < 1:
        raise ValueError(f"size: expected at least 1 pixel, got {size}; give the height and width of the images")
    part, drawn = _parts(catalogue, seed)
    notes = [*catalogue.notes, *drawn]
    rows = (part == SPLITS.index(split)).nonzero().flatten().tolist()
    if not rows:
        given = any(record.split is not None for record in catalogue.records)
        remedy = "some, or leave out all splits" if given else "images, there are too few for three splits"
        raise ValueError(f"split: expected images in {split}, {catalogue.name} has none there; add {remedy}")
    reader = _reader(catalogue, size, skip_corrupt)
    if any(header and (header.height, header.width) != reader.shape[1:] for header in reader.headers):
        notes.append(f"resized to {reader.shape[1]} x {reader.shape[2]} pixels: {RULE}")
    notes += _duplicates(catalogue, part, split)
    if skip_corrupt:
        readable = reader.readable(rows)
        if lost := sorted(set(rows) - set(readable)):
            names = ", ".join(catalogue.records[row].path.name for row in lost[:5])
            notes.append(f"corrupt: {len(lost)} files left out ({names}{', ...' if lost[5:] else ''})")
        rows = readable
    count = torch.bincount(reader.label[rows], minlength=len(catalogue.classes)).tolist()
    if empty := [name for name, images in zip(catalogue.classes, count) if not images]:
        notes.append(f"no image of {', '.join(empty)} in {split}")
    if len(rows) * reader.bytes_each >= MOST_BYTES:
        return FileDataset(reader, rows, catalogue.classes, name=catalogue.name, split=split,
                           attribute_names=catalogue.attribute_names, notes=notes)  # fmt: skip
    sample = reader.read(rows)
    if reader.deep and float(sample.image.max()) < 0.25:
        notes.append(f"16 bits: files are read as value / 65535, and none here is above {float(sample.image.max()):.3g}")
        warnings.warn(f"{catalogue.name}: {notes[-1]}; if they hold fewer bits, rescale them, black to 0 and white to 65535, or "
                      "the classifier sees nearly black images", stacklevel=3)  # fmt: skip
    notes += _unmarked(sample.mask, [catalogue.records[row].label for row in rows])
    return MemoryDataset(sample, catalogue.classes, name=catalogue.name, split=split,
                         attribute_names=catalogue.attribute_names, notes=notes)  # fmt: skip


def _reader(catalogue: Catalogue, size: int | None, skip_corrupt: bool) -> Reader:
    def header_of(record: Record) -> Header | None:
        try:
            return read_header(record.path)
        except CorruptImageError:
            if skip_corrupt:
                return None
            raise

    headers = in_threads(header_of, catalogue.records)
    known = [header for header in headers if header is not None]
    if not known:
        raise ValueError(f"spec: expected readable images in {catalogue.name}, got {len(headers)} corrupt files; "
                         "replace them")  # fmt: skip
    height, width = (known[0].height, known[0].width) if size is None else (size, size)
    return Reader(
        records=catalogue.records,
        headers=headers,
        label=_labels(catalogue),
        group=_groups(catalogue),
        shape=(3 if any(header.colour for header in known) else 1, height, width),
        deep=any(header.deep for header in known),
    )


def _labels(catalogue: Catalogue) -> Tensor:
    number = {name: index for index, name in enumerate(catalogue.classes)}
    return torch.tensor([number[catalogue.merged.get(record.label, record.label)] for record in catalogue.records])


def _groups(catalogue: Catalogue) -> Tensor | None:
    groups = [record.group for record in catalogue.records]
    if all(group is None for group in groups):
        return None
    for record in catalogue.records:
        if record.group is None:
            raise ValueError(f"group: expected one for every image of {catalogue.name} or for none, {record.path} has "
                             "none; fill the column")  # fmt: skip
    number = {name: index for index, name in enumerate(sorted({str(group) for group in groups}))}
    return torch.tensor([number[str(group)] for group in groups])


def _parts(catalogue: Catalogue, seed: int) -> tuple[Tensor, list[str]]:
    """Return the part of each record, 0 for train and so on, and how it came about."""
    records, group = catalogue.records, _groups(catalogue)
    kinds = {name: index for index, name in enumerate(sorted({record.label for record in records}))}
    label = torch.tensor([kinds[record.label] for record in records])
    by = "image" if group is None else "group"
    if all(record.split is None for record in records):
        note = f"splits drawn by {by}, 70/15/15 %, seed {seed}"
        return assign(label, group, (0.7, 0.15, 0.15), seed=seed), [note]
    for record in records:
        if record.split not in SPLITS:
            raise ValueError(f"split: expected train, validation or test for every image of {catalogue.name}, or no "
                             f"split at all, got {record.split!r} for {record.path}; mend it")  # fmt: skip
    part = torch.tensor([SPLITS.index(str(record.split)) for record in records])
    notes = ["splits as given"]
    if not bool((part == 1).any()) and bool((part == 0).any()):
        train = (part == 0).nonzero().flatten()
        part[train] = assign(label[train], None if group is None else group[train], (0.8, 0.2), seed=seed)
        notes = [f"validation: 20 % of train, drawn by {by}, seed {seed}; other splits as given"]
    if group is not None:
        pairs = torch.unique(torch.stack([group, part], dim=1), dim=0)
        if shared := int((torch.bincount(pairs[:, 0]) > 1).sum()):
            notes.append(f"{shared} groups occur in more than one split, as given")
    return part, notes


def _unmarked(mask: Tensor | None, labels: Sequence[str]) -> list[str]:
    """Count the empty masks of each class that has others: the label names a finding that nobody marked."""
    if mask is None:
        return []
    marked = mask.flatten(1).any(1).tolist()
    lost = Counter(label for label, inside in zip(labels, marked) if not inside)
    known = {label for label, inside in zip(labels, marked) if inside}
    return [f"empty masks: {images} of {labels.count(label)} images of {label}"
            for label, images in sorted(lost.items()) if label in known]  # fmt: skip


def _duplicates(catalogue: Catalogue, part: Tensor, split: str) -> list[str]:
    if len(part) > MOST_COMPARED:
        return [f"near duplicates across splits: not looked for (more than {MOST_COMPARED} images)"]
    found = near_duplicates(thumbnails(tuple(record.path for record in catalogue.records)), part)
    here = part == SPLITS.index(split)
    return [f"{int((found & here).sum())} of {int(here.sum())} images have a near duplicate in another split "
            f"(their thumbnails correlate at {SIMILAR} or more)"]  # fmt: skip


@functools.lru_cache(maxsize=4)  # the splits of a set are opened one after another
def thumbnails(paths: tuple[Path, ...]) -> Tensor:
    """Return the (N, 32, 32) float32 thumbnails of some files; the latest four answers are kept."""
    return torch.from_numpy(np.stack(in_threads(read_thumbnail, paths)))
