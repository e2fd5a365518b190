"""Owns how decode warnings begin, and which keep a row from passing: viewers may see something else."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "CLOCK_JUMPS",
    "COLOURS_GUESSED",
    "DAMAGED_FRAMES",
    "DAMAGED_SHARE",
    "DAMAGE_UNKNOWN",
    "EDITS_HIDE",
    "FALLBACK",
    "FIELD_CODED",
    "HIGH_DYNAMIC_RANGE",
    "INTERLACED",
    "MORE_WARNINGS",
    "SEVERAL_VIDEO_STREAMS",
    "SIZE_CHANGES",
    "STREAM_SHORT",
    "SUBTITLES_COVER",
    "TRACK_CHANGES",
    "WARNINGS",
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
CLOCK_JUMPS = "clock_jumps:"  # some players hold a picture for as long, or drop some; others go on
SUBTITLES_COVER = "subtitles_cover:"  # players draw them unasked, anywhere and of any size
DAMAGED_FRAMES = "damaged_frames:"  # N of M sampled frames
STREAM_SHORT = "stream_short:"  # N of M declared frames or seconds are present
# Those that change no verdict.
INTERLACED = "interlaced:"
HIGH_DYNAMIC_RANGE = "high_dynamic_range:"
COLOURS_GUESSED = "colours_guessed:"
DAMAGE_UNKNOWN = "damage_unknown:"
MORE_WARNINGS = "more_warnings:"  # as many as this are left out

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
_COUNTED = (DAMAGED_FRAMES, STREAM_SHORT)
# All that a report may hold; the last is of a row that fails with this code.
WARNINGS = (
    *_DOUBTFUL,
    *_COUNTED,
    INTERLACED,
    HIGH_DYNAMIC_RANGE,
    COLOURS_GUESSED,
    DAMAGE_UNKNOWN,
    MORE_WARNINGS,
    "display_not_understood:",
)
_COUNTS = re.compile(r"\w+: (\d+(?:\.\d+)?) of (\d+(?:\.\d+)?)\b")

# Of the sampled frames that are damaged, or of the declared ones that are missing; past it a viewer sees it.
# Past `decoding.collect.MAX_DAMAGED_SHARE` of damaged ones a video fails.
DAMAGED_SHARE = 0.02


def doubts(warnings: Iterable[str] | None) -> list[str]:
    """Return those of the warnings for which a person has to look at the video."""
    return [
        warning
        for warning in warnings or ()
        if warning.startswith(_DOUBTFUL)
        or (warning.startswith(_COUNTED) and not _damaged_share(warning) <= DAMAGED_SHARE)
    ]


def _damaged_share(warning: str) -> float:
    """Return the share of a video that a warning says is damaged or missing; all of it if it does not say."""
    counts = _COUNTS.match(warning)
    if counts is None or not float(counts[2]):
        return 1.0
    share = float(counts[1]) / float(counts[2])
    return share if warning.startswith(DAMAGED_FRAMES) else 1.0 - share
