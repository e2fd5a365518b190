"""A clock gives each moment of a viewer's time the frame on screen, and leaves constant rate as it is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from securevqa_core.decoding.clock import NO_REPEATS, Clock, Rhythm, clock_of, constant_clock, jumps_of


def _every_moment(clock: Clock) -> list[int]:
    moments = np.arange(clock.num_moments)
    return clock.frames_at(moments, np.random.default_rng(0), num_runs=1).tolist()


def _rhythm(size: int | str, phase: int = 0) -> Rhythm:
    return Rhythm(frames_per_picture=Fraction(size), phase=phase)


@pytest.mark.parametrize("fps", ["25", "30000/1001", "24000/1001", "15", "1/60", "1000"])
@pytest.mark.parametrize("time_base", [1 / 1000, 1 / 90_000, 1 / 15_360])
def test_at_constant_rate_moments_are_frames_whatever_stamps_are_rounded_to(
    fps: str, time_base: float
) -> None:
    for num_frames in (2, 59, 300, 200_000):
        times = np.round(np.arange(num_frames) / float(Fraction(fps)) / time_base).astype(np.int64)
        clock = clock_of(times, time_base=time_base)
        assert (clock.num_moments, clock.starts) == (num_frames, None)
        assert clock.seconds == pytest.approx(num_frames / float(Fraction(fps)), abs=2 * time_base)


def test_jitter_of_less_than_half_a_frame_is_constant_rate() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(300) * 40 + rng.integers(-8, 9, 300)
    assert clock_of(np.sort(times), time_base=0.001).starts is None


def test_a_picture_that_is_held_has_the_moments_it_is_held_for() -> None:
    durations = np.array([40] * 10 + [400] + [40] * 10)
    clock = clock_of(np.append(0, np.cumsum(durations)[:-1]), time_base=0.001)
    assert _every_moment(clock) == [*range(10), *[10] * 10, *range(11, 21)]
    assert clock.seconds == pytest.approx(1.2)


def test_a_flash_of_many_frames_has_the_moments_it_is_shown_for() -> None:
    times = np.concatenate([np.arange(720), 720 + np.arange(180) * 200])
    shown = np.array(_every_moment(clock_of(times, time_base=0.001)))
    assert 180 <= len(shown) <= 190
    assert (shown < 720).sum() <= 4
    assert set(range(721, 899)) <= set(shown.tolist())


def test_frames_under_one_time_stamp_leave_the_last_on_screen() -> None:
    times = np.array([0, 40, 40, 40, 120, 160, 200, 240, 280])
    clock = clock_of(times, time_base=0.001)
    run = clock.runs_at(np.arange(clock.num_moments), np.random.default_rng(0), num_runs=1)
    assert run.tolist() == [0, 3, 4, 5, 6, 7, 8]


def test_the_last_frame_stays_for_as_long_as_it_is_told_to() -> None:
    clock = clock_of(np.arange(100) * 40, time_base=0.001, last_duration=600_000)
    assert clock.seconds == pytest.approx(603.96)
    assert set(_every_moment(clock)) == {99}  # of ten minutes, four seconds are nothing


def _uneven(num_frames: int) -> Clock:
    """Pictures that stay for 28 to 52 ms."""
    durations = np.random.default_rng(1).integers(28, 53, num_frames)
    return clock_of(np.append(0, np.cumsum(durations)[:-1]), time_base=0.001)


def test_in_a_run_pictures_of_an_uneven_rate_follow_one_another_from_where_its_time_begins() -> None:
    clock = _uneven(400)
    moments = np.array([[0], [100], [300]]) + np.arange(32)
    runs = clock.runs_at(moments, np.random.default_rng(0), num_runs=3)
    assert (np.diff(runs) == 1).all()
    assert (
        runs[:, 0].tolist() == clock.frames_at(moments, np.random.default_rng(0), num_runs=3)[:, 0].tolist()
    )
    assert (np.diff(clock.frames_at(moments, np.random.default_rng(0), num_runs=3)) != 1).any()


def test_a_run_that_would_go_on_after_the_last_picture_begins_earlier() -> None:
    times = np.cumsum([0] + [36] * 300 + [52] * 99)
    clock = clock_of(times, time_base=0.001)
    moments = clock.num_moments - 32 + np.arange(32)
    assert clock.frames_at(moments, np.random.default_rng(0), num_runs=1)[0] > 370
    assert clock.runs_at(moments, np.random.default_rng(0), num_runs=1).tolist() == list(range(368, 400))


def test_in_a_run_a_picture_that_is_held_stays() -> None:
    durations = [40, 33, 47] * 4 + [400] + [40, 33, 47] * 4
    clock = clock_of(np.append(0, np.cumsum(durations)[:-1]), time_base=0.001)
    run = clock.runs_at(np.arange(34), np.random.default_rng(0), num_runs=1).tolist()
    assert run == [*range(12), *[12] * 10, *range(13, 25)]


@pytest.mark.parametrize("num_runs", [1, 4])
def test_runs_of_a_constant_rate_are_its_moments(num_runs: int) -> None:
    moments = np.arange(64).reshape(4, 16)
    runs = constant_clock(300).runs_at(moments, np.random.default_rng(0), num_runs=num_runs)
    assert (runs == moments).all()


def test_where_a_moment_is_looked_at_cannot_be_known_and_is_the_same_for_a_run() -> None:
    times = np.concatenate([np.arange(0, 8000, 10), 8000 + np.arange(100) * 77])
    clock = clock_of(times, time_base=0.001).coarser(_rhythm(16))
    moments = np.tile(np.arange(40), (2, 1))
    first, again, other = (
        clock.frames_at(moments, np.random.default_rng(seed), num_runs=2) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert (first[0] != first[1]).any()


def test_coarser_moments_show_every_so_manieth_frame() -> None:
    clock = constant_clock(120, 4.0).coarser(_rhythm(4))
    assert clock.num_moments == 30
    assert {frame // 4 for frame in _every_moment(clock)} == set(range(30))
    assert constant_clock(120, 4.0).coarser(NO_REPEATS).starts is None


@pytest.mark.parametrize("size", [2, 3, 4, 10])
def test_each_frame_of_a_picture_is_as_likely_to_be_seen_as_the_others(size: int) -> None:
    clock = constant_clock(20 * size).coarser(_rhythm(size))
    seen = clock.frames_at(np.full((4000, 1), 7), np.random.default_rng(0), num_runs=4000)
    assert np.bincount(seen[:, 0] - 7 * size) / 4000 == pytest.approx(1 / size, abs=0.025)


@pytest.mark.parametrize("size", ["4/3", "3/2", "2", "12/5", "5/2", "24/5"])
def test_a_rhythm_shows_every_picture_once_whatever_it_begins_with(size: str) -> None:
    for phase in range(Fraction(size).numerator):
        pictures = ((np.arange(240) + phase) / Fraction(size)).astype(int)
        shown = pictures[_every_moment(constant_clock(240, 4.0).coarser(_rhythm(size, phase)))]
        assert (np.diff(shown) == 1).all()
        assert len(shown) == round(240 / Fraction(size))


@pytest.mark.parametrize("times", [[7], [7, 7, 7]])
def test_of_frames_that_are_shown_at_once_the_last_is_seen(times: list[int]) -> None:
    clock = clock_of(np.array(times), time_base=0.04, last_duration=1)
    assert (clock.num_frames, clock.seconds) == (len(times), pytest.approx(0.04))
    assert _every_moment(clock) == [len(times) - 1]


def test_frames_that_are_gone_before_a_screen_shows_them_are_not_seen_each() -> None:
    clock = clock_of(np.arange(640), time_base=1 / 12_800)
    assert clock.seconds == pytest.approx(0.05)
    assert len(_every_moment(clock)) == 6


def test_absurd_time_stamps_have_a_clock() -> None:
    clock = clock_of(np.array([0, 1, 1 << 62]), time_base=1e-9)
    assert 1 <= clock.num_moments <= 1 << 53


@pytest.mark.parametrize(("second", "seconds_ahead"), [(0, 0.0), (-5_000, 0.0), (200_000, 196.04)])
def test_a_clock_that_is_set_anew_is_taken_to_go_on(second: int, seconds_ahead: float) -> None:
    times = np.concatenate([np.arange(100) * 40, second + np.arange(50) * 40])
    jumps = jumps_of(times, time_base=1e-3)
    assert jumps is not None
    assert jumps.joined.tolist() == list(range(0, 6000, 40))
    assert jumps.seconds_ahead == pytest.approx(seconds_ahead)


@pytest.mark.parametrize("hold", [60, 9_000])
def test_a_picture_that_is_held_is_no_jump(hold: int) -> None:
    times = np.append(np.arange(100) * 40, 99 * 40 + hold)
    assert jumps_of(times, time_base=1e-3) is None


def test_nothing_but_jumps_is_a_slow_clock() -> None:
    assert jumps_of(np.arange(20) * 60_000, time_base=1e-3) is None


def test_where_repeats_are_known_a_run_goes_from_picture_to_picture() -> None:
    stays = np.tile([1, 2, 1, 1, 2, 1, 1, 2], 40)
    pictures = np.repeat(np.arange(len(stays)), stays)
    repeated = np.flatnonzero(np.diff(pictures) == 0) + 1
    told = constant_clock(len(pictures), len(pictures) / 30)
    clock = told.without_repeats(np.arange(len(pictures)), repeated)
    assert (clock.num_moments, clock.seconds) == (len(stays), told.seconds)
    moments = np.array([[0], [100], [250]]) + np.arange(32)
    runs = pictures[clock.runs_at(moments, np.random.default_rng(0), num_runs=3)]
    assert (np.diff(runs) == 1).all()
    assert np.abs(runs[:, 0] - [0, 100, 250]).max() <= 1  # where runs begin is a matter of time


def test_told_by_repeats_or_by_time_pictures_are_the_same() -> None:
    stays = np.random.default_rng(3).choice([2, 3, 4, 9], 300, p=[0.3, 0.4, 0.25, 0.05])
    by_time = clock_of(np.append(0, np.cumsum(stays)[:-1]), time_base=1 / 60, last_duration=int(stays[-1]))
    pictures = np.repeat(np.arange(300), stays)
    told = constant_clock(len(pictures), len(pictures) / 60)
    by_repeats = told.without_repeats(np.arange(len(pictures)), np.flatnonzero(np.diff(pictures) == 0) + 1)
    moments = np.array([[10], [120], [200]]) + np.arange(32)
    timed, repeated = (
        clock.runs_at(moments, np.random.default_rng(0), num_runs=3) for clock in (by_time, by_repeats)
    )
    assert by_time.num_moments == pytest.approx(by_repeats.num_moments, abs=2)
    assert np.abs(timed - pictures[repeated]).max() <= 2


def test_pictures_that_flash_by_among_repeats_count_for_their_time() -> None:
    """Told as 120 frames a second: a good picture for one frame, then a bad one for fifteen."""
    stays = np.tile([1, 15], 60)
    pictures = np.repeat(np.arange(120), stays)
    clock = constant_clock(len(pictures), 8.0).without_repeats(
        np.arange(len(pictures)), np.flatnonzero(np.diff(pictures) == 0) + 1
    )
    begins = np.arange(0, clock.num_moments - 16)[:, None] + np.arange(16)
    runs = pictures[clock.runs_at(begins, np.random.default_rng(0), num_runs=len(begins))]
    assert (runs % 2 == 0).mean() < 0.1


def test_where_nothing_is_known_frames_go_on_by_time() -> None:
    repeated = np.array([102, 103, 510])
    looked_at = np.concatenate([np.arange(100, 110), np.arange(505, 515)])
    clock = constant_clock(1000).without_repeats(looked_at, repeated)
    assert clock.starts is not None
    assert np.diff(clock.starts) == pytest.approx(1 / clock.starts[1] ** -1)
    assert clock.num_moments == pytest.approx(1000 * clock.starts[1], abs=1)


@pytest.mark.parametrize(
    ("short_and_long", "time_base"),
    [((0, 2), 1 / 25), ((0, 66), 1e-3), ((2, 64), 1e-3), ((8, 58), 1e-3), ((16, 50), 1e-3)],
)
def test_pictures_that_flash_by_in_turn_are_no_constant_rate(
    short_and_long: tuple[int, int], time_base: float
) -> None:
    """Good for the short one, bad for the long one: half of the pictures, a quarter of the time at most."""
    stays = np.tile(short_and_long, 60)
    clock = clock_of(np.append(0, np.cumsum(stays)[:-1]), time_base=time_base)
    begins = np.arange(0, clock.num_moments - 16)[:, None] + np.arange(16)
    runs = clock.runs_at(begins, np.random.default_rng(0), num_runs=len(begins))
    assert (runs % 2 == 0).mean() == pytest.approx(short_and_long[0] / sum(short_and_long), abs=0.05)


def test_stamps_that_two_pictures_share_beside_steps_of_a_tick_are_a_clock() -> None:
    for times in ([0, 0, 1] * 10, [0, 0, 1] * 9 + [0, 0, 40], [40, 40, 41]):
        clock = clock_of(np.sort(times), time_base=0.001, last_duration=5)
        assert 1 <= clock.num_moments <= len(times)


def test_of_a_variable_rate_a_picture_that_is_held_stays_however_often_it_is_told() -> None:
    times = np.array([0, 40, 80, 120, 160, 200, 700, 1200, 1240, 1280, 1320])
    clock = clock_of(times, time_base=0.001)
    same = clock.without_repeats(np.arange(11), np.array([1, 4, 6]))
    assert same.seconds == clock.seconds
    assert same.paces is not None
    assert same.paces[5:7].sum() == pytest.approx(
        1000 / (same.seconds or 0) / 1000 * same.num_moments, rel=0.1
    )
