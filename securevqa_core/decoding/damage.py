"""Owns which decoded pictures to mistrust: those that a damaged one may have been predicted for."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import av
from av.video.frame import VideoFrame

__all__ = ["DamageMark", "Place", "overheard"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a packet lies in the order of decoding; travels through the decoder to the packet's picture."""

    number: int


class DamageMark:
    """Tells which pictures may show damage: from a damaged one to the next keyframe that was sent after it.

    Decoders predict from a damaged picture and say nothing. They also hold pictures back, to show them in
    order: one that comes out after the damage may have been sent before it, and be sound. So it is the order
    in which pictures were sent that decides.
    """

    def __init__(self) -> None:
        self._num_sent = 0
        self.num_strikes = 0
        self._strikes: list[int] = []  # places of damaged packets that no keyframe has ended, ascending

    def next_place(self) -> Place:
        """Return the place of the packet that is sent now."""
        self._num_sent += 1
        return Place(self._num_sent)

    def strike(self, place: Place | None = None) -> None:
        """Take note that a packet, the one sent last if none is named, did not decode cleanly."""
        self.num_strikes += 1
        bisect.insort(self._strikes, self._num_sent if place is None else place.number)

    def covers(self, picture: VideoFrame) -> bool:
        """Tell whether a picture may show damage; ask once for each, in the order they come out."""
        place = picture.opaque if isinstance(picture.opaque, Place) else Place(self._num_sent)
        if picture.key_frame:
            self._strikes = [strike for strike in self._strikes if strike >= place.number]
        if picture.is_corrupt:
            self.strike(place)
        return bool(self._strikes) and self._strikes[0] <= place.number


@contextlib.contextmanager
def overheard() -> Iterator[list[tuple[int, str, str]]]:
    """Collect the errors that FFmpeg logs on this thread: decoders conceal much and tell the log alone."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_skip_repeated(skips)
        av.logging.set_level(level)
