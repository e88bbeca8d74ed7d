"""Memory that a process on a CPU keeps between steps, in large pages."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2
"""Names of mallopt's options, from malloc.h."""
LARGE_PAGES = 14
"""MADV_HUGEPAGE."""
RESERVED = 1 << 30
"""Bytes of the address space that the first large pages may take; nothing of it is taken before it is used."""


@functools.cache
def keep_memory() -> bool:
    """Have glibc keep what tensors free and take it in large pages, once a process; return whether it does.

    Left alone, glibc gives every large tensor back to the system and fetches the next one in pages of 4 KiB, which costs a
    training on a CPU about a fifth of its time. In exchange the process stays as large as it has been. Nothing is done
    on other systems, or where the environment says how memory is had (MALLOC_... or GLIBC_TUNABLES).
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    library = _glibc()
    if chosen or library is None:
        return False
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(TOP_PAD, 64 << 20)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.free(library.malloc(RESERVED))  # the heap stays as long as this
    return any(library.madvise(start, end - start, LARGE_PAGES) == 0 for start, end in _heap())


def give_back() -> None:
    """Give the system back what glibc keeps and nothing uses; nothing is done elsewhere."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None


def _heap() -> list[tuple[int, int]]:
    """Return from where to where the heap lies."""
    with open("/proc/self/maps") as maps:
        rows = [line.split() for line in maps]
    ends = [row[0].split("-") for row in rows if row[-1] == "[heap]"]
    return [(int(start, 16), int(end, 16)) for start, end in ends]
