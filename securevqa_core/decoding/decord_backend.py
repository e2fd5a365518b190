"""Owns reading chosen frames with decord, which hides damage: what PyAV finds damaged is damaged here too.

decord never sees an upload, but one checked stream of it, copied into memory.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding import pyav_backend
from securevqa_core.decoding.backend import FoundFrame, OpenVideo
from securevqa_core.decoding.colours import MIN_BT709_LINES
from securevqa_core.decoding.header import NO_CROP
from securevqa_core.decoding.remux import Copy, remuxed
from securevqa_core.errors import DecodeError

__all__ = ["load_decord", "read_frames", "read_frames_unchecked"]

MAX_FILE_BYTES = 512 << 20  # the stream is copied into memory
# Where decord finds the frame it is asked for, and where only if it reads on from the start; elsewhere, in
# transport streams for one, it shows another frame and says nothing.
_SEEKABLE = frozenset({"mov", "matroska", "flv"})
_SEQUENTIAL = frozenset({"avi", "mpeg", "asf"})
_NO_PICTURE = VideoFrame()


def read_frames(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted` that PyAV can decode too, as decord shows them.

    Raises:
        DecodeError: decode_failed, where decord cannot read the file or sees other frames in it.
    """
    looked_at = sorted(_looked_at(video, wanted), key=lambda known: known.number)  # decord only goes on
    reader = _Reader(video)
    for known in looked_at:
        yield FoundFrame(
            number=known.number,
            picture=reader.picture(known.number),
            is_damaged=known.is_damaged,
            is_interlaced=known.is_interlaced,
            guessed=known.guessed,
        )


def _looked_at(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield what is known of each frame that PyAV can decode, without its picture."""
    for found in pyav_backend.read_frames(video, wanted):
        if found.geometry.is_mirrored:
            raise DecodeError("decode_failed", "the video is to be mirrored, which decord does not do")
        yield replace(found, picture=_NO_PICTURE)


def read_frames_unchecked(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted` without a look by PyAV, for files that PyAV fails on.

    Raises:
        DecodeError: decode_failed, as above; decode_corrupt, where decord repeats frames it could not decode.
    """
    reader = _Reader(video)
    for number in wanted.tolist():
        picture = reader.picture(number)
        yield FoundFrame(number=number, picture=picture, is_damaged=False, is_interlaced=False)


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
        _check_display(video)
        copy = _copy(video)
        self._has_seeking = copy.has_true_keyframes and not names.isdisjoint(_SEEKABLE)
        self._reader = _open(video, copy)
        self._next = 0
        colours = video.display.colours
        self._transfer, self._primaries = colours.transfer, colours.primaries

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


def _check_display(video: OpenVideo) -> None:
    """Refuse what decord would show otherwise than a player, as far as headers tell."""
    if video.display.crop != NO_CROP:
        raise DecodeError("decode_failed", "the pictures are to be cropped, which decord does not do")
    num_lines = video.stream.codec_context.height
    if not video.display.colours.is_tagged and num_lines >= MIN_BT709_LINES:
        raise DecodeError(
            "decode_failed", f"decord takes the untagged colours of {num_lines} lines for BT.601's"
        )


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
