"""Owns which decode warnings keep a row from passing: what is shown may not be what was scored."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["FALLBACK", "FIELD_CODED", "SEVERAL_VIDEO_STREAMS", "TRACK_CHANGES", "doubts"]

# How warnings begin.
FALLBACK = "fallback:"  # another decoder had to read the file
SEVERAL_VIDEO_STREAMS = "several_video_streams:"  # a player may show another one
TRACK_CHANGES = "track_changes:"  # the picture goes on in another track, which was not read
FIELD_CODED = "field_coded:"  # each picture is every second row of what is shown

_DOUBTFUL = (FALLBACK, SEVERAL_VIDEO_STREAMS, TRACK_CHANGES, FIELD_CODED)


def doubts(warnings: Iterable[str] | None) -> list[str]:
    """Return those of the warnings for which a person has to look at the video."""
    return [warning for warning in warnings or () if warning.startswith(_DOUBTFUL)]
