"""Decoding the files of a catalogue, in threads: into memory at once, or when asked for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, final

import torch
from torch import Tensor

from obverse.data.base import Dataset, Sample
from obverse.data.images import CorruptImageError, Header, read_image, read_mask

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One image file: its label, its mask file (None: nothing is marked), group, split and attributes."""

    path: Path
    label: str
    mask: Path | None = None
    group: str | None = None
    split: str | None = None
    attributes: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Files that become images of one shape.

    Args:
        records: the files; header: what each says about its image; both of N.
        label: (N,) int64.
        group: (N,) int64, or None.
        shape: (C, H, W) of the images.
        deep: keep more than 8 bit, as float32.
    """

    records: Sequence[Record]
    headers: Sequence[Header | None]
    label: Tensor
    group: Tensor | None
    shape: tuple[int, int, int]
    deep: bool

    @property
    def fields(self) -> frozenset[str]:
        """Names of the sample fields that these files have."""
        has = {"mask": self.has_masks, "group": self.group is not None, "attributes": bool(self.records[0].attributes)}
        return frozenset(["image", "label", "path", *(name for name, present in has.items() if present)])

    @property
    def has_masks(self) -> bool:
        """Whether any file has a mask; the others' masks are then empty."""
        return any(record.mask is not None for record in self.records)

    @property
    def bytes_each(self) -> int:
        """Memory for one image and its mask."""
        channels, height, width = self.shape
        return height * width * (channels * (4 if self.deep else 1) + self.has_masks)

    def read(self, rows: Sequence[int]) -> Sample:
        """Return the images of these rows with all that is known about them, uint8 unless deep.

        Raises:
            CorruptImageError: an unreadable file.
            ValueError: a mask of another size than its image.
        """
        channels, height, width = self.shape
        image = torch.empty(len(rows), channels, height, width, dtype=torch.float32 if self.deep else torch.uint8)
        mask = torch.zeros(len(rows), 1, height, width, dtype=torch.uint8) if self.has_masks else None

        def fill(place: int) -> None:
            row = rows[place]
            record, header = self.records[row], self.headers[row]
            array = read_image(record.path, height, width, colour=channels == 3, deep=self.deep)
            image[place] = torch.from_numpy(array.copy())  # Pillow's is read-only
            if mask is not None and record.mask is not None and header is not None:
                mask[place] = torch.from_numpy(read_mask(record.mask, header, record.path, height, width).copy())

        in_threads(fill, range(len(rows)))
        index = torch.tensor(rows, dtype=torch.int64)
        attributes = [self.records[row].attributes for row in rows]
        return Sample(
            image=image,
            label=self.label[index],
            mask=mask,
            attributes=torch.tensor(attributes) if self.records[0].attributes else None,
            group=None if self.group is None else self.group[index],
            path=tuple(str(self.records[row].path) for row in rows),
        )

    def readable(self, rows: Sequence[int]) -> list[int]:
        """Return the rows whose image and mask can be decoded."""

        def good(row: int) -> bool:
            try:
                self.read([row])
            except CorruptImageError:
                return False
            return self.headers[row] is not None

        return [row for row, keep in zip(rows, in_threads(good, rows)) if keep]


@final
class FileDataset(Dataset):
    """Images that are decoded when asked for, a batch at a time in threads: for sets that do not fit into memory.

    Args:
        reader: the files.
        rows: those of this split.
        classes, name, split, attribute_names, notes: see `Dataset`.
    """

    def __init__(
        self,
        reader: Reader,
        rows: Sequence[int],
        classes: Sequence[str],
        *,
        name: str,
        split: str,
        attribute_names: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self._reader, self._index = reader, torch.tensor(rows, dtype=torch.int64)
        self.name, self.split, self.classes = name, split, tuple(classes)
        self.attribute_names, self.notes = tuple(attribute_names), tuple(notes)
        self.image_shape, self.fields = reader.shape, reader.fields

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Sample:
        sample = self._reader.read(self._index[self._rows(index)].tolist())
        image = sample.image if self._reader.deep else sample.image.float() / 255
        mask = None if sample.mask is None else sample.mask.float()
        return dataclasses.replace(sample, image=image, mask=mask)

    def labels(self) -> Tensor:
        """Return all labels, (N,) int64, without reading an image."""
        return self._reader.label[self._index]


def in_threads(function: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
    """Return the function's value for each item, in order; the first error is raised."""
    # Pillow decodes outside the interpreter lock
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)) as pool:
        return list(pool.map(function, items))
