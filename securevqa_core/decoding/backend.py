"""Owns what a decoding backend is given and what it gives, and the names of those there are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.display import Display, read_display
from securevqa_core.decoding.frame_index import FrameIndex
from securevqa_core.decoding.geometry import UPRIGHT, Geometry
from securevqa_core.decoding.probe import open_video
from securevqa_core.types import DecodeLimits, Decoder

__all__ = ["Backend", "BackendName", "Decoder", "FoundFrame", "OpenVideo"]

BackendName = Literal["pyav", "decord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVideo:
    """A file that has passed the allow-list; making one reads how its pictures are shown.

    Raises:
        DecodeError: display_not_understood.
    """

    descriptor: int  # of the file, open for reading
    container: InputContainer  # demuxed to its end
    stream: VideoStream
    index: FrameIndex
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    display: Display = None  # type: ignore[assignment]  # None: as the headers have it, read here

    def __post_init__(self) -> None:
        # Decoders cut off less on the left than streams tell them, for alignment, unless they are told this.
        self.stream.codec_context.flags |= Flags.unaligned
        if self.display is None:
            object.__setattr__(self, "display", read_display(self.container, self.stream, self.descriptor))

    @contextlib.contextmanager
    def reopened(self) -> Iterator[OpenVideo]:
        """Give the same video at its first packet: not every seek leads back there.

        Where a clock turns, time zero is in mid-file; and a first frame that nobody marked as one to begin at
        is found by no seek.
        """
        with open_video(self.descriptor, self.limits) as (container, stream):
            yield replace(self, container=container, stream=stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFrame:
    """One decoded frame."""

    number: int  # in the order of display
    picture: VideoFrame  # cropped, and its colours known
    is_damaged: bool  # it, or a frame it may have been predicted from, did not decode cleanly
    is_interlaced: bool
    geometry: Geometry = UPRIGHT  # what is left to do to `picture`
    guessed: str | None = None  # of its colours
    pixel_aspect: Fraction | None = None  # that the codec tells; None where it does not


# Yields those of the frames asked for, (k,) ascending unique numbers, that can be decoded, each at most once.
Backend = Callable[[OpenVideo, NDArray[np.int64]], Iterator[FoundFrame]]
