"""Where the files of a data set are: given folder, $OBVERSE_DATA, cache, or fetched and checked."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 30.0  # seconds without an answer
MOST_BYTES = 200_000_000  # no file that is fetched is larger than 55 MB when decompressed


def cache_folder() -> Path:
    """Return where fetched files are kept: $XDG_CACHE_HOME/obverse or ~/.cache/obverse."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "obverse"


def places(data_dir: str | Path | None) -> list[Path]:
    """Return the folders to look in, in order: `data_dir`, $OBVERSE_DATA, the cache; unset ones left out."""
    named = [data_dir, os.environ.get("OBVERSE_DATA")]
    return [Path(place).expanduser() for place in named if place] + [cache_folder()]


def find_folder(folder: str, needed: Sequence[str], data_dir: str | Path | None, *, source: str) -> Path:
    """Return the first place's sub-folder `folder` that has all of `needed` in it.

    Raises:
        FileNotFoundError: there is none; the text says what to put where, and `source`, where it comes from.
    """
    for place in places(data_dir):
        if all((place / folder / name).exists() for name in needed):
            return place / folder
    raise FileNotFoundError(
        f"data_dir: expected {folder}/ with {', '.join(needed)} in one of {_listed(places(data_dir))}; got none. "
        f"Get it from {source}, put it into one of these and name the folder with data_dir or $OBVERSE_DATA"
    )


def find_archives(
    folder: str, hashes: Mapping[str, str], data_dir: str | Path | None, *, addresses: Sequence[str]
) -> list[bytes]:
    """Return the decompressed contents of gzip files, fetched into the cache where no place has them.

    Args:
        folder: name of the sub-folder that holds them.
        hashes: file name (with .gz; the file may also lie there decompressed, without it) -> SHA-256 of the
            decompressed content. Only the content counts: gzip's own bytes differ from copy to copy.
        data_dir: looked in first.
        addresses: where a missing file is fetched from, in order of preference; each ends in "/".

    Raises:
        FileNotFoundError: a file is nowhere and cannot be fetched; the text says what to put where.
        ValueError: a file has another content, naming it.
    """
    return [_archive(folder, name, digest, data_dir, addresses) for name, digest in hashes.items()]


def _archive(folder: str, name: str, digest: str, data_dir: str | Path | None, addresses: Sequence[str]) -> bytes:
    for place in places(data_dir):
        for path in (place / folder / name, place / folder / name.removesuffix(".gz")):
            if path.is_file():
                content = _content(path.read_bytes(), path.suffix == ".gz")
                if content is None or hashlib.sha256(content).hexdigest() != digest:
                    got = "a broken gzip file" if content is None else hashlib.sha256(content).hexdigest()
                    raise ValueError(f"{path}: expected content with SHA-256 {digest}, got {got}; "
                                     "delete the file and fetch it again")  # fmt: skip
                return content
    problems = []
    for address in addresses:
        try:
            with urllib.request.urlopen(address + name, timeout=TIMEOUT) as answer:
                packed = answer.read(MOST_BYTES)
        except (OSError, ValueError) as error:  # URLError is an OSError; a bad address is a ValueError
            problems.append(f"{address}: {error}")
            continue
        content = _content(packed, True)
        if content is not None and hashlib.sha256(content).hexdigest() == digest:
            with contextlib.suppress(OSError):  # a cache that cannot be written to: what was fetched is at hand
                _keep(cache_folder() / folder / name, packed)
            return content
        problems.append(f"{address}: another content than expected")
    raise FileNotFoundError(
        f"data_dir: expected {folder}/{name} in one of {_listed(places(data_dir))}; got none, and could not fetch it "
        f"({'; '.join(problems) or 'no address'}). Put the file there and name the "
        "folder with data_dir or $OBVERSE_DATA"
    )


def _content(data: bytes, packed: bool) -> bytes | None:
    if not packed:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, ValueError):
        return None


def _keep(path: Path, data: bytes) -> None:
    """Write whole or not at all: a second process may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)
