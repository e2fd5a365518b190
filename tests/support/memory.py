"""Looks for bytes in the memory of other processes, as a core dump would hold it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["holds"]

PAGE = os.sysconf("SC_PAGE_SIZE")
PRESENT = np.uint64(1 << 63)
MAX_PAGES = 4096  # read at once


def holds(pid: int, wanted: bytes) -> bool:
    """Whether a page of `pid` that can be written to, shared ones included, holds `wanted`."""
    with contextlib.suppress(OSError):
        return any(wanted in content for content in _contents(pid))
    return False


def _contents(pid: int) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for first, count in _runs(pid):
            with contextlib.suppress(OSError):  # unmapped meanwhile
                memory.seek(first * PAGE)
                yield memory.read(count * PAGE)


def _runs(pid: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of pages in a row that are in memory."""
    with Path(f"/proc/{pid}/pagemap").open("rb", 0) as pagemap:
        for start, end in _writable(pid):
            pagemap.seek(start * 8)
            entries = np.frombuffer(pagemap.read((end - start) * 8), np.uint64)
            there = np.flatnonzero(entries & PRESENT)
            for run in np.split(there, np.flatnonzero(np.diff(there) != 1) + 1):
                for place in range(0, len(run), MAX_PAGES):
                    yield start + int(run[place]), min(MAX_PAGES, len(run) - place)


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    """Yield first and last page of the mappings that hold anything."""
    pages = (0, 0)
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and len(words) >= 5:
            first, last = (int(word, 16) // PAGE for word in words[0].split("-"))
            pages = (first, last) if "w" in words[1] else (0, 0)
        elif words[0] == "Rss:" and words[1] != "0" and pages[1]:
            yield pages
