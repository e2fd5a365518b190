"""Owns the luma of decoded frames as it is stored; a conversion to grey depends on chroma and colour tags."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["full_range_luma", "luma_plane"]

_PLANAR = "yuv420p"  # 8 bits, luma first
_FULL = 2  # FFmpeg's number of the range 0..255
_BLACK, _STEPS = 16, 219  # of the other one


def luma_plane(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return the luma of a frame, (h, w), in the range it is stored in, brought to 8 bits."""
    if frame.format.name != _PLANAR:
        frame = frame.reformat(format=_PLANAR)
    plane = frame.planes[0]
    rows = np.frombuffer(bytes(plane), dtype=np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def full_range_luma(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return `luma_plane` on 0..255, whatever range it is stored in."""
    luma = luma_plane(frame)
    if frame.color_range == _FULL:
        return luma
    levels = (luma.astype(np.float32) - _BLACK) * (255 / _STEPS)
    return levels.round().clip(0, 255).astype(np.uint8)
