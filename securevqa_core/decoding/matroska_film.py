"""Owns the index of a long Matroska or WebM film: what block headers tell, held against what FFmpeg reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from securevqa_core.decoding.clock import clock_of
from securevqa_core.decoding.frame_index import FrameIndex, trusted_times
from securevqa_core.decoding.matroska_index import MatroskaFrames, matroska_frames
from securevqa_core.decoding.probe import demuxed, open_container

__all__ = ["index_matroska"]

_NUM_CHECKED = 64  # packets at the start that must be where headers say, and when


def index_matroska(stream: VideoStream, descriptor: int) -> FrameIndex | None:
    """List every frame of a whole file whose blocks, cues and end agree with what FFmpeg reads; else None.

    The stream's own container is left as it is: seeking has FFmpeg take in the cues, and were they to lie,
    whoever reads on from its start would begin elsewhere.
    """
    try:
        with _another_look(descriptor) as container:
            same = next(other for other in container.streams.video if other.index == stream.index)
            checked = _checked_frames(container, same, descriptor)
    except av.error.FFmpegError:
        return None
    if checked is None:
        return None
    frames, end = checked
    times = trusted_times(frames.pts.tolist(), reorders=stream.codec_context.has_b_frames)
    if times is None:
        return None
    order = np.argsort(times)
    num_frames = len(order)
    last_duration = end - int(times[order[-1]])
    clock = clock_of(times[order], time_base=float(stream.time_base or 1), last_duration=last_duration)
    return FrameIndex(
        pts=times[order],
        is_keyframe=frames.is_keyframe[order],
        num_frames=num_frames,
        num_packets=num_frames,
        clock=clock,
    )


@contextlib.contextmanager
def _another_look(descriptor: int) -> Iterator[InputContainer]:
    """Open the file once more; readers share one place in it, which is put back."""
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        with open_container(descriptor) as container:
            yield container
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)


def _checked_frames(
    container: InputContainer, stream: VideoStream, descriptor: int
) -> tuple[MatroskaFrames, int] | None:
    """Return the frames, and when the last of them is over."""
    head, _ = _packets(container, stream, _NUM_CHECKED)
    frames = matroska_frames(descriptor, head[0][0]) if head else None
    if frames is None or not frames.is_keyframe[0] or _rows(frames, 0, len(head)) != head:
        return None
    last = int(np.flatnonzero(frames.is_keyframe)[-1])
    container.seek(int(frames.pts[last]), stream=stream)
    tail, end = _packets(container, stream, len(frames.pts))
    first = len(frames.pts) - len(tail)
    if first > last or _rows(frames, first, len(frames.pts)) != tail:
        return None
    return (frames, end) if _has_honest_cues(stream, frames) else None


def _packets(
    container: InputContainer, stream: VideoStream, number: int
) -> tuple[list[tuple[int, int]], int]:
    """Return where the next packets are and when they are shown, and when all of them are over."""
    packets: list[tuple[int, int]] = []
    end = 0
    for packet in demuxed(container, [stream]):
        if packet.size:
            packets.append((_known(packet.pos), _known(packet.pts)))
            end = max(end, _known(packet.pts) + (packet.duration or 0))
        if len(packets) == number:
            break
    return packets, end


def _known(value: int | None) -> int:
    return -1 if value is None else value


def _rows(frames: MatroskaFrames, first: int, end: int) -> list[tuple[int, int]]:
    return list(zip(frames.positions[first:end].tolist(), frames.pts[first:end].tolist(), strict=True))


def _has_honest_cues(stream: VideoStream, frames: MatroskaFrames) -> bool:
    """Tell whether each place that FFmpeg may seek to is the cluster where such a frame is."""
    order = np.argsort(frames.pts)
    entries = np.array([(entry.timestamp, entry.pos) for entry in stream.index_entries], dtype=np.int64)
    rows = order[np.searchsorted(frames.pts[order], entries[:, 0]).clip(max=len(order) - 1)]
    return bool((frames.pts[rows] == entries[:, 0]).all() and (frames.clusters[rows] == entries[:, 1]).all())
