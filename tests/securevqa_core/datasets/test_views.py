"""Views lie inside their source, shrink it enough to be sharp, and come back from JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securevqa_core.datasets.sources import Source
from securevqa_core.datasets.views import (
    GOOD_SHRINK,
    MAX_FPS,
    MAX_PAN,
    MIN_FOOTAGE_SIDE,
    MIN_PHOTO_SIDE,
    MIN_SHRINK,
    MIN_SIDE,
    NUM_FRAMES,
    SMALL_SHARE,
    SMALL_SIDE,
    Kinds,
    View,
    needed,
    plan_views,
    view_from_json,
    view_to_json,
    whole_view,
)
from securevqa_core.errors import DatasetError

SIZES = [(480, 360), (360, 640), (1280, 720), (1920, 1080), (4000, 3000), (3000, 4500), (640, 640)]


def source(width: int, height: int, *, seconds: float = 0.0, name: str = "street") -> Source:
    return Source(
        path=Path(f"/{name}.mp4"),
        sha256="ab" * 32,
        width=width,
        height=height,
        fps=25.0,
        duration_seconds=seconds,
    )


PLAIN = Kinds()


def views(width: int, height: int, *, seconds: float, kinds: Kinds = PLAIN) -> list[View]:
    """Plans under ten seeds."""
    one = source(width, height, seconds=seconds)
    return [view for seed in range(10) for view in plan_views(one, seed=seed, max_views=3, kinds=kinds)]


@pytest.mark.parametrize("seconds", [0.0, 7.0], ids=["photograph", "footage"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_clip_is_shrunk_and_large_enough_and_keeps_its_shape(
    width: int, height: int, seconds: float
) -> None:
    planned = views(width, height, seconds=seconds)
    assert planned
    for view in planned:
        clip = view.clip
        assert min(clip.width, clip.height) >= SMALL_SIDE
        assert clip.width % 2 == clip.height % 2 == 0
        assert clip.width / clip.height == pytest.approx(width / height, rel=0.02)
        assert clip.num_frames == NUM_FRAMES
        widths = [box[2] for box in view.boxes] or [width]
        assert min(widths) / clip.width >= MIN_SHRINK / 1.02
    if min(width, height) / GOOD_SHRINK >= 320:
        assert all(view.clip.width <= width / GOOD_SHRINK for view in planned)


@pytest.mark.parametrize(
    ("seconds", "side"), [(0.0, MIN_PHOTO_SIDE), (7.0, MIN_FOOTAGE_SIDE)], ids=["photograph", "footage"]
)
def test_a_source_needs_the_side_that_is_said(seconds: float, side: int) -> None:
    def gives_views(side: int) -> bool:
        names = [f"street-{number}" for number in range(40)]
        sources = [source(2 * side, side, seconds=seconds, name=name) for name in names]
        return all(plan_views(one, seed=0, max_views=1) for one in sources)

    assert gives_views(side)
    assert not gives_views(side - 1)
    assert f"{side} pixels" in needed(source(2, 2, seconds=seconds))


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 60.0])
def test_footage_of_as_many_frames_as_a_clip_has_gives_one(fps: float) -> None:
    seconds = NUM_FRAMES / (fps / 2 if fps > MAX_FPS else fps)
    one = replace(source(512, 512, seconds=seconds), fps=fps)
    (view,) = plan_views(one, seed=0, max_views=3)
    assert view.start_seconds == 0
    assert f"{seconds:.2f} s, {NUM_FRAMES} frames" in needed(one)
    assert not plan_views(replace(one, duration_seconds=seconds * 0.97), seed=0, max_views=3)


def test_some_views_are_smaller_than_the_grid_of_the_models() -> None:
    sides = []
    for number in range(400):
        (view,) = plan_views(source(1280, 720, seconds=7.0, name=f"street-{number}"), seed=0, max_views=1)
        sides.append(min(view.clip.width, view.clip.height))
    small = [side for side in sides if side < MIN_SIDE]
    assert len(small) / len(sides) == pytest.approx(SMALL_SHARE, abs=0.06)
    assert min(small) >= SMALL_SIDE


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_pan_stays_inside_the_photograph_and_is_slow(width: int, height: int) -> None:
    for view in views(width, height, seconds=0):
        left, top, box_width = np.array(view.boxes).T
        assert len(left) == NUM_FRAMES
        margin = 1e-6
        assert left.min() >= -margin
        assert top.min() >= -margin
        assert (left + box_width).max() <= width + margin
        assert (top + box_width * view.clip.height / view.clip.width).max() <= height + margin
        steps = np.abs(np.diff(np.stack([left, top]), axis=1)) * view.clip.width / box_width[1:]
        assert steps.max() <= MAX_PAN * 1.15  # measured at the first box; a zoom adds a little


def test_excerpts_lie_inside_the_footage_and_share_no_moment() -> None:
    length = NUM_FRAMES / 25
    for seed in range(20):
        planned = plan_views(source(1280, 720, seconds=6.5), seed=seed, max_views=5)
        starts = [view.start_seconds for view in planned]
        assert len(starts) == 3
        assert starts[0] >= 0
        assert starts[-1] + length <= 6.5
        assert np.diff(starts).min() >= length


@pytest.mark.parametrize(
    ("width", "height", "seconds"), [(140, 140, 0), (300, 130, 10), (1280, 720, 1.9), (145, 2000, 7)]
)
def test_a_source_that_is_too_small_or_too_short_gives_none(width: int, height: int, seconds: float) -> None:
    assert not views(width, height, seconds=seconds)


def test_clips_of_fast_footage_have_every_other_frame_and_a_view_of_all_of_it_has_all() -> None:
    fast = replace(source(1280, 720, seconds=7.0), fps=50.0)
    planned = plan_views(fast, seed=0, max_views=9)
    assert {view.clip.fps for view in planned} == {25.0}
    assert len(planned) == 3
    whole = whole_view(fast)
    assert (whole.view_id, whole.source, whole.boxes) == (fast.source_id, fast, ())
    assert (whole.clip.width, whole.clip.height, whole.clip.fps, whole.clip.num_frames) == (
        1280,
        720,
        50,
        350,
    )


def test_a_plan_follows_from_seed_and_source_alone() -> None:
    for seconds in (0.0, 7.0):
        one = source(1280, 960, seconds=seconds)
        first = plan_views(one, seed=1, max_views=3)
        assert plan_views(one, seed=1, max_views=3) == first
        assert plan_views(one, seed=2, max_views=3) != first
        assert plan_views(replace(one, sha256="cd" * 32), seed=1, max_views=3) != first
        assert [view.view_id for view in first] == [f"street-abababab-{i}" for i in range(len(first))]


@pytest.mark.parametrize("seconds", [0.0, 7.0], ids=["photograph", "footage"])
@pytest.mark.parametrize("kinds", [PLAIN, Kinds(grey=0.5, still=0.5)], ids=["plain", "kinds"])
def test_a_view_comes_back_from_json_as_it_was(seconds: float, kinds: Kinds) -> None:
    for view in views(1280, 960, seconds=seconds, kinds=kinds):
        assert view_from_json(view_to_json(view), view_id=view.view_id, source=view.source) == view


@pytest.mark.parametrize("kind", ["grey", "still"])
def test_a_share_of_the_views_is_of_a_kind_and_more_of_it_moves_none(kind: str) -> None:
    names = [f"street-{number}" for number in range(400)]

    def planned(share: float) -> list[View]:
        found = [source(1280, 960, seconds=7.0, name=name) for name in names]
        kinds = Kinds(**{kind: share})
        return [view for one in found for view in plan_views(one, seed=0, max_views=1, kinds=kinds)]

    def chosen(views: list[View]) -> set[str]:
        return {view.view_id for view in views if getattr(view, f"is_{kind}")}

    plain, some, many = planned(0), planned(0.2), planned(0.5)
    assert not chosen(plain)
    assert len(chosen(some)) / len(names) == pytest.approx(0.2, abs=0.06)
    assert chosen(some) < chosen(many)
    assert [replace(view, is_grey=False, is_still=False) for view in many] == plain
    assert all("is_" not in view_to_json(view) for view in plain), "plans of before know of no kinds"


def test_large_views_are_larger_where_the_source_allows() -> None:
    names = [f"street-{number}" for number in range(60)]
    sides = {
        share: [
            plan_views(source(*size, name=name), seed=0, max_views=1, kinds=Kinds(large=share))[0].clip.width
            for size in ((4000, 3000), (480, 360))
            for name in names
        ]
        for share in (0.0, 1.0)
    }
    assert np.mean(sides[1.0][:60]) > 1.5 * np.mean(sides[0.0][:60])
    assert min(sides[1.0]) >= MIN_SIDE
    assert max(sides[1.0][60:]) <= 480 / MIN_SHRINK * 1.02


def test_a_plan_of_an_earlier_release_is_named() -> None:
    """Its frames were not those that are shown, so that its clip would come out another."""
    (view,) = plan_views(source(640, 480, seconds=7.0), seed=0, max_views=1)
    plan = json.loads(view_to_json(view))
    del plan["frames"]
    message = "plan of view street-0 must be of frames as shown, got None: its clip was made by an earlier"
    with pytest.raises(DatasetError, match=message):
        view_from_json(json.dumps(plan), view_id="street-0", source=view.source)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"width": 320}', "null"])
def test_what_is_no_json_of_a_view_is_named(text: str) -> None:
    with pytest.raises(DatasetError, match="the plan of view street-0 must be JSON of a view") as caught:
        view_from_json(text, view_id="street-0", source=source(640, 480))
    assert repr(text) in str(caught.value)
