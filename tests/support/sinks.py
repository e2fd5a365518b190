"""Owns a sink that keeps the whole frames of a video, to look at them one by one."""

from __future__ import annotations

from securevqa_core.whole_frames import Planes

__all__ = ["KeptFrames"]


class KeptFrames:
    """What a video was said to be, and its frames by number."""

    def __init__(self) -> None:
        self.frames: dict[int, Planes] = {}

    def begin(self, num_moments: int, fps: float | None) -> None:
        self.length = (num_moments, fps)

    def add(self, number: int, planes: Planes) -> None:
        self.frames[number] = planes
