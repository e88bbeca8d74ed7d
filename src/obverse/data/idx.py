"""MNIST and Fashion-MNIST from their idx files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.data.base import MemoryDataset, Sample
from obverse.data.files import find_archives
from obverse.data.splits import SPLITS, assign

_FASHION = "T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot"
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": tuple(_FASHION.split(", ")),
}
_ADDRESSES = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    "fashion-mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
}
_FILES = {"train": "train", "validation": "train", "test": "t10k"}
# SHA-256 of the decompressed files: images, labels
_HASHES = {
    ("mnist", "train"): (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    ("mnist", "t10k"): (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    ("fashion-mnist", "train"): (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    ("fashion-mnist", "t10k"): (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def idx_images(
    name: str,
    wanted: str = "",
    *,
    split: str,
    data_dir: str | Path | None = None,
    size: int | None = None,
    seed: int = 0,
) -> MemoryDataset:
    """Return MNIST (LeCun, Cortes, Burges) or Fashion-MNIST (Zalando Research), all or some of its classes.

    The official training file is divided 80 to 20 into train and validation, alike in each class; test is the
    official test file. A chosen class keeps its images whatever other classes are chosen.

    Args:
        name: "mnist" or "fashion-mnist".
        wanted: class numbers or names with commas between, e.g. "3,8"; "" is all. Labels are renumbered in the
            given order.
        split: "train", "validation" or "test".
        data_dir: a folder that has a sub-folder `name` with the four files.
        size: height and width to resize to, pixels (bilinear, antialiased); None keeps 28.
        seed: of the division.

    Raises:
        ValueError: an unknown split or class, a class named twice, only one class, a file with another content.
        FileNotFoundError: the files are nowhere and cannot be fetched.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected train, validation or test, got {split!r}; choose one of them")
    chosen = _choose(wanted, CLASSES[name], name)
    file = _FILES[split]
    names = (f"{file}-images-idx3-ubyte.gz", f"{file}-labels-idx1-ubyte.gz")
    hashes = dict(zip(names, _HASHES[name, file]))
    image, label = map(read_idx, find_archives(name, hashes, data_dir, addresses=_ADDRESSES[name]))
    image, label = image[:, None], label.long()
    renumbered = torch.full((len(CLASSES[name]),), -1)
    renumbered[chosen] = torch.arange(len(chosen))
    keep = renumbered[label] >= 0
    notes = [f"{split}: the official {'test' if split == 'test' else 'training'} file"]
    if split != "test":
        keep &= assign(label, None, (0.8, 0.2), seed=seed) == SPLITS.index(split)
        notes = [f"train and validation: 80 and 20 % of the official training file, by class, seed {seed}"]
    image = image[keep]
    if size is not None and size != image.shape[-1]:
        notes.append(f"resized from {image.shape[-1]} to {size} pixels, bilinear with antialiasing")
        image = torch.cat([_resize(part, size) for part in image.split(1000)])
    return MemoryDataset(
        Sample(image=image, label=renumbered[label[keep]]),
        [CLASSES[name][index] for index in chosen],
        name=f"{name}:{wanted}" if wanted else name,
        split=split,
        notes=notes,
    )


def read_idx(content: bytes) -> Tensor:
    """Return the uint8 array of an idx file: two zero bytes, type 8, number of axes, lengths, values.

    Raises:
        ValueError: not an idx file of bytes, or cut short.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"content: expected an idx file of bytes, got {content[:4]!r}; unpack the .gz file first")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", min(axes, len(content) // 4 - 1), 4).astype(int)
    values = np.frombuffer(content, np.uint8, offset=min(4 + 4 * axes, len(content)))
    if len(shape) != axes or len(values) != shape.prod():
        raise ValueError(f"content: expected {shape.prod()} values for shape {tuple(map(int, shape))}, got "
                         f"{len(values)}; the file is cut short or damaged, fetch it again")  # fmt: skip
    return torch.from_numpy(values.reshape(shape).copy())


def _choose(wanted: str, classes: Sequence[str], name: str) -> list[int]:
    if not wanted:
        return list(range(len(classes)))
    lower = [known.lower() for known in classes]
    chosen = []
    for word in (part.strip().lower() for part in wanted.split(",")):
        index = lower.index(word) if word in lower else int(word) if word.isdecimal() else -1
        if not 0 <= index < len(classes):
            known = ", ".join(f"{number} {label}" if label != str(number) else label
                              for number, label in enumerate(classes))  # fmt: skip
            raise ValueError(f"spec: expected classes of {name} ({known}), got {word!r}; write e.g. {name}:3,8")
        chosen.append(index)
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise ValueError(f"spec: expected two or more different classes, got {wanted!r}; write e.g. {name}:3,8")
    return chosen


def _resize(image: Tensor, size: int) -> Tensor:
    resized = F.interpolate(image.float(), (size, size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)
