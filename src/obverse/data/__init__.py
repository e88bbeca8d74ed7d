"""Data sets by name: `open("mnist:3,8", split="train")`."""

from __future__ import annotations

from pathlib import Path

from obverse.data.augment import DIGITS, NONE, Augment
from obverse.data.base import Dataset, MemoryDataset, Sample, check_images
from obverse.data.labels import match_labels, view_labels

__all__ = [
    "DIGITS",
    "NONE",
    "SPECS",
    "Augment",
    "Dataset",
    "MemoryDataset",
    "Sample",
    "check_images",
    "match_labels",
    "open",
    "view_labels",
]

SPECS = {
    "lesions": "lesions[:published|squares]",
    "mnist": "mnist[:CLASS,CLASS,...]",
    "fashion-mnist": "fashion-mnist[:CLASS,CLASS,...]",
    "brain-mri": "brain-mri[:tumour]",
    "magnetic-tile": "magnetic-tile[:defect]",
    "folder": "folder:PATH",
}
"""Name -> how its specification is written."""


def open(
    spec: str,
    *,
    split: str,
    data_dir: str | Path | None = None,
    size: int | None = None,
    skip_corrupt: bool = False,
    seed: int = 0,
    count: int | None = None,
) -> Dataset:
    """Return one split of a data set.

    Args:
        spec: one of `SPECS`, e.g. "lesions", "mnist:3,8", "brain-mri:tumour" or "folder:/my/images".
        split: "train", "validation" or "test".
        data_dir: where files are looked for first; then $OBVERSE_DATA, then the cache, then fetched (MNIST and
            Fashion-MNIST only).
        size: height and width, pixels. None: lesions and tiles 128, brain 64, digits 28, folder its first image's.
        skip_corrupt: leave out unreadable image files and count them in the notes.
        seed: of generated images and of drawn splits.
        count: number of generated images; for lesions only.

    Raises:
        ValueError: an unknown spec or split; a size or count below 1; and what the set itself refuses.
        FileNotFoundError: files that are nowhere; the text says what to put where.
    """
    name, _, option = spec.partition(":")
    if name not in SPECS or (name == "folder" and not option):
        raise ValueError(f"spec: expected one of {', '.join(SPECS.values())}, got {spec!r}; choose one of them")
    if count is not None and name != "lesions":
        raise ValueError(f"count: expected none for {name} (only lesions are generated), got {count}; use "
                         "data.subset(range(count))")  # fmt: skip
    if size is not None and size < 1:
        raise ValueError(f"size: expected at least 1 pixel, got {size}; give the height and width of the images")
    if name == "lesions":
        from obverse.data.lesions import lesions

        return lesions(option, split=split, size=128 if size is None else size, count=count, seed=seed)
    if name in ("mnist", "fashion-mnist"):
        from obverse.data.idx import idx_images

        return idx_images(name, option, split=split, data_dir=data_dir, size=size, seed=seed)
    from obverse.data.folder import folder
    from obverse.data.public import brain_mri, magnetic_tile
    from obverse.data.records import open_catalogue

    if name == "brain-mri":
        catalogue, usual = brain_mri(option, data_dir=data_dir), 64
    elif name == "magnetic-tile":
        catalogue, usual = magnetic_tile(option, data_dir=data_dir), 128
    else:
        catalogue, usual = folder(option), None
    return open_catalogue(catalogue, split=split, size=size or usual, skip_corrupt=skip_corrupt, seed=seed)
