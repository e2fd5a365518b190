"""Whole frames are those that VIDEVAL's authors take, of a long video no more than of a short one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securevqa_core import zoo
from securevqa_core.types import SamplingConfig
from securevqa_core.whole_frames import MAX_BLOCKS, MAX_PICTURES, whole_plan

FULL = SamplingConfig(statistics_interval=2)
LIGHT = SamplingConfig(statistics_rate=3)
PICTURES = SamplingConfig(picture_rate=1, picture_height=64, picture_width=64)


def test_every_second_frame_is_taken_with_its_neighbours_and_one_a_second_besides() -> None:
    plan = whole_plan(240, 29.97, FULL)
    places = np.arange(1, 212, 2)  # what lies beyond the last whole block is pooled nowhere
    np.testing.assert_array_equal(plan.triples, np.stack([places - 1, places, places + 1], axis=1))
    np.testing.assert_array_equal(plan.seconds, np.arange(14, 237, 30))
    assert [(rows[0], rows[-1]) for rows in plan.blocks] == [
        (start, start + 15) for start in range(0, 104, 15)
    ]


def test_a_light_version_takes_some_a_second_and_compares_each_with_what_followed_the_last() -> None:
    plan = whole_plan(100, 30.0, LIGHT)
    np.testing.assert_array_equal(plan.triples[:3], [[0, 1, 2], [2, 11, 12], [12, 21, 22]])
    assert [rows.tolist() for rows in plan.blocks] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 17])
def test_frames_of_a_very_short_video_repeat(num_frames: int) -> None:
    plan = whole_plan(num_frames, None, FULL)
    assert len(plan.triples) >= 1
    assert len(plan.seconds) >= 1
    assert 0 <= plan.wanted.min() <= plan.wanted.max() < num_frames
    assert {row for rows in plan.blocks for row in rows.tolist()} == set(range(len(plan.triples)))


@pytest.mark.parametrize("config", [FULL, LIGHT])
@pytest.mark.parametrize("num_frames", [100_000, 1 << 40])
def test_a_long_video_costs_no_more_than_so_many_blocks(config: SamplingConfig, num_frames: int) -> None:
    plan = whole_plan(num_frames, 30.0, config)
    assert len(plan.blocks) == len(plan.seconds) == MAX_BLOCKS
    assert len(plan.triples) <= MAX_BLOCKS * 16
    assert plan.wanted.max() > 0.99 * num_frames
    gaps = np.diff([plan.triples[rows[0], 1] for rows in plan.blocks])
    assert gaps.max() < 1.1 * gaps.min()


@pytest.mark.parametrize(
    ("num_frames", "fps", "wanted"),
    [
        (250, 25.0, list(range(0, 250, 25))),
        (251, 25.0, [*range(0, 250, 25), 250]),
        (90, 29.97, [0, 30, 60, 89]),
        (7, 30.0, [0]),
        (31, None, [0, 30]),
        (3, 0.5, [0, 1, 2]),  # of frames that stay for two seconds
    ],
)
def test_pictures_come_once_a_second_from_the_first_frame_on(
    num_frames: int, fps: float | None, wanted: list[int]
) -> None:
    plan = whole_plan(num_frames, fps, PICTURES)
    assert plan.wanted.tolist() == wanted


@pytest.mark.parametrize("fps", [30.0, 1e-300])
def test_pictures_of_a_long_video_are_spread_over_it(fps: float) -> None:
    plan = whole_plan(1 << 40, fps, PICTURES)
    assert len(plan.wanted) == MAX_PICTURES
    assert plan.wanted.max() > 0.99 * (1 << 40)


def test_no_frames_are_taken_whole_by_other_models() -> None:
    assert whole_plan(100, 30.0, SamplingConfig()) is None
    wanting = {name for name in zoo.names() if zoo.spec(name).sampling.has_statistics}
    assert wanting == {"videval", "videval-720p", "videval-480p", "uvq-1.5", "tlvqm"}


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="num_moments must be >= 1, got 0"):
        whole_plan(0, 30.0, replace(FULL))
