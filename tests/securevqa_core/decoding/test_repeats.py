"""A rhythm of repeated pictures is noticed where there is one, and nothing else is taken for one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame

from securevqa_core.decoding.clock import NO_REPEATS, Rhythm, constant_clock
from securevqa_core.decoding.repeats import RepeatWatch

NOISE = np.random.default_rng(0)
NUM_FRAMES = 1000
WINDOWS = [start + frame for start in range(0, 800, 100) for frame in range(16)]


def _watched(shown: np.ndarray, frames: list[int], *, noise: int = 0) -> Rhythm:
    return _watch(shown, frames, noise=noise).rhythm(60.0)


def _watch(shown: np.ndarray, frames: list[int], *, noise: int = 0) -> RepeatWatch:
    """Watch frames of which number k shows picture `shown[k]`: bars that move, each coded anew."""
    rng, watch = np.random.default_rng(1), RepeatWatch(len(shown))
    bars = np.tile(np.repeat(rng.integers(40, 200, 40), 4), (64, 1))
    for frame in frames:
        pixels = np.roll(bars, round(3 * shown[frame]), axis=1) + rng.integers(-noise, noise + 1, bars.shape)
        watch.add(frame, VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="gray"))
    return watch


@pytest.mark.parametrize("rhythm", ["4/3", "3/2", "2", "12/5", "5/2", "3", "4", "5", "8"])
@pytest.mark.parametrize("noise", [0, 1])
def test_a_rhythm_is_found_although_repeated_pictures_differ_by_a_grey_level(rhythm: str, noise: int) -> None:
    shown = (np.arange(2000) / Fraction(rhythm)).astype(int)
    assert _watched(shown, WINDOWS, noise=noise) == Rhythm(frames_per_picture=Fraction(rhythm), phase=0)


@pytest.mark.parametrize("rhythm", ["2", "12/5", "5/2", "3", "4", "5", "8"])
def test_where_half_of_the_frames_repeat_each_may_differ_by_a_third(rhythm: str) -> None:
    shown = (np.arange(2000) / Fraction(rhythm)).astype(int)
    watch = _watch(shown, WINDOWS, noise=19)
    differences = {pair[0]: pair[2] for pair in watch._pairs if pair[1] == pair[0] + 1}
    is_repeat = {place: shown[place] == shown[place + 1] for place in differences}
    repeats, changes = (
        [differences[place] for place in is_repeat if is_repeat[place] == which] for which in (1, 0)
    )
    assert 0.25 < np.mean(repeats) / np.mean(changes) < 0.4
    assert watch.rhythm(60.0) == Rhythm(frames_per_picture=Fraction(rhythm), phase=0)


def test_small_steps_between_large_ones_are_no_repeats() -> None:
    shown = np.cumsum(np.tile([2, 4], 1000)) / 3
    assert _watched(shown, WINDOWS) == NO_REPEATS


def test_one_frame_that_does_not_repeat_leaves_a_rhythm_as_it_is() -> None:
    shown = np.arange(48) // 2
    shown[47] = 24
    assert _watched(shown, list(range(48))) == Rhythm(frames_per_picture=Fraction(2), phase=0)


def test_a_rhythm_may_begin_anywhere() -> None:
    for phase in range(3):
        shown = ((np.arange(2000) + phase) / Fraction(3, 2)).astype(int)
        assert _watched(shown, WINDOWS).phase == phase


@pytest.mark.parametrize("noise", [0, 1])
def test_what_moves_with_every_frame_has_no_rhythm(noise: int) -> None:
    assert _watched(np.arange(1000), WINDOWS, noise=noise) == NO_REPEATS


@pytest.mark.parametrize("rhythm", ["5/4", "6/5", "25/22", "15/11"])
def test_other_rhythms_repeat_some_frames(rhythm: str) -> None:
    shown = (np.arange(2000) / Fraction(rhythm)).astype(int)
    found = _watched(shown, WINDOWS)
    assert found.phase is None
    assert float(found.frames_per_picture) == pytest.approx(float(Fraction(rhythm)), rel=0.05)


@pytest.mark.parametrize("noise", [0, 1])
def test_each_frame_that_repeats_in_no_rhythm_is_found(noise: int) -> None:
    stays = NOISE.choice([1, 1, 1, 2, 3], 200)
    shown = np.repeat(np.arange(200), stays)
    watch = _watch(shown, list(range(len(shown))), noise=noise)
    assert watch.rhythm(30.0).phase is None
    is_repeat = np.diff(shown) == 0
    assert watch.repeated(30.0).tolist() == (np.flatnonzero(is_repeat) + 1).tolist()


def test_a_freeze_among_repeats_is_held() -> None:
    shown = np.repeat(np.arange(200), np.where(np.arange(200) == 100, 5, 1 + (np.arange(200) % 7 == 0)))
    watch = _watch(shown, list(range(len(shown))))
    freeze = np.flatnonzero(shown == 100)
    assert watch.rhythm(30.0) != NO_REPEATS
    repeated = watch.repeated(30.0)
    assert freeze[0] not in repeated
    assert np.isin(freeze[1:], repeated).all()
    paces = constant_clock(len(shown)).without_repeats(np.arange(len(shown)), repeated).paces
    assert paces is not None
    assert paces[freeze].sum() > 4
    assert paces[shown == 98].sum() == pytest.approx(1)


def test_where_every_picture_is_held_none_repeats() -> None:
    shown = np.repeat(np.arange(100), NOISE.choice([5, 6, 7], 100))
    assert _watch(shown, list(range(len(shown)))).rhythm(25.0) == NO_REPEATS


def test_few_stumbles_are_no_repeats() -> None:
    shown = np.repeat(np.arange(1000), 1 + (np.arange(1000) % 40 == 0))
    assert _watched(shown, WINDOWS) == NO_REPEATS


def test_motion_that_falters_is_no_repeats() -> None:
    """As many small steps as smallest ones: a hand that shakes, and no picture twice."""
    steps = NOISE.choice([1, 3, 12, 12, 12, 12], 1000)
    shown = np.cumsum(steps) / 3
    assert _watched(shown, WINDOWS) == NO_REPEATS


def test_at_low_rates_a_picture_that_stays_is_seen_to() -> None:
    shown = (np.arange(2000) / Fraction(5, 4)).astype(int)
    assert _watch(shown, WINDOWS).rhythm(12.0) == NO_REPEATS


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


def test_a_rhythm_that_ends_is_none_but_its_repeats_are_found() -> None:
    shown = np.arange(1000) // 4
    shown[400:] = 100 + np.arange(600)
    assert _watched(shown, WINDOWS).phase is None
    repeated = _watch(shown, list(range(1000))).repeated(30.0)
    assert repeated.tolist() == [frame for frame in range(400) if frame % 4]


def test_every_second_frame_alone_proves_no_rhythm_of_two() -> None:
    assert _watched(np.arange(1000), list(range(0, 200, 2))) == NO_REPEATS


def test_an_uneven_rate_is_found_where_nobody_can_see_for_how_long_a_picture_stays() -> None:
    stays = NOISE.choice([2, 2, 3, 1], 1000)
    shown = np.repeat(np.arange(1000), stays)[:1000]
    assert 1.7 < _watched(shown, WINDOWS).frames_per_picture < 2.4


def test_few_frames_prove_nothing() -> None:
    assert _watched(np.arange(100) // 4, [0, 1, 2]) == NO_REPEATS
    assert RepeatWatch(NUM_FRAMES).rhythm(60.0) == NO_REPEATS


@pytest.mark.parametrize("size", ["2", "5/4"])
def test_pictures_repeat_only_where_nothing_small_moves_in_them_either(size: str) -> None:
    """As lips do in a drawn film whose bodies move with every second frame."""
    rng, watch = np.random.default_rng(1), RepeatWatch(NUM_FRAMES)
    bars = np.tile(np.repeat(rng.integers(40, 200, 40), 4), (64, 1)).astype(np.uint8)
    for frame in WINDOWS:
        pixels = np.roll(bars, 3 * int(frame / Fraction(size)), axis=1)
        pixels[:16, :32] = frame % 2 * 120 + rng.integers(0, 2, (16, 2)).repeat(16, axis=1) * 80
        watch.add(frame, VideoFrame.from_ndarray(pixels, format="gray"))
    assert watch.rhythm(60.0) == NO_REPEATS


@pytest.mark.parametrize("rate", [90.0, 120.0, 240.0])
def test_at_high_rates_windows_without_a_whole_picture_make_one_look_closer(rate: float) -> None:
    """Some 24 pictures a second, each for as long as it happens to stay."""
    stays = NOISE.integers(round(rate / 32), round(rate / 20) + 1, 400)
    shown = np.repeat(np.arange(400), stays)
    assert _watch(shown, WINDOWS).rhythm(rate).frames_per_picture > 2
    closer = _watch(shown, list(range(len(shown)))).uneven(rate)
    assert float(closer.frames_per_picture) == pytest.approx(stays.mean(), rel=0.05)


def test_a_cut_at_the_edge_of_a_window_proves_nothing() -> None:
    """Of what was not looked at nobody knows whether it moves, so that pictures before a cut look alike."""
    shown = np.arange(1000) + 500 * (np.arange(1000) % 100 > 13)
    closer = [start + frame for start in range(92, 800, 100) for frame in range(32)]
    assert _watch(shown, closer).uneven(60.0) == NO_REPEATS
