"""Owns what is known of a long film's packets before any is read, and how MP4's own table tells it."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass, field

import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

__all__ = ["FilmTable", "mp4_table"]

_MAX_BOXES = 64  # at the top of a file that is not fragmented
_BOX_HEADER_BYTES = 16
_ROW = np.dtype(
    [("dts", "i8"), ("position", "i8"), ("size", "i8"), ("is_keyframe", "?"), ("is_discard", "?")]
)
_row = operator.attrgetter("timestamp", "pos", "size", "is_keyframe", "is_discard")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilmTable:
    """The packets of a stream in file order."""

    dts: NDArray[np.int64]  # (num_packets,) strictly ascending, in stream time base
    keyframes: NDArray[np.int64]  # (k,) ascending rows where decoding may begin; the first is 0
    positions: NDArray[np.int64] | None = None  # (num_packets,) bytes from the file's start, to seek to
    doubtful: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )  # rows to look at
    times: NDArray[np.int64]  # (num_packets,) ascending, when frames are shown, but for a delay of all


def mp4_table(stream: VideoStream, descriptor: int) -> FilmTable | None:
    """Return the table of a whole MP4 file without fragments; None for any other."""
    entries = stream.index_entries
    # An edit list that cuts something off shows in these numbers, or in packets to be discarded.
    if not len(entries) or len(entries) != stream.frames:
        return None
    table = np.fromiter(map(_row, entries), dtype=_ROW, count=len(entries))
    dts, is_keyframe = table["dts"].copy(), table["is_keyframe"]
    is_sound = (dts[1:] > dts[:-1]).all() and table["size"].min() > 0 and not table["is_discard"].any()
    size_bytes = os.fstat(descriptor).st_size
    is_whole = (table["position"] + table["size"]).max() <= size_bytes
    if not (is_sound and is_whole and is_keyframe[0]) or _has_fragments(descriptor):
        return None
    return FilmTable(dts=dts, keyframes=np.flatnonzero(is_keyframe), times=dts)


def _has_fragments(descriptor: int) -> bool:
    """Tell whether packets may lie in fragments too, which the table does not list."""
    start = 0
    for _ in range(_MAX_BOXES):
        header = os.pread(descriptor, _BOX_HEADER_BYTES, start)
        if len(header) < _BOX_HEADER_BYTES or header[4:8] == b"moof":
            return header[4:8] == b"moof"
        size = int.from_bytes(header[:4])
        if size == 1:  # the real one follows in 64 bits
            size = int.from_bytes(header[8:])
        if size == 0:  # it lasts to the end
            return False
        start += max(size, 8)
    return True
