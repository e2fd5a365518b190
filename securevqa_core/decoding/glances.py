"""Owns the glances that a fingerprint is made of: a few of the frames that come anyway, shrunk and averaged.

No frame is decoded for them: of those a model looks at, the nearest to 64 evenly spread moments are taken.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding.geometry import UPRIGHT, Geometry
from securevqa_core.decoding.pixels import Scaler

__all__ = ["GLANCES_SHAPE", "MOMENTS", "Glances", "glances_of"]

MOMENTS = 64
_PARTS, _SIDE = 4, 64  # quarters of the time, and pixels
GLANCES_SHAPE = (_PARTS, _SIDE, _SIDE)
_LUMA = np.array([0.299, 0.587, 0.114])


class Glances:
    """Takes small pictures of a few frames as they come; `mean` is what they come to.

    Args:
        frames: (64,) numbers of the frames in the middle of as many equal parts of the video's time.
        wanted: (k,) ascending, the frames that will come.
    """

    def __init__(self, frames: NDArray[np.int64], wanted: NDArray[np.int64]) -> None:
        after = np.searchsorted(wanted, frames).clip(max=len(wanted) - 1)
        before = (after - 1).clip(min=0)
        is_before = np.abs(wanted[before] - frames) <= np.abs(wanted[after] - frames)
        self._chosen = np.where(is_before, wanted[before], wanted[after])
        self._pictures: dict[int, NDArray[np.float64]] = {}
        self._shrinker = Scaler()

    def add(self, number: int, picture: VideoFrame, geometry: Geometry = UPRIGHT) -> None:
        """Take a frame, if it is one of the chosen."""
        if number in self._chosen:
            small = geometry.upright(self._shrinker.shrunk(picture, height=_SIDE, width=_SIDE))
            self._pictures[number] = small @ _LUMA

    def mean(self) -> NDArray[np.uint8]:
        """Return (4, 64, 64), the mean luma of each quarter; a frame that did not come is its neighbour's."""
        there = np.array(sorted(self._pictures))
        nearest = [there[np.argmin(np.abs(there - number))] for number in self._chosen.tolist()]
        pictures = np.stack([self._pictures[int(number)] for number in nearest])
        quarters = pictures.reshape(_PARTS, MOMENTS // _PARTS, _SIDE, _SIDE).mean(axis=1)
        return np.asarray(quarters.round(), dtype=np.uint8)


def glances_of(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the glances, (4, 64, 64), of frames that are in memory, (t, h, w, 3) uint8 RGB."""
    numbers = (np.arange(MOMENTS) * 2 + 1) * len(frames) // (2 * MOMENTS)
    glances = Glances(numbers, np.arange(len(frames)))
    for number in np.unique(numbers).tolist():
        glances.add(number, VideoFrame.from_ndarray(np.ascontiguousarray(frames[number]), format="rgb24"))
    return glances.mean()
