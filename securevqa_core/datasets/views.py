"""Owns the views: which short clips are taken from a source, shrunk so much that they are sharp."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

import numpy as np

from securevqa_core.datasets.seeding import generator
from securevqa_core.datasets.sources import PHOTO_FPS, Source
from securevqa_core.datasets.steps import ClipFormat
from securevqa_core.errors import DatasetError

__all__ = [
    "FRAMES",
    "MIN_FOOTAGE_SIDE",
    "MIN_PHOTO_SIDE",
    "MIN_SIDE",
    "NUM_FRAMES",
    "Box",
    "Kinds",
    "View",
    "needed",
    "plan_views",
    "view_from_json",
    "view_to_json",
    "whole_view",
]

NUM_FRAMES = 48
FRAMES = "as shown"  # from a cell; those of earlier data sets are others, and cannot be made again
MAX_FPS = 31.0  # of a clip: above it every other frame of the source is left out
MIN_SIDE = 224  # pixels, of a clip: the grid of the models
SMALL_SIDE = 112  # likewise, of a clip that the models have to enlarge
SMALL_SHARE = 0.2  # of the views
MIN_SHRINK = 1.35  # a source is shrunk at least so much, or it is left out
GOOD_SHRINK = 2.0  # and so much where it has the pixels
MAX_PAN = 1.5  # clip pixels a frame, faster than which a photograph no longer looks filmed
_LONG_SIDES = (320, 400, 480, 640, 854, 960)
_SMALL_LONG_SIDES = (160, 176, 192, 208, 256)
_NEARLY = 1.01  # a side may be a hundredth short, as sides are even numbers
_PAN_ROOM = 1.1  # of a photograph's sides to those that a pan sees
MIN_FOOTAGE_SIDE = math.ceil(MIN_SIDE * MIN_SHRINK / _NEARLY)  # pixels, of the shorter one
MIN_PHOTO_SIDE = math.ceil(MIN_SIDE * MIN_SHRINK / _NEARLY * _PAN_ROOM)  # likewise
_ZOOM_RANGE = (0.93, 1.07)  # of the width of a pan's last box to that of its first

_KINDS = ("is_grey", "is_still")  # of a view, in its plan

Box = tuple[float, float, float]  # left, top, width, in pixels of the source


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One pristine clip to be taken from a source."""

    view_id: str
    source: Source
    clip: ClipFormat
    start_seconds: float = 0.0  # of an excerpt
    boxes: tuple[Box, ...] = ()  # of a pan, one for each frame
    is_grey: bool = False  # without colour, as it may be meant
    is_still: bool = False  # its first frame all the time, as of a slide


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """The shares of views, 0..1, that are of a kind; one view can be of several."""

    grey: float = 0.0  # without colour
    still: float = 0.0  # one frame, held
    large: float = 0.0  # large more often than small, and never below the grid of the models


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes that a view may have."""

    min_side: int  # pixels
    long_sides: tuple[int, ...]  # pixels
    prefers: float = -1.0  # power of a side that odds go with: large clips cost more and teach the same


def plan_views(source: Source, *, seed: int, max_views: int, kinds: Kinds = Kinds()) -> list[View]:
    """Return up to `max_views` clips to take from a source: fewer where it is small or short.

    The same arguments give the same plan; a source that cannot be shrunk enough gives none. With a larger
    share of a kind, the views that were of it stay as they were.
    """
    rng = generator(seed, source.source_id)
    plan = _plan_pans if source.is_photo else _plan_excerpts
    return [
        replace(
            view,
            is_grey=_is_of(view.view_id, "grey", kinds.grey),
            is_still=_is_of(view.view_id, "still", kinds.still),
        )
        for view in plan(source, rng, max_views, kinds.large)
    ]


def needed(source: Source) -> str:
    """Return what a source must at least be to give a view; by chance a smaller one gives a small view."""
    if source.is_photo:
        return f"{MIN_PHOTO_SIDE} pixels on the shorter side"
    seconds = NUM_FRAMES / _clip_fps(source)
    return f"{MIN_FOOTAGE_SIDE} pixels on the shorter side and {seconds:.2f} s, {NUM_FRAMES} frames"


def whole_view(source: Source) -> View:
    """Return all of a video, at its own size and rate, as one view."""
    return View(
        view_id=source.source_id,
        source=source,
        clip=ClipFormat(
            width=source.width,
            height=source.height,
            fps=source.fps,
            num_frames=round(source.duration_seconds * source.fps),
        ),
    )


def view_to_json(view: View) -> str:
    """Return all that it takes to make the view's pristine clip from its source again."""
    clip = view.clip
    return json.dumps(
        {
            "width": clip.width,
            "height": clip.height,
            "fps": clip.fps,
            "num_frames": clip.num_frames,
            "start_seconds": view.start_seconds,
            "boxes": view.boxes,
            "frames": FRAMES,
        }
        | {name: True for name in _KINDS if getattr(view, name)}  # plans of before know of none
    )


