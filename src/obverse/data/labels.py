"""Labels meet a classifier's classes by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from obverse.data.base import Dataset, MemoryDataset, Sample


def match_labels(data: Dataset, classes: Sequence[str]) -> Dataset:
    """Return the data set with its labels renumbered to a classifier's classes, found by name.

    Args:
        data: a data set; returned as it is where its classes are the same or it has no labels.
        classes: names of the classifier's classes, in its order; it may have more than the data set.

    Raises:
        ValueError: a class of the data set is not among `classes`; the text has both lists.
    """
    if tuple(classes) == data.classes or "label" not in data.fields:
        return data
    if missing := [name for name in data.classes if name not in classes]:
        raise ValueError(
            f"classes: expected the classifier to know every class of {data.name} ({', '.join(data.classes)}), got "
            f"{', '.join(classes)}, without {', '.join(missing)}; name the classifier's classes as the data does, "
            "open the data with fewer classes, or fit a classifier of them all (methods that translate between two then take "
            "--against-rest NAME, conditional_syce takes every pair)"
        )
    return _numbered(data, torch.tensor([list(classes).index(name) for name in data.classes]), classes)


def view_labels(data: Dataset, classes: Sequence[str]) -> Dataset:
    """Return the data set labelled as the two classes of a view: NAME, or not.

    Args:
        data: a data set; without labels where it knows no class of that name.
        classes: of the view, the named class last.
    """
    if tuple(classes) == data.classes or "label" not in data.fields:
        return data
    known = classes[-1] in data.classes
    return _numbered(data, torch.tensor([int(name == classes[-1]) for name in data.classes]) if known else None, classes)


def _numbered(data: Dataset, number: Tensor | None, classes: Sequence[str]) -> Dataset:
    """Return the data set with its labels by another number, or without."""
    if isinstance(data, MemoryDataset) and data.sample.label is not None:
        label = None if number is None else number.to(data.sample.label.device)[data.sample.label]
        return MemoryDataset(dataclasses.replace(data.sample, label=label), classes, name=data.name, split=data.split,
                             attribute_names=data.attribute_names, notes=data.notes)  # fmt: skip
    return _Renumbered(data, number, tuple(classes))


@final
class _Renumbered(Dataset):
    """Another data set under other label numbers, or without labels, read when asked for."""

    def __init__(self, data: Dataset, number: Tensor | None, classes: tuple[str, ...]) -> None:
        self._describe(data)
        self._data, self._number, self.classes = data, number, classes
        if number is None:
            self.fields = data.fields - {"label"}

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Sample:
        sample = self._data[index]
        if sample.label is None:
            return sample
        return dataclasses.replace(sample, label=None if self._number is None else self._number[sample.label])

    def labels(self) -> Tensor | None:
        """Return all labels, (N,) int64, as the classifier numbers them."""
        labels = self._data.labels()
        return None if labels is None or self._number is None else self._number[labels]
