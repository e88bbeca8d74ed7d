"""Folders on disk: safetensors for tensors, JSON for settings, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

T = TypeVar("T")


def save_folder(
    folder: str | Path, tensors: Mapping[str, Mapping[str, Tensor]], settings: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write `NAME.safetensors` and `NAME.json` files into `folder`, replacing an earlier one as a whole.

    Everything goes to a neighbouring folder first, is synced, and takes the place by renaming; when the disk is
    full or the process dies, the previous folder survives.

    Args:
        folder: the destination.
        tensors: file name (without ending) to its tensors.
        settings: file name (without ending) to its JSON content.

    Raises:
        FileExistsError: the folder holds other files, which would be lost.
        OSError: it could not be written; the message says whether a previous version survives.
    """
    folder = Path(folder).resolve()  # a link stays one
    written = {f"{name}.safetensors" for name in tensors} | {f"{name}.json" for name in settings}
    if others := sorted(set(contents(folder)) - written):
        raise FileExistsError(f"{folder}: expected a folder of its own, or none yet, got one with {others[0]}, which would be "
                              "lost; choose another name")  # fmt: skip
    new, old = beside(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for name, group in tensors.items():
            # save_file refuses channels_last and shared tensors
            plain = {key: value.detach().cpu().contiguous().clone() for key, value in group.items()}
            save_file(plain, new / f"{name}.safetensors")
            (new / f"{name}.safetensors").chmod(0o644)
        for name, content in settings.items():
            (new / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        for path in [*new.iterdir(), new]:
            _sync(path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        kept = f"the previous version in {folder} survives" if folder.exists() else "nothing was saved before"
        raise OSError(f"{folder} could not be written ({error}); {kept}; make room or choose another folder") from error
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def beside(folder: Path) -> tuple[Path, Path]:
    """Return where the new and the old version of a folder lie while it is replaced."""
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def contents(folder: Path) -> list[str]:
    """Return the names in a folder but hidden ones, none where there is no folder."""
    return [path.name for path in folder.iterdir() if path.name[0] != "."] if folder.is_dir() else []


def settle(folder: Path) -> None:
    """Finish or undo a replacement that a crash cut short; for whoever writes there."""
    if standing(folder) != folder:
        os.replace(standing(folder), folder)


def standing(folder: Path) -> Path:
    """Return where a folder is to be read: its neighbour, if a replacement was cut short or is just under way."""
    if folder.exists():
        return folder
    new, old = beside(folder)
    if not old.exists():
        return folder
    return new if new.exists() else old  # between the two renames the new one is complete and synced


def saved(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """Return where something trained lies, `folder` itself or the best of a run folder, and its settings.

    The place is its usual one even while it is replaced: `load_tensors` and `read_json` find the file all the same.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: settings that are no JSON object.
    """
    best = Path(folder) / "best"
    places = (best, beside(best)[1], best)  # of a replacement between two looks the third sees the new one
    found = best if any(place.is_dir() for place in places) else Path(folder)
    return found, read_json(found / "settings.json")


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable safetensors file.
    """
    try:
        return load(_read(path, Path.read_bytes))
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got {error}; it is damaged or of another kind") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a JSON object.
    """
    try:
        content = json.loads(_read(path, Path.read_text))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}; it is damaged or of another kind") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}; it is of another kind")
    return content


def _read(path: Path, read: Callable[[Path], T]) -> T:
    """Return what is read of a file; if it goes away meanwhile, its folder is just being replaced, and it is read again.

    Raises:
        FileNotFoundError: no such file.
    """
    for _ in range(3):
        try:
            return read(standing(path.parent) / path.name)
        except (FileNotFoundError, NotADirectoryError):
            time.sleep(0.02)
    raise FileNotFoundError(f"{path} is missing; the folder was not written by obverse or is incomplete")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object to one file, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write one file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    _sync(new)
    os.replace(new, path)


def _sync(path: Path) -> None:
    windows = os.name == "nt"
    if windows and path.is_dir():  # which it cannot open
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
