"""Owns what a decoding backend is given and what it gives, and the names of those there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.geometry import Geometry
from securevqa_core.decoding.probe import FrameIndex

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFrame:
    """One decoded frame."""

    number: int  # in the order of display
    picture: VideoFrame
    geometry: Geometry  # what is left to do to `picture`
    is_damaged: bool  # it, or a frame it may have been predicted from, did not decode cleanly
    is_interlaced: bool


# Yields those of the frames asked for, (k,) ascending unique numbers, that can be decoded, each at most once.
Backend = Callable[[OpenVideo, NDArray[np.int64]], Iterator[FoundFrame]]
