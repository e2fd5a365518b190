"""Owns finding the frames of a long film by its container's table, without reading what lies between.

packets   K . . . . . K . . . . . K . . . . . K . . . . .     K: decoding may begin here
wanted    . . . . . . . . w w . . . . . . . . . . . . . .
read      - - - - - - r r r r r r r r - - - - - - - - - -     from the keyframe before what is wanted,
                                |---|                         `_SLACK` packets on: frames are stored
                                                              out of the order in which they are shown
"""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.clock import Clock, clock_of
from securevqa_core.decoding.film_table import FilmTable, mp4_table
from securevqa_core.decoding.frame_index import FrameIndex, trusted_times
from securevqa_core.decoding.matroska_film import index_matroska
from securevqa_core.decoding.probe import demuxed
from securevqa_core.decoding.transport_table import transport_table

__all__ = ["MIN_FILM_FRAMES", "index_film"]

MIN_FILM_FRAMES = 10_000  # in shorter files every packet is read: it costs little, and finds what tables hide
_MIN_TRANSPORT_FRAMES = 3_000  # fewer, as every frame of a stream that has no table is decoded
_SLACK = 32  # packets; a frame is shown at most 16 places from where it is stored (H.264 and HEVC, annexes)

Choose = Callable[[Clock], NDArray[np.int64]]  # -> the frames wanted, ascending and unique


def index_film(
    container: InputContainer, stream: VideoStream, descriptor: int, choose: Choose
) -> FrameIndex | None:
    """List the frames of a film, at least those around what `choose` wants, from its container's headers.

    Returns:
        None where every packet has to be read instead; the next to be read then is the first.
    """
    formats = container.format.name.split(",")
    if stream.codec_context.codec.canonical_name == "vp8":  # only its packets tell which frames are hidden
        return None
    if "matroska" in formats:
        index = index_matroska(stream, descriptor) if _may_be_long(container, stream) else None
        return index if index is not None and index.num_frames >= MIN_FILM_FRAMES else None
    table = _table(stream, formats, descriptor)
    if table is None:
        return None
    last_duration = _last_duration(stream, table) if "mov" in formats else None
    clock = clock_of(table.times, time_base=float(stream.time_base or 1), last_duration=last_duration)
    wanted = np.union1d(choose(clock), table.doubtful)
    index = _read_index(container, stream, table, wanted, clock)
    if index is None:
        container.seek(0, unsupported_byte_offset=table.positions is not None)
    return index


def _table(stream: VideoStream, formats: list[str], descriptor: int) -> FilmTable | None:
    """Return the table of a long film, None where its container has none that can be relied on."""
    if "mov" in formats and len(stream.index_entries) >= MIN_FILM_FRAMES:
        return mp4_table(stream, descriptor)
    if "mpegts" not in formats:
        return None
    table = transport_table(descriptor, stream.id, stream.start_time)
    min_frames = min(MIN_FILM_FRAMES, _MIN_TRANSPORT_FRAMES)
    return table if table is not None and len(table.dts) >= min_frames else None


def _last_duration(stream: VideoStream, table: FilmTable) -> int | None:
    """Return for how long the last frame stays, by the sum of all durations, which FFmpeg tells of MP4."""
    shown = int(table.times[-1] - table.times[0])
    return None if stream.duration is None else stream.duration - shown


def _may_be_long(container: InputContainer, stream: VideoStream) -> bool:
    """Tell whether looking for a table is worth the time, by what the file says of itself."""
    seconds, rate = (container.duration or 0) / av.time_base, stream.average_rate or stream.guessed_rate
    return rate is not None and seconds * rate >= MIN_FILM_FRAMES


def _read_index(
    container: InputContainer,
    stream: VideoStream,
    table: FilmTable,
    wanted: NDArray[np.int64],
    clock: Clock,
) -> FrameIndex | None:
    """List the frames around those that are wanted or in doubt.

    The table tells how many packets there are and where; the packets near a wanted frame, which are read,
    tell the order in which they are shown. Both must agree, packet by packet.
    """
    try:
        stretches = [_read(container, stream, table, *ends) for ends in _stretches(table, wanted)]
    except av.error.FFmpegError:
        return None
    rows = [stretch for stretch in stretches if stretch is not None]
    if len(rows) < len(stretches):
        return None
    numbers, pts, flags, positions = (np.concatenate(columns) for columns in zip(*rows, strict=True))
    if not ((numbers[1:] > numbers[:-1]).all() and (pts[1:] > pts[:-1]).all()):
        return None
    return FrameIndex(
        pts=pts,
        is_keyframe=flags,
        num_frames=len(table.dts),
        num_packets=len(table.dts),
        numbers=numbers,
        positions=None if table.positions is None else positions,
        clock=clock,
    )


def _stretches(table: FilmTable, wanted: NDArray[np.int64]) -> list[tuple[int, int]]:
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


def _keyframe_before(table: FilmTable, position: int) -> int:
    row = int(np.searchsorted(table.keyframes, position, side="right")) - 1
    return int(table.keyframes[max(row, 0)])


def _read(
    container: InputContainer, stream: VideoStream, table: FilmTable, first: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]] | None:
    """Return numbers, time stamps, keyframe flags and places of frames whose packets are all around them.

    A frame's number is its place among the time stamps of its stretch: the packets before a stretch are shown
    before all frames but its first few, and those after it after all but its last few.
    """
    stamps: list[int | None] = []
    flags: list[bool] = []
    places: list[int] = []
    start, position = 0, -1
    _seek(container, stream, table, first)
    for packet in demuxed(container, [stream]):
        if position < 0 and packet.dts is not None:
            start = position = int(np.searchsorted(table.dts, packet.dts))
        if not packet.size or position >= len(table.dts) or packet.dts != table.dts[position]:
            return None
        stamps.append(packet.pts)
        flags.append(packet.is_keyframe)
        places.append(packet.pos if packet.pos is not None else -1)
        position += 1
        if position >= end:
            break
    times = trusted_times(stamps, reorders=stream.codec_context.has_b_frames)
    if times is None or position < end or start > first:
        return None
    if table.positions is not None and places != table.positions[start:position].tolist():
        return None
    order = np.argsort(times)
    low = _SLACK if start else 0
    high = len(order) - (_SLACK if position < len(table.dts) else 0)
    inside = order[low:high]
    return start + np.arange(low, high), times[inside], np.array(flags)[inside], np.array(places)[inside]


def _seek(container: InputContainer, stream: VideoStream, table: FilmTable, row: int) -> None:
    if table.positions is None:
        container.seek(int(table.dts[row]), stream=stream)
    else:
        container.seek(int(table.positions[row]), unsupported_byte_offset=True)
