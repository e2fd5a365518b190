"""Eqs. 5 and 9: every value moves by one level, either way, independently of every other."""

from __future__ import annotations

import numpy as np
import pytest

from securevqa_core.guardian import add_guardian_map

GREY = np.full((8, 64, 64, 3), 128, dtype=np.uint8)


def _steps(pixels: np.ndarray, seed: int = 0, amplitude: int = 1) -> np.ndarray:
    guarded = add_guardian_map(pixels, np.random.default_rng(seed), amplitude=amplitude)
    assert guarded.dtype == np.uint8
    assert guarded.shape == pixels.shape
    return guarded.astype(int) - pixels


@pytest.mark.parametrize("amplitude", [1, 3, 127])
def test_every_value_moves_by_the_amplitude_either_way(amplitude: int) -> None:
    pixels = np.random.default_rng(1).integers(127, 129, GREY.shape, dtype=np.uint8)
    assert set(np.unique(_steps(pixels, amplitude=amplitude))) == {-amplitude, amplitude}


@pytest.mark.parametrize("amplitude", [1, 3, 127])
def test_values_clamp_at_both_ends_and_nowhere_else(amplitude: int) -> None:
    pixels = np.tile(np.arange(256, dtype=np.uint8), 200)
    guarded = pixels + _steps(pixels, amplitude=amplitude)
    for value in range(256):
        reached = set(guarded[pixels == value].tolist())
        assert reached == {max(0, value - amplitude), min(255, value + amplitude)}


def test_both_ways_are_equally_likely() -> None:
    steps = _steps(GREY)
    assert abs(steps.mean()) < 5 / steps.size**0.5


def test_frames_channels_and_neighbours_are_independent() -> None:
    steps = _steps(GREY)
    bound = 5 / (64 * 64) ** 0.5
    frames = steps.reshape(8, -1)
    assert abs(np.corrcoef(frames)[np.triu_indices(8, 1)]).max() < bound
    channels = steps.reshape(-1, 3).T
    assert abs(np.corrcoef(channels)[np.triu_indices(3, 1)]).max() < bound
    for axis in (1, 2):
        assert abs((steps * np.roll(steps, 1, axis)).mean()) < bound


def test_a_seed_fixes_the_map_and_another_gives_another() -> None:
    assert (_steps(GREY, seed=3) == _steps(GREY, seed=3)).all()
    agreement = (_steps(GREY, seed=3) == _steps(GREY, seed=4)).mean()
    assert abs(agreement - 0.5) < 0.01


def test_two_maps_of_one_generator_differ() -> None:
    rng = np.random.default_rng(0)
    first, second = (add_guardian_map(GREY, rng) for _ in range(2))
    assert abs((first == second).mean() - 0.5) < 0.01


def test_amplitude_zero_changes_nothing_and_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    assert (add_guardian_map(GREY, rng, amplitude=0) == GREY).all()
    assert rng.integers(1 << 60) == np.random.default_rng(0).integers(1 << 60)


def test_the_input_stays_as_it_was() -> None:
    pixels = GREY.copy()
    pixels.flags.writeable = False
    add_guardian_map(pixels, np.random.default_rng(0))
    assert (pixels == GREY).all()


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 5, 1)])
def test_any_number_of_values_will_do(shape: tuple[int, ...]) -> None:
    assert _steps(np.full(shape, 9, dtype=np.uint8)).shape == shape


@pytest.mark.parametrize("amplitude", [-1, 128])
def test_an_amplitude_out_of_range_is_refused(amplitude: int) -> None:
    with pytest.raises(ValueError, match=f"amplitude must be in 0..127, got {amplitude}"):
        add_guardian_map(GREY, np.random.default_rng(0), amplitude=amplitude)
