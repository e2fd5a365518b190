"""Owns which decode warnings keep a row from passing: what is shown may not be what was scored."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "CLOCK_JUMPS",
    "EDITS_HIDE",
    "FALLBACK",
    "FIELD_CODED",
    "SEVERAL_VIDEO_STREAMS",
    "SIZE_CHANGES",
    "SUBTITLES_COVER",
    "TRACK_CHANGES",
    "doubts",
]

# How warnings begin.
FALLBACK = "fallback:"  # another decoder had to read the file
SEVERAL_VIDEO_STREAMS = "several_video_streams:"  # a player may show another one
TRACK_CHANGES = "track_changes:"  # the picture goes on in another track, which was not read
FIELD_CODED = "field_coded:"  # each picture is every second row of what is shown
SIZE_CHANGES = (
    "size_changes:"  # all pictures were scaled to the size of one, and players show each at its own
)
EDITS_HIDE = "edits_hide:"  # some players pass over edit lists, and show what they cut out
CLOCK_JUMPS = "clock_jumps:"  # some players hold a picture for as long, others go on
SUBTITLES_COVER = "subtitles_cover:"  # players draw them unasked, anywhere and of any size

_DOUBTFUL = (
    FALLBACK,
    SEVERAL_VIDEO_STREAMS,
    TRACK_CHANGES,
    FIELD_CODED,
    SIZE_CHANGES,
    EDITS_HIDE,
    CLOCK_JUMPS,
    SUBTITLES_COVER,
)


def doubts(warnings: Iterable[str] | None) -> list[str]:
    """Return those of the warnings for which a person has to look at the video."""
    return [warning for warning in warnings or () if warning.startswith(_DOUBTFUL)]
