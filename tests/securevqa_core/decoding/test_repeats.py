"""A rhythm of repeated pictures is noticed where there is one, and nothing else is taken for one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame

from securevqa_core.decoding.clock import NO_REPEATS, Rhythm
from securevqa_core.decoding.repeats import RepeatWatch

NOISE = np.random.default_rng(0)
WINDOWS = [start + frame for start in range(0, 800, 100) for frame in range(16)]


def _watched(shown: np.ndarray, frames: list[int], *, noise: int = 0) -> Rhythm:
    """Watch frames of which number k shows picture `shown[k]`: bars that move, each coded anew."""
    rng, watch = np.random.default_rng(1), RepeatWatch()
    bars = np.tile(np.repeat(rng.integers(40, 200, 40), 4), (64, 1))
    for frame in frames:
        pixels = np.roll(bars, 3 * int(shown[frame]), axis=1) + rng.integers(-noise, noise + 1, bars.shape)
        watch.add(frame, VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="gray"))
    return watch.rhythm(60.0)


@pytest.mark.parametrize("rhythm", ["4/3", "3/2", "2", "12/5", "5/2", "3", "4", "5", "8"])
@pytest.mark.parametrize("noise", [0, 1])
def test_a_rhythm_is_found_although_repeated_pictures_differ_by_a_grey_level(rhythm: str, noise: int) -> None:
    shown = (np.arange(2000) / Fraction(rhythm)).astype(int)
    assert _watched(shown, WINDOWS, noise=noise) == Rhythm(frames_per_picture=Fraction(rhythm), phase=0)


def test_a_rhythm_may_begin_anywhere() -> None:
    for phase in range(3):
        shown = ((np.arange(2000) + phase) / Fraction(3, 2)).astype(int)
        assert _watched(shown, WINDOWS).phase == phase


@pytest.mark.parametrize("noise", [0, 1])
def test_what_moves_with_every_frame_has_no_rhythm(noise: int) -> None:
    assert _watched(np.arange(1000), WINDOWS, noise=noise) == NO_REPEATS


def test_film_at_30_frames_a_second_has_stumbles_and_no_rhythm() -> None:
    assert _watched((np.arange(1000) * 4 // 5), WINDOWS) == NO_REPEATS


def test_a_freeze_in_moving_content_is_no_rhythm() -> None:
    shown = np.arange(1000)
    shown[300:500] = 300
    assert _watched(shown, WINDOWS) == NO_REPEATS


def test_a_freeze_does_not_hide_a_rhythm() -> None:
    shown = np.arange(1000) // 4
    shown[300:500] = 75
    assert _watched(shown, WINDOWS).frames_per_picture == 4


def test_a_still_or_a_slide_show_has_no_rhythm() -> None:
    assert _watched(np.zeros(1000), WINDOWS) == NO_REPEATS
    assert _watched(np.arange(1000) // 100 * 7, list(range(1000))) == NO_REPEATS


def test_one_window_that_moves_with_every_frame_is_no_rhythm() -> None:
    shown = np.arange(1000) // 4
    shown[400:] = 100 + np.arange(600)
    assert _watched(shown, WINDOWS) == NO_REPEATS


def test_every_second_frame_alone_proves_no_rhythm_of_two() -> None:
    assert _watched(np.arange(1000), list(range(0, 200, 2))) == NO_REPEATS


def test_an_uneven_rate_is_found_where_nobody_can_see_for_how_long_a_picture_stays() -> None:
    stays = NOISE.choice([2, 2, 3, 1], 1000)
    shown = np.repeat(np.arange(1000), stays)[:1000]
    assert 1.7 < _watched(shown, WINDOWS).frames_per_picture < 2.4


def test_few_frames_prove_nothing() -> None:
    assert _watched(np.arange(100) // 4, [0, 1, 2]) == NO_REPEATS
    assert RepeatWatch().rhythm(60.0) == NO_REPEATS
