"""Owns reading chosen frames with PyAV: seek to the keyframe before each window, decode on, skip the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.backend import FoundFrame, OpenVideo
from securevqa_core.decoding.geometry import geometry_of
from securevqa_core.decoding.probe import FrameIndex
from securevqa_core.errors import DecodeError

__all__ = ["count_frames", "read_frames"]

# Containers in which a frame has the same time stamp however it is reached. In MPEG streams FFmpeg
# interpolates stamps from where it began to read.
_SEEKABLE = frozenset({"mov", "matroska", "avi"})
_MIN_SKIP_FRAMES = 16  # decoding on is cheaper than a seek over fewer


@dataclass(frozen=True, slots=True)
class _Decoded:
    picture: VideoFrame
    is_damaged: bool


def count_frames(container: InputContainer, stream: VideoStream, index: FrameIndex) -> FrameIndex:
    """Return `index` with as many frames as decoding yields, for streams whose packets do not tell.

    Raises:
        DecodeError: no_frames.
    """
    num_frames = sum(1 for _ in _decode(container, stream)) if _rewind(container) else 0
    if not num_frames:
        raise DecodeError("no_frames", f"none of the {index.num_frames} packets could be decoded")
    return replace(index, num_frames=num_frames)


def read_frames(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted`, (k,) ascending and unique, that can be decoded, each at most once."""
    container, stream, index = video.container, video.stream, video.index
    missing = set(wanted.tolist())
    if index.pts is None:
        passes = [_by_position]
    elif _SEEKABLE.isdisjoint(container.format.name.split(",")):
        passes = [_by_time]
    else:
        passes = [_by_seeking, _by_time]  # what seeking misses or damages is read once more from the start
    for read_pass in passes:
        is_last = read_pass is passes[-1]
        for found in read_pass(container, stream, index, np.array(sorted(missing), dtype=np.int64)):
            if found.number in missing and (is_last or not found.is_damaged):
                missing.remove(found.number)
                yield found
        if not missing:
            return


def _by_seeking(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[FoundFrame]:
    """Decode window by window, from the keyframe before each."""
    assert index.pts is not None
    for keyframe, last in _windows(index, wanted):
        try:
            container.seek(int(index.pts[keyframe]), stream=stream)
        except av.error.FFmpegError:
            return
        yield from _decode_until(container, stream, index, last)


def _windows(index: FrameIndex, wanted: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (row of the keyframe to seek to, last frame to decode) of every run of frames worth a seek."""
    numbers = np.arange(index.num_frames) if index.numbers is None else index.numbers
    keyframes = np.flatnonzero(index.is_keyframe)
    if not len(keyframes):
        return []
    before = np.searchsorted(numbers[keyframes], wanted, side="right") - 1
    entries = np.where(before < 0, 0, keyframes[before])  # the first keyframe may lie before what is shown
    windows: list[tuple[int, int]] = []
    for row, number in zip(entries.tolist(), wanted.tolist(), strict=True):
        if windows and numbers[row] - windows[-1][1] <= _MIN_SKIP_FRAMES:
            windows[-1] = (windows[-1][0], number)
        else:
            windows.append((row, number))
    return windows


def _by_time(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[FoundFrame]:
    """Decode from the start, telling frames apart by their time stamps."""
    if _rewind(container):
        yield from _decode_until(container, stream, index, int(wanted[-1]))


def _by_position(
    container: InputContainer, stream: VideoStream, index: FrameIndex, wanted: NDArray[np.int64]
) -> Iterator[FoundFrame]:
    """Decode from the start, counting frames: for streams whose packets carry no usable time stamps."""
    del index  # it has no time stamps
    if not _rewind(container):
        return
    for number, decoded in enumerate(_decode(container, stream)):
        yield _found(number, decoded)
        if number >= wanted[-1]:
            return


def _rewind(container: InputContainer) -> bool:
    for by_byte in (False, True):  # raw streams have no time to seek by
        try:
            container.seek(0, unsupported_byte_offset=by_byte)
        except av.error.FFmpegError:
            continue
        return True
    return False


def _decode_until(
    container: InputContainer, stream: VideoStream, index: FrameIndex, last: int
) -> Iterator[FoundFrame]:
    for decoded in _decode(container, stream):
        if decoded.picture.pts is None:
            continue
        number, is_it = index.place_of(decoded.picture.pts)
        if is_it:
            yield _found(number, decoded)
        if number >= last:
            return


def _found(number: int, decoded: _Decoded) -> FoundFrame:
    return FoundFrame(
        number=number,
        picture=decoded.picture,
        geometry=geometry_of(decoded.picture),
        is_damaged=decoded.is_damaged,
        is_interlaced=decoded.picture.interlaced_frame,
    )


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[_Decoded]:
    """Yield every frame from here on, passing over packets the decoder refuses.

    Damage lasts until the next keyframe: decoders predict from a bad frame and say nothing.
    """
    packets = container.demux(stream)
    is_damaged = False
    while True:
        try:
            packet = next(packets)
        except MemoryError:
            raise
        except (StopIteration, av.error.FFmpegError):
            return
        try:
            for picture in packet.decode():
                is_damaged = picture.is_corrupt or (is_damaged and not picture.key_frame)
                yield _Decoded(picture, is_damaged)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            is_damaged = True
