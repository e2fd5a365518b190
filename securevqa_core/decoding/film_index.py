"""Owns finding the frames of a long film by their container's table, without reading what lies between."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.probe import FrameIndex, trusted_times

__all__ = ["MIN_FILM_FRAMES", "index_film"]

MIN_FILM_FRAMES = 10_000  # in shorter files every packet is read: it costs little, and finds what tables hide
_SLACK = 32  # packets; a frame is shown at most 16 places from where it is stored (H.264 and HEVC, annexes)
_MAX_BOXES = 64  # at the top of a file that is not fragmented
_BOX_HEADER_BYTES = 16
_ROW = np.dtype(
    [("dts", "i8"), ("position", "i8"), ("size", "i8"), ("is_keyframe", "?"), ("is_discard", "?")]
)

Choose = Callable[[int], NDArray[np.int64]]  # number of frames -> those wanted, ascending and unique


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """The packets of a stream in file order, as MP4's tables list them."""

    dts: NDArray[np.int64]  # (num_packets,) strictly ascending, in stream time base
    keyframes: NDArray[np.int64]  # (k,) ascending positions in file order


def index_film(
    container: InputContainer, stream: VideoStream, descriptor: int, choose: Choose
) -> FrameIndex | None:
    """List the frames around those that `choose` wants; None where every packet has to be read instead.

    The table tells how many packets there are and where; the packets near a wanted frame, which are read,
    tell the order in which they are shown. Both must agree, packet by packet.
    """
    table = _read_table(container, stream, descriptor)
    if table is None:
        return None
    index = _read_index(container, stream, table, choose(len(table.dts)))
    if index is None:
        container.seek(0)  # whoever reads every packet begins at the first
    return index


def _read_index(
    container: InputContainer, stream: VideoStream, table: _Table, wanted: NDArray[np.int64]
) -> FrameIndex | None:
    try:
        stretches = [_read(container, stream, table, *ends) for ends in _stretches(table, wanted)]
    except av.error.FFmpegError:
        return None
    rows = [stretch for stretch in stretches if stretch is not None]
    if len(rows) < len(stretches):
        return None
    numbers, pts, flags = (np.concatenate(columns) for columns in zip(*rows, strict=True))
    if not ((numbers[1:] > numbers[:-1]).all() and (pts[1:] > pts[:-1]).all()):
        return None
    return FrameIndex(
        pts=pts,
        is_keyframe=flags,
        num_frames=len(table.dts),
        num_packets=len(table.dts),
        numbers=numbers,
        duration=int(table.dts[-1] - table.dts[0] + np.median(np.diff(table.dts))),
    )


def _read_table(container: InputContainer, stream: VideoStream, descriptor: int) -> _Table | None:
    """Return the table of a long, whole MP4 file without fragments; None for any other."""
    entries = stream.index_entries
    is_mov = "mov" in container.format.name.split(",")
    # An edit list that cuts something off shows in these numbers, or in packets to be discarded.
    if not is_mov or len(entries) < MIN_FILM_FRAMES or len(entries) != stream.frames:
        return None
    rows = (
        (entry.timestamp, entry.pos, entry.size, entry.is_keyframe, entry.is_discard) for entry in entries
    )
    table = np.fromiter(rows, dtype=_ROW, count=len(entries))
    dts, is_keyframe = table["dts"], table["is_keyframe"]
    is_sound = (dts[1:] > dts[:-1]).all() and table["size"].min() > 0 and not table["is_discard"].any()
    size_bytes = os.fstat(descriptor).st_size
    is_whole = (table["position"] + table["size"]).max() <= size_bytes
    hides_frames = stream.codec_context.codec.canonical_name == "vp8"  # only its packets tell which
    if not (is_sound and is_whole and is_keyframe[0]) or hides_frames or _has_fragments(descriptor):
        return None
    return _Table(dts=dts.copy(), keyframes=np.flatnonzero(is_keyframe))


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


def _stretches(table: _Table, wanted: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (first, end) of every run of packets to read, in file order."""
    stretches: list[tuple[int, int]] = []
    for number in wanted.tolist():
        entry = _keyframe_before(table, number - _SLACK)  # where decoding may have to begin
        first, end = _keyframe_before(table, entry - _SLACK), min(number + 2 * _SLACK, len(table.dts))
        if stretches and first <= stretches[-1][1] + _SLACK:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((first, end))
    return stretches


def _keyframe_before(table: _Table, position: int) -> int:
    row = int(np.searchsorted(table.keyframes, position, side="right")) - 1
    return int(table.keyframes[max(row, 0)])


def _read(
    container: InputContainer, stream: VideoStream, table: _Table, first: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]] | None:
    """Return the numbers, time stamps and keyframe flags of frames whose packets are all around them.

    A frame's number is its place among the time stamps of its stretch: the packets before a stretch are shown
    before all frames but its first few, and those after it after all but its last few.
    """
    stamps: list[int | None] = []
    flags: list[bool] = []
    start, position = 0, -1
    container.seek(int(table.dts[first]), stream=stream)
    for packet in container.demux(stream):
        if position < 0 and packet.dts is not None:
            start = position = int(np.searchsorted(table.dts, packet.dts))
        if not packet.size or packet.dts != table.dts[position]:
            return None
        stamps.append(packet.pts)
        flags.append(packet.is_keyframe)
        position += 1
        if position >= end:
            break
    times = trusted_times(stamps, reorders=stream.codec_context.has_b_frames)
    if times is None or position < end or start > first:
        return None
    order = np.argsort(times)
    low = _SLACK if start else 0
    high = len(order) - (_SLACK if position < len(table.dts) else 0)
    inside = order[low:high]
    return start + np.arange(low, high), times[inside], np.array(flags)[inside]
