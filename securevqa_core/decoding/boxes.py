"""Owns walking the boxes of MP4 and MOV (ISO/IEC 14496-12, section 4.2), a bounded number of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Box", "boxes", "child", "content", "lacks_index"]

_HEAD_BYTES = 16  # of a box at most: size, kind and a size of 64 bits
_MAX_BOXES = 100_000  # side by side; a fragment every tenth of a second makes as many in under an hour
_MAX_CONTENT_BYTES = 1 << 20  # of a box that is read whole
_ENDLESS = 1 << 62
_FIRST = frozenset({b"ftyp", b"wide", b"mdat"})  # kinds that a file of which the index comes last begins with


@dataclass(frozen=True, slots=True)
class Box:
    """One box."""

    kind: bytes  # four
    start: int  # of what it holds, bytes from the file's start
    end: int


def boxes(descriptor: int, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two places; one that claims to go on after `end` ends there."""
    for _ in range(_MAX_BOXES):
        if start >= end:  # which may be further than any file goes
            return
        head = os.pread(descriptor, _HEAD_BYTES, start)[: end - start]
        if len(head) < 8:
            return
        size, head_bytes = int.from_bytes(head[:4]), 8
        if size == 1:  # the real one follows in 64 bits
            size, head_bytes = int.from_bytes(head[8:]), _HEAD_BYTES
        elif size == 0:  # it lasts to the end
            size = end - start
        if size < head_bytes:
            return
        yield Box(head[4:8], start + head_bytes, min(start + size, end))
        start += size


def child(descriptor: int, parent: Box | None, *path: bytes) -> Box | None:
    """Return the first box under `parent` by the kinds on the way to it."""
    for kind in path:
        if parent is None:
            return None
        inside = boxes(descriptor, parent.start, parent.end)
        parent = next((box for box in inside if box.kind == kind), None)
    return parent


def content(descriptor: int, box: Box) -> bytes:
    """Return what a box holds, as far as there is any use in reading it."""
    return os.pread(descriptor, min(box.end - box.start, _MAX_CONTENT_BYTES), box.start)


def lacks_index(descriptor: int) -> bool:
    """Tell whether a file is an MP4 or MOV whose index, `moov`, is not there or is cut off."""
    size_bytes = os.fstat(descriptor).st_size
    found = {box.kind: box for box in boxes(descriptor, 0, _ENDLESS)}  # to see what claims more than there is
    if next(iter(found), None) not in _FIRST or b"meta" in found:  # the index of still pictures
        return False
    index = found.get(b"moov")
    return index is None or index.end > size_bytes
