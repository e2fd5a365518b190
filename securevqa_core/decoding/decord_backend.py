"""Owns reading chosen frames with decord, which hides damage: what PyAV finds damaged is damaged here too.

decord never sees an upload, but one checked stream of it, copied into memory.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding import pyav_backend
from securevqa_core.decoding.backend import FoundFrame, OpenVideo
from securevqa_core.decoding.remux import Copy, remuxed
from securevqa_core.errors import DecodeError

__all__ = ["load_decord", "read_frames", "read_frames_unchecked"]

MAX_FILE_BYTES = 512 << 20  # the stream is copied into memory
# Where decord finds the frame it is asked for, and where only if it reads on from the start; elsewhere, in
# transport streams for one, it shows another frame and says nothing.
_SEEKABLE = frozenset({"mov", "matroska", "flv"})
_SEQUENTIAL = frozenset({"avi", "mpeg", "asf"})


def read_frames(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted` that PyAV can decode too, as decord shows them.

    Raises:
        DecodeError: decode_failed, where decord cannot read the file or sees other frames in it.
    """
    known = sorted(_looked_at(video, wanted))  # PyAV goes back to what it misses; decord only goes on
    reader = _Reader(video)
    for number, is_damaged, is_interlaced in known:
        yield FoundFrame(
            number=number,
            picture=reader.picture(number),
            is_damaged=is_damaged,
            is_interlaced=is_interlaced,
            is_upright=True,
        )


def _looked_at(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[tuple[int, bool, bool]]:
    """Yield number, damage and interlacing of each frame that PyAV can decode."""
    for position, found in enumerate(pyav_backend.read_frames(video, wanted)):
        if position == 0 and found.geometry.is_mirrored:
            raise DecodeError("decode_failed", "the video is to be mirrored, which decord does not do")
        yield found.number, found.is_damaged, found.is_interlaced


def read_frames_unchecked(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted` without a look by PyAV, for files that PyAV fails on.

    Raises:
        DecodeError: decode_failed, as above; decode_corrupt, where decord repeats frames it could not decode.
    """
    reader = _Reader(video)
    for number in wanted.tolist():
        picture = reader.picture(number)
        yield FoundFrame(
            number=number, picture=picture, is_damaged=False, is_interlaced=False, is_upright=True
        )


@functools.cache
def load_decord() -> Any:
    """Import decord, which takes half a second, and have it keep its complaints to itself."""
    import decord  # noqa: PLC0415

    decord.logging.set_level(decord.logging.QUIET)
    return decord


class _Reader:
    """decord's reader of one file, which finds the right frame."""

    def __init__(self, video: OpenVideo) -> None:
        names = set(video.container.format.name.split(","))
        if names.isdisjoint(_SEEKABLE | _SEQUENTIAL):
            raise DecodeError("decode_failed", f"decord misplaces frames in {video.container.format.name}")
        copy = _copy(video)
        self._has_seeking = copy.has_true_keyframes and not names.isdisjoint(_SEEKABLE)
        self._reader = _open(video, copy)
        self._next = 0
        context = video.stream.codec_context
        self._transfer, self._primaries = context.color_trc, context.color_primaries

    def picture(self, number: int) -> VideoFrame:
        """Return frame `number`; they must be asked for in ascending order."""
        decord = load_decord()
        try:
            pixels = self._read(number).asnumpy()
        except decord.DECORDLimitReachedError as error:
            raise DecodeError("decode_corrupt", f"decord repeats a frame at or before {number}") from error
        except (decord.DECORDError, RuntimeError, StopIteration) as error:
            raise DecodeError("decode_failed", f"decord cannot decode frame {number}") from error
        picture = VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.color_trc, picture.color_primaries = self._transfer, self._primaries
        return picture

    def _read(self, number: int) -> Any:
        if self._has_seeking:
            self._reader.seek_accurate(number)
            return self._reader.next()
        while self._next < number:
            self._reader.next()
            self._next += 1
        self._next += 1
        return self._reader.next()


def _open(video: OpenVideo, copy: Copy) -> Any:
    decord = load_decord()
    try:
        reader = decord.VideoReader(copy.content, num_threads=1, fault_tol=1)
    except (decord.DECORDError, AssertionError, RuntimeError) as error:
        raise DecodeError("decode_failed", "decord cannot read the file") from error
    if len(reader) != video.index.num_frames:
        raise DecodeError(
            "decode_failed", f"decord counts {len(reader)} frames, the packets hold {video.index.num_frames}"
        )
    return reader


def _copy(video: OpenVideo) -> Copy:
    """Return the stream alone: decord's FFmpeg of 2018 knows no allow-list and chooses its own stream."""
    size_bytes = os.fstat(video.descriptor).st_size
    if size_bytes > MAX_FILE_BYTES:
        raise DecodeError(
            "decode_failed", f"decord is given files of at most {MAX_FILE_BYTES} bytes, got {size_bytes}"
        )
    return remuxed(video)
