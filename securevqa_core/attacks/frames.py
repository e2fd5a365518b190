"""Owns decoding the first frames of a file whole, which an attack perturbs and scoring never keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding import pyav_backend
from securevqa_core.decoding.backend import OpenVideo
from securevqa_core.decoding.extract import opened
from securevqa_core.decoding.frame_index import index_frames, video_info
from securevqa_core.decoding.geometry import square_pixels
from securevqa_core.decoding.pixels import Scaler
from securevqa_core.decoding.probe import check_frame_size
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, require_range

__all__ = ["DEFAULT_FPS", "MAX_FRAMES", "WholeFrames", "read_frames"]

DEFAULT_FPS = 25.0
MAX_FRAMES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeFrames:
    """The beginning of a video."""

    pixels: NDArray[np.uint8]  # (t, h, w, 3) RGB, as a player shows it
    fps: float | None  # frames a second, None where the container does not say


def read_frames(
    path: str | Path | int,
    *,
    max_frames: int = MAX_FRAMES,
    max_seconds: float | None = None,
    max_height: int | None = None,
    limits: DecodeLimits | None = None,
) -> WholeFrames:
    """Decode the first frames of a file in this process: for files that one trusts.

    Args:
        path: of the file, or a descriptor of it that is open for reading.
        max_frames: how many are read at most.
        max_seconds: likewise; None is no limit. Files that tell no frame rate have `DEFAULT_FPS`.
        max_height: higher pictures are shrunk to it; None shrinks none.
        limits: pixels a frame may have.

    Raises:
        DecodeError: the file is not allowed, or its first frame cannot be decoded.
        ConfigurationError: `max_frames`, `max_seconds` or `max_height` is out of range.
    """
    require_range("max_frames", max_frames, low=1, high=MAX_FRAMES)
    require_range("max_seconds", 1.0 if max_seconds is None else max_seconds, low=0.001, high=86_400)
    require_range("max_height", max_height or 16, low=16, high=16_384)
    limits = limits or DecodeLimits()
    descriptor_or_path = path if isinstance(path, int) else str(path)
    with opened(
        descriptor_or_path, limits, lambda container, stream, _: index_frames(container, stream)
    ) as video:
        info = video_info(video.stream, video.index)
        if max_seconds is not None:
            max_frames = min(max_frames, math.ceil(max_seconds * (info.fps or DEFAULT_FPS)))
        wanted = np.arange(min(max_frames, info.num_frames), dtype=np.int64)
        pixels = _read(video, wanted, max_height=max_height, limits=limits)
        if len(pixels) < len(wanted) and (counted := pyav_backend.recount_frames(video)) is not None:
            info, paired = video_info(video.stream, counted), replace(video, index=counted)
            pixels = _read(paired, wanted[: info.num_frames], max_height=max_height, limits=limits)
    return WholeFrames(pixels=pixels, fps=info.fps)


def _read(
    video: OpenVideo, wanted: NDArray[np.int64], *, max_height: int | None, limits: DecodeLimits
) -> NDArray[np.uint8]:
    """Return the wanted frames up to the first that cannot be decoded, all in the size of the first one."""
    scaler = Scaler()
    size: tuple[int, int] | None = None
    frames: list[NDArray[np.uint8]] = []
    for found in pyav_backend.read_frames(video, wanted):
        if found.number != len(frames):
            break
        picture = found.picture
        check_frame_size(picture.width, picture.height, limits)
        if size is None:
            aspect = video.display.pixel_aspect
            shown = square_pixels(picture.height, picture.width, aspect, max_pixels=limits.max_pixels)
            size = _shrunk(found.geometry.swapped(*shown), max_height)
        height, width = found.geometry.swapped(*size)
        frames.append(found.geometry.upright(scaler.rgb(picture, height=height, width=width)))
    if not frames:
        raise DecodeError("no_frames", f"none of the first {len(wanted)} frames could be decoded")
    return np.stack(frames)


def _shrunk(size: tuple[int, int], max_height: int | None) -> tuple[int, int]:
    height, width = size
    if max_height is None or height <= max_height:
        return size
    return max_height, max(1, round(width * max_height / height))
