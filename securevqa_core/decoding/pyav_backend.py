"""Owns reading chosen frames with PyAV: seek to the keyframe before each window, decode forward, skip the rest."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.probe import FrameIndex

__all__ = ["read_frames"]


def read_frames(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, VideoFrame]]:
    """Yield (frame number, frame) for the frames of `wanted` that can be decoded, each at most once.

    Args:
        container: open and already demuxed to its end.
        stream: the video stream of `container`.
        index: its frames.
        wanted: (k,) ascending, unique frame numbers.
    """
    missing = set(wanted.tolist())
    passes = [_by_position] if index.pts is None else [_by_seeking, _by_time]
    for read_pass in passes:  # a container that seeks badly is read once more from its start
        for number, frame in read_pass(container, stream, index, np.array(sorted(missing), dtype=np.int64)):
            if number in missing:
                missing.remove(number)
                yield number, frame
        if not missing:
            return


def _by_seeking(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode window by window; a window ends where the next wanted frame has a later keyframe of its own."""
    assert index.pts is not None
    keyframes = np.flatnonzero(index.is_keyframe)
    if not len(keyframes):
        return
    entry = keyframes[np.maximum(np.searchsorted(keyframes, wanted, side="right") - 1, 0)]
    for keyframe in np.unique(entry):
        window = wanted[entry == keyframe]
        try:
            container.seek(int(index.pts[keyframe]), stream=stream)
        except av.error.FFmpegError:
            return
        yield from _decode_until(container, stream, index, int(window[-1]))


def _by_time(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode from the start, telling frames apart by their time stamps."""
    if _rewind(container):
        yield from _decode_until(container, stream, index, int(wanted[-1]))


def _by_position(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode from the start, counting frames: for streams whose packets carry no usable time stamps."""
    if not _rewind(container):
        return
    for number, frame in enumerate(_decode(container, stream)):
        yield number, frame
        if number >= wanted[-1]:
            return


def _rewind(container: InputContainer) -> bool:
    try:
        container.seek(0)
    except av.error.FFmpegError:
        return False
    return True


def _decode_until(
    container: InputContainer, stream: VideoStream, index: FrameIndex, last: int
) -> Iterator[tuple[int, VideoFrame]]:
    assert index.pts is not None
    for frame in _decode(container, stream):
        if frame.pts is None:
            continue
        number = int(np.searchsorted(index.pts, frame.pts))
        if number < index.num_frames and index.pts[number] == frame.pts:
            yield number, frame
        if number >= last:
            return


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield every frame from here on, passing over packets the decoder refuses."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            continue
