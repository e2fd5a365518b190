"""Owns what a decoding backend is given and what it gives, and the names of those there are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.frame_index import FrameIndex
from securevqa_core.decoding.geometry import UPRIGHT, Geometry, geometry_of
from securevqa_core.decoding.probe import open_video
from securevqa_core.types import DecodeLimits

__all__ = ["Backend", "BackendName", "Decoder", "FoundFrame", "OpenVideo"]

BackendName = Literal["pyav", "decord"]
Decoder = Literal["auto", "pyav", "decord"]  # auto: PyAV, and decord where PyAV fails


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVideo:
    """A file that has passed the allow-list."""

    descriptor: int  # of the file, open for reading
    container: InputContainer  # demuxed to its end
    stream: VideoStream
    index: FrameIndex
    limits: DecodeLimits = field(default_factory=DecodeLimits)

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
    picture: VideoFrame
    is_damaged: bool  # it, or a frame it may have been predicted from, did not decode cleanly
    is_interlaced: bool
    is_upright: bool = False  # the backend has turned it already

    @property
    def geometry(self) -> Geometry:
        """What is left to do to `picture`.

        Read where it is needed alone: reading it ties a picture to itself, so that its buffer waits for the
        garbage collector, and a decoder that gets no buffer back allocates and clears one for every frame.
        """
        return UPRIGHT if self.is_upright else geometry_of(self.picture)


# Yields those of the frames asked for, (k,) ascending unique numbers, that can be decoded, each at most once.
Backend = Callable[[OpenVideo, NDArray[np.int64]], Iterator[FoundFrame]]