def view_from_json(text: str, *, view_id: str, source: Source) -> View:
    """Return the view that `view_to_json` wrote.

    Raises:
        DatasetError: it is not such JSON, or that of an earlier release.
    """
    try:
        plan = json.loads(text)
        view = View(
            view_id=view_id,
            source=source,
            clip=ClipFormat(**{name: plan[name] for name in ("width", "height", "fps", "num_frames")}),
            start_seconds=float(plan["start_seconds"]),
            boxes=tuple((float(left), float(top), float(width)) for left, top, width in plan["boxes"]),
            **{name: bool(plan.get(name, False)) for name in _KINDS},
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"the plan of view {view_id} must be JSON of a view, got {text!r}") from error
    if plan.get("frames") != FRAMES:
        raise DatasetError(
            f"the plan of view {view_id} must be of frames {FRAMES}, got {plan.get('frames')}: "
            "its clip was made by an earlier release"
        )
    return view


def _plan_excerpts(source: Source, rng: np.random.Generator, max_views: int, large: float) -> list[View]:
    # A frame is left over at the end, because containers round their duration up.
    fps = _clip_fps(source)
    length = (NUM_FRAMES + 1) / fps
    fits_once = source.duration_seconds * fps > NUM_FRAMES - 0.5  # without one to spare
    count = min(max_views, max(int(source.duration_seconds // length), int(fits_once)))
    views = []
    for number in range(count):
        sizes = _sizes(_view_id(source, number), large)
        clip = _clip_format(source.width, source.height, fps, rng, sizes)
        if clip is not None:
            room = source.duration_seconds / count - length
            start = number * source.duration_seconds / count + float(rng.uniform(0, max(room, 0)))
            views.append(
                View(view_id=_view_id(source, number), source=source, clip=clip, start_seconds=start)
            )
    return views


def _plan_pans(source: Source, rng: np.random.Generator, max_views: int, large: float) -> list[View]:
    views = []
    num_views = min(max_views, 1 + min(source.width, source.height) // 900)
    for number in range(num_views):
        size = source.width / _PAN_ROOM, source.height / _PAN_ROOM
        clip = _clip_format(*size, PHOTO_FPS, rng, _sizes(_view_id(source, number), large))
        if clip is not None:
            boxes = _pan_boxes(source, clip, rng)
            views.append(View(view_id=_view_id(source, number), source=source, clip=clip, boxes=boxes))
    return views


def _pan_boxes(source: Source, clip: ClipFormat, rng: np.random.Generator) -> tuple[Box, ...]:
    """Return a slow pan and zoom: a straight path between two random boxes inside the photograph."""
    widest = min(source.width, source.height * clip.width / clip.height)
    narrowest = max(MIN_SHRINK * clip.width, widest / 2)
    widths = np.sort(rng.uniform(min(narrowest, widest), widest, size=2))[:: rng.choice((-1, 1))]
    ends = []
    for width in (widths[0], np.clip(widths[1], _ZOOM_RANGE[0] * widths[0], _ZOOM_RANGE[1] * widths[0])):
        room = np.array([source.width - width, source.height - width * clip.height / clip.width])
        ends.append((*(room * rng.uniform(size=2)), min(width, widest)))
    first, last = np.array(ends[0]), np.array(ends[1])
    travel = np.abs(last[:2] - first[:2]).max() * clip.width / first[2]
    share = min(1.0, MAX_PAN * NUM_FRAMES / max(travel, 1e-9))
    path = first + (last - first) * share * np.linspace(0, 1, NUM_FRAMES)[:, None]
    return tuple((float(x), float(y), float(w)) for x, y, w in path)


def _clip_fps(source: Source) -> float:
    return source.fps / 2 if source.fps > MAX_FPS else source.fps


def _is_of(view_id: str, kind: str, share: float) -> bool:
    """Return whether a view is one of a kind, decided by its name alone."""
    return float(generator(0, f"{kind}|{view_id}").uniform()) < share


def _sizes(view_id: str, large: float) -> _Sizes:
    """Return which sizes a view may have: the large ones, if it is to be, in place of all others."""
    if _is_of(view_id, "large", large):
        return _Sizes(MIN_SIDE, _LONG_SIDES, prefers=1.0)
    if _is_of(view_id, "small", SMALL_SHARE):
        return _Sizes(SMALL_SIDE, _SMALL_LONG_SIDES)
    return _Sizes(MIN_SIDE, _LONG_SIDES)


def _clip_format(
    width: float, height: float, fps: float, rng: np.random.Generator, sizes: _Sizes
) -> ClipFormat | None:
    """Choose a size among those that shrink the source enough, or None."""
    largest = max(width, height)
    aspect = min(width, height) / largest
    shortest = sizes.min_side / aspect
    fits = [side for side in sizes.long_sides if shortest <= side <= largest / GOOD_SHRINK]
    if fits:
        odds = np.array(fits, dtype=np.float64) ** sizes.prefers
        long_side = float(rng.choice(fits, p=odds / odds.sum()))
    else:
        long_side = max(shortest, min(largest / MIN_SHRINK, sizes.long_sides[0]))
    if long_side > largest / MIN_SHRINK * _NEARLY:
        return None
    scale = long_side / largest
    return ClipFormat(
        width=max(sizes.min_side, round(width * scale / 2) * 2),
        height=max(sizes.min_side, round(height * scale / 2) * 2),
        fps=fps,
        num_frames=NUM_FRAMES,
    )


def _view_id(source: Source, number: int) -> str:
    return f"{source.source_id}-{number}"
