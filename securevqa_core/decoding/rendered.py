"""Owns what is delivered of an upload: its pictures encoded anew, and decoded, before anything is sampled.

    upload     |a b c d|e f g h|i j k l|m n o p|     segments of four seconds
    sampled         .             . .                looked at by the model
    encoded    |a b c d|       |i j k l|             whole segments, each on its own
    given           c'            j' k'

A platform delivers segments that can be played from their start, so none depends on another; and an encoder
sees neighbours, which within a segment are all there. What a segment becomes is therefore the same whether
others are encoded or not. Packets are decoded as they come, and none is kept.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.codec import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from securevqa_core.decoding.backend import Backend, FoundFrame, OpenVideo
from securevqa_core.decoding.clock import Clock
from securevqa_core.decoding.pixels import Scaler
from securevqa_core.decoding.tone_mapping import is_hdr
from securevqa_core.errors import DecodeError
from securevqa_core.rendition import CODECS, Rendition

__all__ = ["encoded", "rendered", "whole_segments"]

_SEGMENT_SECONDS = 4.0
_USUAL_RATE = 25.0  # frames a second, where a file does not say
_HIGHEST_RATE = 120.0
_LOWEST_RATE = 1.0
_MIN_SIDE = 64  # pixels, that every encoder takes
_QUIET = ("SVT_LOG", "1")  # of a library that prints its settings: errors alone
_TAGS = ("colorspace", "color_range", "color_trc", "color_primaries")

_Make = Callable[..., FoundFrame]


def whole_segments(frames: NDArray[np.int64], clock: Clock) -> NDArray[np.int64]:
    """Return all frames, (k,) ascending, of the segments in which those of `frames` are."""
    size = _segment_frames(clock)
    found: NDArray[np.int64] = (np.unique(frames // size)[:, None] * size + np.arange(size)).ravel()
    return found[found < clock.num_frames]


def rendered(read_frames: Backend, rendition: Rendition) -> Backend:
    """Return a backend that gives of each frame what viewers get.

    Raises:
        DecodeError: rendition_failed, as frames are read.
    """

    def read(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
        clock = video.index.moments
        found = read_frames(video, whole_segments(wanted, clock))
        return encoded(found, rendition, clock, wanted=set(wanted.tolist()))

    return read


def encoded(
    frames: Iterator[FoundFrame], rendition: Rendition, clock: Clock, *, wanted: Collection[int]
) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted` as they are after encoding.

    Args:
        frames: whole segments, in order. One that comes out of order, as it was damaged at first, is encoded
            alone.
        rendition: how they are encoded.
        clock: of the video.
        wanted: numbers of frames.

    Raises:
        DecodeError: rendition_failed.
    """
    size, rate = _segment_frames(clock), Fraction(_rate(clock)).limit_denominator(1001)
    run: _Run | None = None
    try:
        for found in frames:
            place = (found.number // size, found.picture.width, found.picture.height)
            if run is not None and (run.place != place or found.number <= run.last):
                yield from run.finish()
                run = None
            if run is None:
                run = _Run(rendition, place, rate, wanted)
            yield from run.add(found)
        if run is not None:
            yield from run.finish()
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise DecodeError("rendition_failed", f"{rendition} cannot be made: {error.strerror}") from error


def _rate(clock: Clock) -> float:
    rate = clock.num_frames / clock.seconds if clock.seconds else _USUAL_RATE
    return min(max(rate, _LOWEST_RATE), _HIGHEST_RATE)


def _segment_frames(clock: Clock) -> int:
    return max(round(_rate(clock) * _SEGMENT_SECONDS), 1)


class _Run:
    """Frames that are encoded together."""

    def __init__(
        self, rendition: Rendition, place: tuple[int, int, int], rate: Fraction, wanted: Collection[int]
    ) -> None:
        self.place, self.last = place, -1
        self._wanted = wanted
        self._size = (place[2], place[1])
        codec = CODECS[rendition.codec]
        os.environ.setdefault(*_QUIET)
        self._encoder = cast(VideoCodecContext, CodecContext.create(codec.encoder, "w"))
        self._encoder.height, self._encoder.width = (max(side + side % 2, _MIN_SIDE) for side in self._size)
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.framerate, self._encoder.time_base = rate, 1 / rate
        self._encoder.options = {**dict(codec.options), "crf": str(rendition.quality)}
        self._decoder = cast(VideoCodecContext, CodecContext.create(codec.decoder, "r"))
        self._encoder.thread_count = self._decoder.thread_count = 1
        self._converter, self._scaler = VideoReformatter(), Scaler()
        self._waiting: dict[int, tuple[_Make, dict[str, Any]]] = {}
        self._num_frames = 0

    def add(self, found: FoundFrame) -> Iterator[FoundFrame]:
        """Encode one more, and yield what comes out."""
        self.last = found.number
        picture = self._plain(found.picture)
        if found.number in self._wanted:
            make = functools.partial(
                FoundFrame,
                number=found.number,
                is_damaged=found.is_damaged,
                is_interlaced=found.is_interlaced,
                geometry=found.geometry,
                guessed=found.guessed,
                pixel_aspect=found.pixel_aspect,
            )
            self._waiting[self._num_frames] = (make, {name: getattr(picture, name) for name in _TAGS})
        padded = self._padded(picture)
        padded.pts, padded.time_base = self._num_frames, self._encoder.time_base
        self._num_frames += 1
        yield from self._decoded(self._encoder.encode(padded))

    def finish(self) -> Iterator[FoundFrame]:
        """Yield what is left."""
        yield from self._decoded(self._encoder.encode(None))
        yield from self._made(self._decoder.decode(None))

    def _plain(self, picture: VideoFrame) -> VideoFrame:
        """Return a picture of eight bits, chroma at half the size; what is YUV keeps its colours' tags."""
        if is_hdr(picture):  # delivered in standard range, as it is judged
            shown = self._scaler.rgb(picture, height=picture.height, width=picture.width)
            picture = VideoFrame.from_ndarray(shown, format="rgb24")
        if picture.format.name in {"yuv420p", "yuvj420p"}:
            return picture
        if picture.format.is_rgb:
            plain = self._converter.reformat(
                picture,
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                threads=1,
            )
            plain.colorspace, plain.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
            return plain
        name = "yuvj420p" if picture.format.name.startswith("yuvj") else "yuv420p"
        return self._converter.reformat(picture, format=name, threads=1)

    def _padded(self, picture: VideoFrame) -> VideoFrame:
        """Return a copy without marks of the upload's encoder, its edges repeated up to the size encoded."""
        padded = VideoFrame(self._encoder.width, self._encoder.height, "yuv420p")
        for source, target in zip(_planes(picture), _planes(padded), strict=True):
            rows, columns = source.shape
            target[:rows, :columns] = source
            target[:rows, columns:] = source[:, -1:]
            target[rows:] = target[rows - 1]
        return padded

    def _decoded(self, packets: list[Packet[Any]]) -> Iterator[FoundFrame]:
        for packet in packets:
            yield from self._made(self._decoder.decode(packet))

    def _made(self, pictures: list[VideoFrame]) -> Iterator[FoundFrame]:
        for picture in pictures:
            if picture.pts not in self._waiting:
                continue
            make, tags = self._waiting.pop(picture.pts)
            cut = self._cut(picture)
            for name, value in tags.items():
                setattr(cut, name, value)
            yield make(picture=cut)

    def _cut(self, picture: VideoFrame) -> VideoFrame:
        height, width = self._size
        if (picture.height, picture.width) == (height, width):
            return picture
        cut = VideoFrame(width, height, "yuv420p")
        for source, target in zip(_planes(picture), _planes(cut), strict=True):
            target[:] = source[: target.shape[0], : target.shape[1]]
        return cut


def _planes(picture: VideoFrame) -> list[NDArray[np.uint8]]:
    """View the planes of a picture as (rows, columns) each."""
    return [
        np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)[
            : plane.height, : plane.width
        ]
        for plane in picture.planes
    ]
