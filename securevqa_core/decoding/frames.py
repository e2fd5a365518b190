"""Owns taking frames of a file whole, as a player shows them: for attacks, and to tell footage apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding import pyav_backend
from securevqa_core.decoding.backend import OpenVideo
from securevqa_core.decoding.clock import Clock
from securevqa_core.decoding.extract import opened
from securevqa_core.decoding.frame_index import index_frames, video_info
from securevqa_core.decoding.geometry import square_pixels
from securevqa_core.decoding.pixels import PlaneSplitter, Scaler
from securevqa_core.decoding.probe import check_frame_size
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, require_range

__all__ = [
    "DEFAULT_FPS",
    "MAX_FRAMES",
    "FrameSink",
    "FramesRequest",
    "WholeFrames",
    "kept_frames",
    "read_frames",
    "stream_frames",
]

DEFAULT_FPS = 25.0
MAX_FRAMES = 100_000
_MAX_START, _MAX_FPS = 1e6, 1000.0
_ROUNDED = 0.05  # of a frame's time, by which times that were rounded may fall short
MAX_KEPT_BYTES = 4 << 30  # of frames, and once more as they are put together


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesRequest:
    """Which frames to take of one file: the first ones, some of all, or what is on screen from a time on.

    Raises:
        ConfigurationError: a field is out of range.
    """

    max_frames: int = MAX_FRAMES
    max_seconds: float | None = None  # of the video; None is no limit
    every_seconds: float | None = None  # from one to the next, at least; None: each frame
    start_seconds: float = 0.0  # where `fps` is given, from which on frames are taken
    fps: float | None = (
        None  # of what is taken, whatever the video's is: what is on screen then; None: as they are
    )
    max_height: int | None = None  # pixels; higher pictures are shrunk to it; None shrinks none
    takes_luma: bool = False  # luma as it is stored, in place of RGB
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        require_range("max_frames", self.max_frames, low=1, high=MAX_FRAMES)
        for name in ("max_seconds", "every_seconds"):
            if getattr(self, name) is not None:
                require_range(name, getattr(self, name), low=0.001, high=86_400)
        require_range("start_seconds", self.start_seconds, low=0, high=_MAX_START)
        if self.fps is not None:
            require_range("fps", self.fps, low=0.001, high=_MAX_FPS)
        require_range("max_height", self.max_height or 16, low=16, high=16_384)

    @property
    def channels(self) -> int:
        """Values of a pixel."""
        return 1 if self.takes_luma else 3

    def wanted(self, clock: Clock, fps: float | None) -> NDArray[np.int64]:
        """Return the numbers of the frames that are taken, ascending; those that stay on screen again.

        Args:
            clock: of the file.
            fps: moments of it a second; None, where it does not tell, is `DEFAULT_FPS`.
        """
        rate, num_frames = fps or DEFAULT_FPS, clock.num_frames
        if self.fps is not None:
            steps = np.arange(self.max_frames) * (rate / self.fps) + self.start_seconds * rate + _ROUNDED
            return clock.on_screen(steps[steps < clock.num_moments])
        if self.max_seconds is not None:
            num_frames = min(num_frames, math.ceil(self.max_seconds * rate))
        step = 1 if self.every_seconds is None else math.ceil(self.every_seconds * rate)
        return np.arange(0, num_frames, step, dtype=np.int64)[: self.max_frames]


class FrameSink(Protocol):
    """Whom frames are given to as they are decoded."""

    def begin(self) -> None:
        """Expect the frames from the first on; those given before do not count."""

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Take one frame, (h, w, 3) RGB or (h, w, 1) luma, all of one size."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeFrames:
    """Frames of a video."""

    pixels: NDArray[np.uint8]  # (t, h, w, 3) RGB, as a player shows it, or (t, h, w, 1) luma
    fps: float | None  # frames of the video a second, None where the container does not say


class _Kept:
    """Keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[NDArray[np.uint8]] = []

    def begin(self) -> None:
        self.frames = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        self.frames.append(pixels)
        if len(self.frames) * pixels.nbytes > MAX_KEPT_BYTES:
            raise DecodeError("decode_memory", f"the frames need more than {MAX_KEPT_BYTES} bytes")


def kept_frames(take: Callable[[FrameSink], float | None]) -> WholeFrames:
    """Return all frames that `take`, which returns the frame rate, gives a sink.

    Raises:
        DecodeError: decode_memory, where they are too large together; and what `take` raises.
    """
    kept = _Kept()
    fps = take(kept)
    return WholeFrames(pixels=np.stack(kept.frames), fps=fps)


def read_frames(path: str | Path | int, request: FramesRequest | None = None) -> WholeFrames:
    """Decode frames of a file in this process: for files that one trusts.

    Args:
        path: of the file, or a descriptor of it that is open for reading.
        request: which frames; None: all.

    Raises:
        DecodeError: the file is not allowed, or its first frame cannot be decoded.
    """
    path = path if isinstance(path, int) else str(path)
    return kept_frames(lambda sink: stream_frames(path, request or FramesRequest(), sink))


def stream_frames(path: str | int, request: FramesRequest, sink: FrameSink) -> float | None:
    """Give `sink` the wanted frames up to the first that cannot be decoded; return the frames a second.

    All have the size of the first one.

    Raises:
        DecodeError: as `read_frames`.
    """
    with opened(path, request.limits, lambda container, stream, _: index_frames(container, stream)) as video:
        info = video_info(video.stream, video.index)
        wanted = request.wanted(video.index.moments, info.fps)
        num_taken = _give(video, wanted, request, sink)
        if num_taken < len(wanted) and (counted := pyav_backend.recount_frames(video)) is not None:
            info, paired = video_info(video.stream, counted), replace(video, index=counted)
            num_taken = _give(paired, request.wanted(counted.moments, info.fps), request, sink)
        if not num_taken:
            raise DecodeError("no_frames", f"none of the first {len(wanted)} frames could be decoded")
    return info.fps


def _give(video: OpenVideo, wanted: NDArray[np.int64], request: FramesRequest, sink: FrameSink) -> int:
    """Give the frames, and return how many there were."""
    sink.begin()
    num_given = 0
    for pixels in _frames(video, wanted, request):
        sink.add(pixels)
        num_given += 1
    return num_given


def _frames(
    video: OpenVideo, wanted: NDArray[np.int64], request: FramesRequest
) -> Iterator[NDArray[np.uint8]]:
    scaler, splitter, size = Scaler(), PlaneSplitter(), None
    numbers, counts = (column.tolist() for column in np.unique(wanted, return_counts=True))
    found_frames = pyav_backend.read_frames(video, np.array(numbers, dtype=np.int64))
    for number, count, found in zip(numbers, counts, found_frames, strict=False):
        if found.number != number:
            return
        picture = found.picture
        check_frame_size(picture.width, picture.height, request.limits)
        if size is None:
            aspect, most = video.display.pixel_aspect, request.limits.max_pixels
            shown = square_pixels(picture.height, picture.width, aspect, max_pixels=most)
            size = _shrunk(found.geometry.swapped(*shown), request.max_height)
        height, width = found.geometry.swapped(*size)
        if request.takes_luma:
            pixels = splitter.planes(picture, height=height, width=width)[0][..., None]
        else:
            pixels = scaler.rgb(picture, height=height, width=width)
        yield from [found.geometry.upright(pixels)] * count


def _shrunk(size: tuple[int, int], max_height: int | None) -> tuple[int, int]:
    height, width = size
    if max_height is None or height <= max_height:
        return size
    return max_height, max(1, round(width * max_height / height))
