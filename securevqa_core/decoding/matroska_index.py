"""Owns listing the frames of a long Matroska or WebM film from block headers, many clusters at a time."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatroskaFrames", "matroska_frames", "read_element"]

# Names of elements, RFC 9559, section 5; those of blocks and of what may stand beside them have one byte, but
# for two in groups.
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_BESIDE_CLUSTERS = frozenset(
    [0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469, 0xEC, 0xBF]
)
_TIMESTAMP, _SIMPLE_BLOCK, _GROUP, _BLOCK, _REFERENCE = 0xE7, 0xA3, 0xA0, 0xA1, 0xFB
_IN_CLUSTERS = (_TIMESTAMP, _SIMPLE_BLOCK, _GROUP, 0xA7, 0xAB, 0xEC, 0xBF)  # Position, PrevSize, Void, CRC-32
_TWO_BYTES = 0x75  # BlockAdditions and DiscardPadding
_IN_GROUPS = (_BLOCK, _REFERENCE, _TWO_BYTES, 0x9B, 0xFA, 0xEC, 0xBF)  # BlockDuration, ReferencePriority
_IS_IN_CLUSTERS, _IS_IN_GROUPS = (np.isin(np.arange(256), names) for names in (_IN_CLUSTERS, _IN_GROUPS))

_HEADER_BYTES = 12  # of an element at most: four of its name, eight of its size
_BLOCK_HEAD_BYTES = 4  # track, two of time, flags
_KEYFRAME, _LACING = 0x80, 0x06
_MAPPED_BYTES = 256 << 20  # at once
_MAX_STEPS = 50_000  # of a tenth of a millisecond; a file that takes more is not laid out as films are
_ROW = np.dtype([("position", "i8"), ("pts", "i8"), ("group", "i8"), ("track", "u1"), ("flags", "u1")])

# By the first byte of a size: how many bytes it has, and which of its bits count (RFC 8794, section 4).
_WIDTHS = np.array([0] + [9 - byte.bit_length() for byte in range(1, 256)], dtype=np.int64)
_BITS = (np.int64(1) << 7 * _WIDTHS) - 1

_Bytes = NDArray[np.uint8]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatroskaFrames:
    """The blocks of one track in file order."""

    pts: _Ints  # (n,) in ticks of the file
    positions: _Ints  # (n,) of what a block holds, bytes from the file's start
    is_keyframe: NDArray[np.bool_]  # (n,)
    clusters: _Ints  # (n,) where the cluster of each begins, bytes from the file's start


def matroska_frames(descriptor: int, first_position: int) -> MatroskaFrames | None:
    """List the frames of one track; None where the file is not whole, or laid out in a way not known here.

    Args:
        descriptor: of the file.
        first_position: of what the first block of the track holds.
    """
    ends = _clusters(descriptor)
    rows = None if ends is None else _read_blocks(descriptor, ends)
    if ends is None or rows is None:
        return None
    references, blocks = rows[rows["track"] == 0], rows[rows["track"] > 0]
    mine = blocks[blocks["track"] == blocks["track"][blocks["position"] == first_position].max(initial=0)]
    if not len(mine) or (mine["flags"] & _LACING).any():
        return None
    mine = mine[np.argsort(mine["position"])]
    in_groups = mine["group"] > 0
    is_predicted = np.isin(mine["group"], references["group"])
    starts = ends[:, 0]
    return MatroskaFrames(
        pts=mine["pts"].copy(),
        positions=mine["position"].copy(),
        is_keyframe=np.where(in_groups, ~is_predicted, mine["flags"] & _KEYFRAME != 0),
        clusters=starts[np.searchsorted(starts, mine["position"]) - 1],
    )


def _clusters(descriptor: int) -> _Ints | None:
    """Return where each cluster begins, where its elements do and where they end, (c, 3); None as above."""
    size_bytes = os.fstat(descriptor).st_size
    head = _element(descriptor, 0)
    segment = _element(descriptor, head[2]) if head and head[0] == _EBML else None
    if segment is None or segment[0] != _SEGMENT or segment[2] != size_bytes:
        return None
    found, at = [], segment[1]
    while at < size_bytes:
        element = _element(descriptor, at)
        if element is None or element[2] > size_bytes or element[0] not in {_CLUSTER, *_BESIDE_CLUSTERS}:
            return None
        if element[0] == _CLUSTER:
            found.append((at, *element[1:]))
        at = element[2]
    return np.array(found, dtype=np.int64) if found else None


def _element(descriptor: int, at: int) -> tuple[int, int, int] | None:
    """Return what `read_element` does; None, too, where the element does not say how long it is."""
    element = read_element(descriptor, at, end=-1)
    return None if element is None or element[2] < 0 else element


def read_element(descriptor: int, at: int, *, end: int) -> tuple[int, int, int] | None:
    """Return an element's name, where its content begins and where it ends; None where it is not one.

    Args:
        descriptor: of the file.
        at: where it begins.
        end: of an element that does not say.
    """
    header = os.pread(descriptor, _HEADER_BYTES, at).ljust(_HEADER_BYTES, b"\0")
    length = int(_WIDTHS[header[0]])
    width, bits = int(_WIDTHS[header[length]]), int(_BITS[header[length]])
    if not 1 <= length <= 4 or not width:
        return None
    size = int.from_bytes(header[length : length + width]) & bits
    content = at + length + width
    return int.from_bytes(header[:length]), content, end if size == bits else content + size


def _read_blocks(descriptor: int, clusters: _Ints) -> NDArray[Any] | None:
    """Return a row for each block, and one of track 0 for each mention of a frame it is predicted from."""
    parts: list[NDArray[Any]] = []
    num_steps = 0
    for first, end in _batches(clusters):
        start = int(clusters[first, 0]) // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        length = int(clusters[end - 1, 2]) - start
        if length > _MAPPED_BYTES + mmap.ALLOCATIONGRANULARITY:
            return None
        try:
            mapped = mmap.mmap(descriptor, length, prot=mmap.PROT_READ, offset=start)
        except OSError:  # no room for it
            return None
        with mapped:
            walk = _Walk(np.frombuffer(mapped, dtype=np.uint8), start, clusters[first:end])
            while walk.is_sound and walk.step() and num_steps < _MAX_STEPS:
                num_steps += 1
            parts += walk.rows
            is_sound = walk.is_sound and num_steps < _MAX_STEPS
            del walk  # a map is not closed while it is looked at
        if not is_sound:
            return None
    return np.concatenate(parts)


def _batches(clusters: _Ints) -> Iterator[tuple[int, int]]:
    """Yield runs of clusters that can be mapped at once."""
    first = 0
    for end in range(1, len(clusters) + 1):
        if end == len(clusters) or clusters[end, 2] - clusters[first, 0] > _MAPPED_BYTES:
            yield first, end
            first = end


class _Walk:
    """Goes from element to element in many clusters at once.

    A group of elements is walked into as if what it holds stood in the cluster, but for what may stand there.
    """

    def __init__(self, content: _Bytes, start: int, clusters: _Ints) -> None:
        self._content, self._start = content, start
        self._at, self._end = clusters[:, 1] - start, clusters[:, 2] - start
        self._group_end = np.zeros(len(clusters), dtype=np.int64)
        self._time = np.full(len(clusters), -1, dtype=np.int64)
        self.rows: list[NDArray[Any]] = [np.empty(0, dtype=_ROW)]
        self.is_sound = True

    def step(self) -> bool:
        """Take one element of each cluster; tell whether any had one left."""
        is_open = self._at < self._end
        if not is_open.all():
            self._at, self._end = self._at[is_open], self._end[is_open]
            self._group_end, self._time = self._group_end[is_open], self._time[is_open]
        if not len(self._at):
            return False
        names = self._content[self._at]
        after = self._at + 1 + (names == _TWO_BYTES)
        sizes, widths, is_known = self._sizes(after)
        content = after + widths
        is_inside = self._at < self._group_end
        limit = np.where(is_inside, self._group_end, self._end)
        is_placed = np.where(is_inside, _IS_IN_GROUPS[names], _IS_IN_CLUSTERS[names])
        self.is_sound = bool((is_known & is_placed & (sizes <= limit - content)).all())
        if self.is_sound:
            self._take(names, content, sizes)
            is_group = names == _GROUP
            self._group_end = np.where(is_group, content + sizes, self._group_end)
            self._at = np.where(is_group, content, content + sizes)
        return True

    def _take(self, names: _Bytes, content: _Ints, sizes: _Ints) -> None:
        """Note what elements tell."""
        is_time = names == _TIMESTAMP
        if is_time.any():
            lengths = sizes[is_time]
            self.is_sound &= bool((lengths < 8).all())
            bits = (np.int64(1) << 8 * lengths) - 1
            self._time[is_time] = self._integers(content[is_time]) >> 8 * (8 - lengths) & bits
        is_block = (names == _SIMPLE_BLOCK) | (names == _BLOCK)
        self.is_sound &= bool((sizes[is_block] >= _BLOCK_HEAD_BYTES).all())
        self._note(is_block | (names == _REFERENCE), is_block, content)

    def _note(self, is_noted: NDArray[np.bool_], is_block: NDArray[np.bool_], content: _Ints) -> None:
        chosen = np.flatnonzero(is_noted)
        heads = self._bytes(content[chosen], _BLOCK_HEAD_BYTES)
        rows = np.empty(len(chosen), dtype=_ROW)
        rows["position"] = content[chosen] + self._start
        rows["pts"] = self._time[chosen] + heads[:, 1:3].copy().view(">i2")[:, 0]
        is_inside = self._at[chosen] < self._group_end[chosen]
        rows["group"] = np.where(is_inside, self._group_end[chosen] + self._start, 0)
        rows["track"] = np.where(is_block[chosen], heads[:, 0] & 0x7F, 0)
        rows["flags"] = heads[:, 3]
        is_told = ~is_block[chosen] | ((heads[:, 0] > 0x80) & (self._time[chosen] >= 0))
        self.is_sound &= bool(is_told.all())
        self.rows.append(rows)

    def _sizes(self, at: _Ints) -> tuple[_Ints, _Ints, NDArray[np.bool_]]:
        """Return sizes of elements, how many bytes they are written in, and which are told at all."""
        firsts = self._bytes(at, 1)[:, 0]
        widths, bits = _WIDTHS[firsts], _BITS[firsts]
        sizes = (self._integers(at) >> 8 * (8 - widths)) & bits
        return sizes, widths, (widths > 0) & (sizes < bits)

    def _integers(self, at: _Ints) -> _Ints:
        """Return eight bytes from each place on as a number, without its sign."""
        return self._bytes(at, 8).view(">u8")[:, 0].astype(np.int64)

    def _bytes(self, at: _Ints, count: int) -> _Bytes:
        places = np.minimum(at[:, None] + np.arange(count), len(self._content) - 1)
        found: _Bytes = self._content[places]
        return found
