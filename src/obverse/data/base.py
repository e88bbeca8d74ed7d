"""Samples and data sets: what is known about images, and the pixel contract that all parts share."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def check_images(image: Tensor, shape: tuple[int, int, int] | None = None, *, name: str = "image") -> None:
    """Raise unless `image` is float32, (N, C, H, W), finite and within [0, 1].

    Args:
        image: what the caller passed.
        shape: the expected (C, H, W); None accepts any.
        name: the argument's name, for the message.

    Raises:
        TypeError: not a tensor, or not float32.
        ValueError: wrong number of axes, wrong shape, NaN or infinite pixels, or pixels outside [0, 1].
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(image).__name__}; convert it with torch.as_tensor")
    expected = "(N, C, H, W)" if shape is None else f"(N, {shape[0]}, {shape[1]}, {shape[2]})"
    if image.ndim != 4:
        raise ValueError(
            f"{name}: expected shape {expected}, got {tuple(image.shape)}; one image needs a batch axis: image[None]"
        )
    if shape is not None and tuple(image.shape[1:]) != tuple(shape):
        remedy = "convert grey to colour or back" if image.shape[1] != shape[0] else "resize the images"
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(image.shape)}; {remedy}, or wrap the "
                         f"classifier with image_shape={tuple(image.shape[1:])}")  # fmt: skip
    if image.dtype != torch.float32:
        remedy = "divide by 255 after .float()" if image.dtype == torch.uint8 else "call .float()"
        raise TypeError(f"{name}: expected dtype torch.float32, got {image.dtype}; {remedy}")
    if image.numel() == 0:
        return
    low, high = (float(value) for value in torch.aminmax(image.detach()))
    if not (low >= 0.0 and high <= 1.0):  # a NaN fails both comparisons
        if not bool(torch.isfinite(image).all()):
            raise ValueError(f"{name}: expected finite pixels, got NaN or infinity; mend or leave out those images")
        raise ValueError(f"{name}: expected pixels in [0, 1], got [{low:.4g}, {high:.4g}]; rescale them "
                         "(a classifier with another range takes its own mean and std)")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sample:
    """N images and what is known about them; a field that is not known is None.

    Args:
        image: (N, C, H, W) float32 in [0, 1].
        label: (N,) int64, an index into the data set's classes.
        mask: (N, 1, H, W) float32, 1 inside the annotated region and 0 outside.
        twin: (N, C, H, W) in [0, 1], the true image of the other class, where it is known.
        attributes: (N, A) float32, 0 or 1 each.
        group: (N,) int64, the patient or object an image belongs to.
        path: N names or file paths.
    """

    image: Tensor
    label: Tensor | None = None
    mask: Tensor | None = None
    twin: Tensor | None = None
    attributes: Tensor | None = None
    group: Tensor | None = None
    path: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def to(self, device: torch.device | str) -> Sample:
        """Return the same sample with its tensors on `device`."""
        changes = {k: v.to(device) for k, v in _fields(self).items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def select(self, index: Tensor) -> Sample:
        """Return the rows that `index` (integers or a boolean mask) names."""
        rows = index.nonzero().flatten() if index.dtype == torch.bool else index
        changes: dict[str, Tensor | tuple[str, ...]] = {}
        for key, value in _fields(self).items():
            if isinstance(value, Tensor):
                changes[key] = value[rows.to(value.device)]
            elif value is not None:
                changes[key] = tuple(value[int(row)] for row in rows)
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @staticmethod
    def cat(samples: Sequence[Sample]) -> Sample:
        """Join samples that have the same fields."""
        joined: dict[str, Tensor | tuple[str, ...]] = {}
        for key, first in _fields(samples[0]).items():
            values = [_fields(sample)[key] for sample in samples]
            if isinstance(first, Tensor):
                joined[key] = torch.cat([v for v in values if isinstance(v, Tensor)])
            elif first is not None:
                joined[key] = tuple(name for v in values if isinstance(v, tuple) for name in v)
        return Sample(**joined)  # type: ignore[arg-type]


def _fields(sample: Sample) -> dict[str, Tensor | tuple[str, ...] | None]:
    return {field.name: getattr(sample, field.name) for field in dataclasses.fields(sample)}


class Dataset(torch.utils.data.Dataset[Sample], ABC):
    """A torch data set of samples; a field is present for the whole set or absent for the whole set.

    Attributes:
        name: the specification that opens it, e.g. "mnist:3,8".
        split: "train", "validation", "test", or "" where there are none.
        classes: names of the labels, in order.
        image_shape: (C, H, W).
        fields: names of the sample fields that are present.
        attribute_names: names of the columns of `Sample.attributes`.
        notes: facts a report should state, e.g. how many near duplicates or corrupt files there are.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    fields: frozenset[str]
    attribute_names: tuple[str, ...]
    notes: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Sample:
        """Return the rows asked for as one `Sample`; a single integer gives a sample of one row."""

    @abstractmethod
    def labels(self) -> Tensor | None:
        """Return all labels, (N,) int64, without reading an image; None where there are none."""

    def batches(self, size: int = 256, device: torch.device | str = "cpu") -> Iterator[Sample]:
        """Yield the whole set in order, `size` rows at a time."""
        for start in range(0, len(self), size):
            yield self[slice(start, min(start + size, len(self)))].to(device)

    def subset(self, index: Tensor | Sequence[int]) -> Dataset:
        """Return the rows that `index` (integers or a boolean mask) names as a data set of their own."""
        rows = torch.as_tensor(index)
        rows = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        return _Subset(self, rows.to(torch.int64))

    def _describe(self, other: Dataset) -> None:
        for name in ("name", "split", "classes", "image_shape", "fields", "attribute_names", "notes"):
            setattr(self, name, getattr(other, name))

    def _rows(self, index: int | slice | Sequence[int] | Tensor) -> Tensor:
        """Turn any index into row numbers, checked against the length."""
        if isinstance(index, slice):
            return torch.arange(*index.indices(len(self)))
        rows = torch.as_tensor([index] if isinstance(index, int) else index)
        if rows.dtype == torch.bool:
            rows = rows.nonzero().flatten()
        if rows.numel() and (int(rows.max()) >= len(self) or int(rows.min()) < -len(self)):
            raise IndexError(f"index: expected rows below {len(self)}, got {int(rows.max())}")
        return torch.where(rows < 0, rows + len(self), rows)


class MemoryDataset(Dataset):
    """A data set that is one `Sample` in memory.

    Args:
        sample: all rows; images may be uint8 (kept so, divided by 255 when read) or float32 in [0, 1].
        classes: names of the labels.
        name, split, attribute_names, notes: see `Dataset`.

    Raises:
        ValueError: labels outside the classes, fields of different lengths, or masks of another size or
            with values other than 0 and 1.
    """

    def __init__(
        self,
        sample: Sample,
        classes: Sequence[str],
        *,
        name: str = "memory",
        split: str = "",
        attribute_names: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        if sample.image.dtype != torch.uint8:
            check_images(sample.image)
        check_fields(sample, len(classes))
        self.sample = sample
        self.name, self.split, self.classes = name, split, tuple(classes)
        self.attribute_names, self.notes = tuple(attribute_names), tuple(notes)
        channels, height, width = sample.image.shape[1:]
        self.image_shape = (channels, height, width)
        self.fields = frozenset(key for key, value in _fields(sample).items() if value is not None)

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Sample:
        rows = self.sample.select(self._rows(index))
        floats = {k: getattr(rows, k) for k in ("image", "mask", "twin") if getattr(rows, k) is not None}
        changes = {k: v.float() / (1 if k == "mask" else 255) for k, v in floats.items() if v.dtype == torch.uint8}
        return dataclasses.replace(rows, **changes) if changes else rows

    def labels(self) -> Tensor | None:
        """Return all labels, (N,) int64."""
        return self.sample.label

    def to(self, device: torch.device | str) -> MemoryDataset:
        """Return the same data set on `device`."""
        moved = MemoryDataset.__new__(MemoryDataset)
        moved._describe(self)
        moved.sample = self.sample.to(device)
        return moved

    def subset(self, index: Tensor | Sequence[int]) -> MemoryDataset:
        """Return the rows that `index` names as a data set of their own."""
        part = MemoryDataset.__new__(MemoryDataset)
        part._describe(self)
        rows = torch.as_tensor(index)
        part.sample = self.sample.select(rows if rows.dtype == torch.bool else rows.to(torch.int64))
        return part


class _Subset(Dataset):
    """Some rows of another data set, read when asked for."""

    def __init__(self, whole: Dataset, rows: Tensor) -> None:
        self._describe(whole)
        self._whole, self._index = whole, rows

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Sample:
        return self._whole[self._index[self._rows(index)]]

    def labels(self) -> Tensor | None:
        labels = self._whole.labels()
        return None if labels is None else labels[self._index]


def check_fields(sample: Sample, classes: int) -> None:
    """Raise unless every field of `sample` has as many rows as there are images, and legal values.

    Raises:
        ValueError: naming the field, what was expected, what came, and what to do.
    """
    count, (height, width) = len(sample), sample.image.shape[-2:]
    for key, value in _fields(sample).items():
        if value is not None and len(value) != count:
            raise ValueError(f"{key}: expected {count} rows like image, got {len(value)}; pass one entry an image")
    label, mask, twin = sample.label, sample.mask, sample.twin
    if label is not None and count and not 0 <= int(label.min()) <= int(label.max()) < classes:
        raise ValueError(f"label: expected indices 0 to {classes - 1} for {classes} classes, got "
                         f"{int(label.min())} to {int(label.max())}; name every class in classes")  # fmt: skip
    if mask is not None:
        if tuple(mask.shape[1:]) != (1, height, width):
            raise ValueError(f"mask: expected shape (N, 1, {height}, {width}) like the images, got "
                             f"{tuple(mask.shape)}; resize the masks with nearest neighbours")  # fmt: skip
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError(f"mask: expected the values 0 and 1 only, got up to {float(mask.max()):g}; "
                             "threshold it first, e.g. (mask > 0).float()")  # fmt: skip
    if twin is not None and twin.shape != sample.image.shape:
        raise ValueError(f"twin: expected shape {tuple(sample.image.shape)} like image, got {tuple(twin.shape)}; "
                         "pass the same picture without the finding")  # fmt: skip
