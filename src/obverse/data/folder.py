"""A user's own images: class sub-folders, with or without masks and splits, or a CSV file."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from obverse.data.images import SUFFIXES
from obverse.data.reading import Record
from obverse.data.records import Catalogue

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_COLUMNS = ("path", "label", "mask", "group", "split")


def folder(path: str | Path) -> Catalogue:
    """Return the images under a path and what is known about them.

    Either class sub-folders: PATH/CLASS/*.png, or PATH/images/CLASS/*.png, or with splits between,
    PATH/train/CLASS/*.png. Masks lie in PATH/masks in the same sub-folders under the same names (any image type);
    a class without a folder there has empty masks. Or a CSV file, PATH itself or the only one in PATH, with columns
    path (from the file's folder), label, optionally mask, group (e.g. the patient) and split; all other columns
    are attributes, 0 or 1. Where masks are given, a label may have none for all its images: they are then empty.

    Args:
        path: a folder or a CSV file.

    Raises:
        FileNotFoundError: no such path, or no such file in the CSV.
        ValueError: fewer than two classes, an empty class, a class with masks for some images only, a broken CSV.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"spec: expected a folder or a CSV file, got {place}, which does not exist; mend the "
                                "path")  # fmt: skip
    tables = [place] if place.is_file() else sorted(place.glob("*.csv"))
    if len(tables) > 1:
        raise ValueError(f"spec: expected one CSV file in {place}, got {len(tables)}; name one: folder:{tables[0]}")
    if tables:
        records, attribute_names = _table(tables[0])
    else:
        records, attribute_names = list(_tree(place)), ()
    classes = tuple(sorted({record.label for record in records}, key=_natural))
    if len(classes) < 2:
        raise ValueError(f"spec: expected two or more classes in {place}, got {', '.join(classes) or 'none'}; put the "
                         "images of each class into a sub-folder of its own")  # fmt: skip
    _check_masks(records)
    return Catalogue(name=f"folder:{path}", classes=classes, records=tuple(records), attribute_names=attribute_names)


def _natural(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 2**62, name)


def _tree(place: Path) -> Iterable[Record]:
    images = place / "images" if (place / "images").is_dir() else place
    masks = place / "masks"
    folders = _folders(images, leave_out=masks)
    if inside := [one for one in folders if {kind.name for kind in _folders(one, leave_out=masks)} == {"images", "masks"}]:
        raise ValueError(f"spec: expected class folders in {inside[0]}, got images and masks; put the splits within them, "
                         f"{place / 'images' / inside[0].name / 'CLASS'} and {masks / inside[0].name / 'CLASS'}")  # fmt: skip
    if folders and all(child.name.lower() in _SPLITS for child in folders):
        _check_folders(masks, {child.name for child in folders})
        for child in folders:
            _check_folders(masks / child.name, {kind.name for kind in _folders(child, leave_out=masks)})
            for kind in _folders(child, leave_out=masks):
                yield from _class(kind, masks / child.name / kind.name, _SPLITS[child.name.lower()])
        return
    _check_folders(masks, {kind.name for kind in folders})
    for kind in folders:
        yield from _class(kind, masks / kind.name, None)


def _check_folders(masks: Path, known: set[str]) -> None:
    """Raise where masks lie where no image looks for them."""
    if not masks.is_dir():
        return
    lost = [one.name for one in [*_images(masks), *_folders(masks, leave_out=masks)] if one.name not in known]
    if lost:
        raise ValueError(f"mask: expected sub-folders {', '.join(sorted(known))} in {masks}, like those of the images, got "
                         f"{lost[0]}; move it there")  # fmt: skip


def _folders(place: Path, *, leave_out: Path) -> list[Path]:
    children = (child for child in place.iterdir() if child.is_dir() and not child.name.startswith("."))
    return sorted(child for child in children if child != leave_out)


def _class(kind: Path, masks: Path, split: str | None) -> Iterable[Record]:
    files = _images(kind)
    if not files:
        raise ValueError(f"spec: expected images ({', '.join(SUFFIXES)}) in {kind}, got none; add some or remove the "
                         "folder")  # fmt: skip
    mask_of = {file.stem: file for file in _images(masks)} if masks.is_dir() else {}
    if masks.is_dir() and (other := _no_images(masks)):
        raise ValueError(f"mask: expected images ({', '.join(SUFFIXES)}) in {masks}, got {other[0].name}; convert it, or remove "
                         "it")  # fmt: skip
    if lost := sorted(set(mask_of) - {file.stem for file in files}):
        raise ValueError(f"mask: expected masks named like the images in {kind}, got {mask_of[lost[0]].name} in {masks}; rename "
                         "it, or remove it")  # fmt: skip
    if left_out := _no_images(kind):
        warnings.warn(f"{kind}: left out what is no image ({', '.join(SUFFIXES)}), {len(left_out)} files or folders, e.g. "
                      f"{left_out[0].name}", stacklevel=2)  # fmt: skip
    for file in files:
        yield Record(path=file, label=kind.name, mask=mask_of.get(file.stem), split=split)


def _images(place: Path) -> list[Path]:
    return sorted(file for file in place.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] != ".")


def _no_images(place: Path) -> list[Path]:
    """Return what lies there besides images: other files and folders, but hidden ones and what Windows leaves everywhere."""
    files = (file for file in place.iterdir() if file.name[0] != "." and file.name.lower() not in ("thumbs.db", "desktop.ini"))
    return sorted(file for file in files if file.suffix.lower() not in SUFFIXES)


def _check_masks(records: Iterable[Record]) -> None:
    """Raise where a label has masks for some of its images only: "nothing there" and "not looked" would be mixed."""
    first: dict[str, Record] = {}
    for record in records:
        known = first.setdefault(record.label, record)
        if (known.mask is None) != (record.mask is None):
            bare, marked = (record, known) if record.mask is None else (known, record)
            raise ValueError(f"mask: expected one for every image of class {record.label} or for none, {marked.path} "
                             f"has one and {bare.path} has none; add an empty mask there")  # fmt: skip


def _table(file: Path) -> tuple[list[Record], tuple[str, ...]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            columns = tuple(reader.fieldnames or ())
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: expected UTF-8, got {error}; save it as CSV UTF-8") from error
        except csv.Error as error:
            raise ValueError(f"{file}: expected a CSV file, got {error} in the first line; mend it") from error
        if twice := [name for name in columns if columns.count(name) > 1]:
            raise ValueError(f"{file}: expected columns of different names, got {twice[0]!r} twice; rename or remove one")
        if missing := [name for name in ("path", "label") if name not in columns]:
            raise ValueError(f"{file}: expected the columns path and label, {' and '.join(missing)} not among "
                             f"{', '.join(columns) or 'none'}; name the columns in the first line, or remove the file to use "
                             "class sub-folders")  # fmt: skip
        names = tuple(column for column in columns if column not in _COLUMNS)
        try:
            records = [_row(file, reader.line_num, row, names) for row in reader]
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: expected UTF-8, got {error}; save it as CSV UTF-8") from error
        except csv.Error as error:
            place = f"after line {reader.line_num}"
            raise ValueError(f"{file}: expected a CSV file, got {error} {place}; mend it") from error
    return records, names


def _row(file: Path, line: int, row: Mapping[str, str | None], names: tuple[str, ...]) -> Record:
    cell = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    # a short line has None among its values, a long one among its keys
    if set(row) != set(cell) or not cell["path"] or not cell["label"]:
        raise ValueError(f"{file} line {line}: expected as many cells as there are columns, with path and label "
                         f"filled, got {list(row.values())}; mend the line")  # fmt: skip
    paths = [file.parent / cell[key] if cell.get(key) else None for key in ("path", "mask")]
    for path in paths:
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"{file} line {line}: expected an image file, got {path}, which does not exist; "
                                    "paths start from the CSV file's folder")  # fmt: skip
    if wrong := [name for name in names if cell[name] not in ("0", "1", "0.0", "1.0")]:
        raise ValueError(f"{file} line {line}: expected 0 or 1 for attribute {wrong[0]}, got {cell[wrong[0]]!r}; mend "
                         "it or remove the column")  # fmt: skip
    return Record(
        path=file.parent / cell["path"],
        label=cell["label"],
        mask=paths[1],
        group=cell.get("group") or None,
        split=_SPLITS.get(cell.get("split", "").lower(), cell.get("split")) or None,
        attributes=tuple(float(cell[name]) for name in names),
    )
