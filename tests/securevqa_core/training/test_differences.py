"""What fragments have lost: known changes give known numbers, and worse encodings larger ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from securevqa_core.training.differences import NUM_DIFFERENCES, local_differences

MSE, SSIM, FIDELITY, EDGES, CONTRAST, GRADIENT, BRIGHTNESS = range(NUM_DIFFERENCES)
GRID, SIDE = 3, 16


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Return (4, 48, 48, 3) uint8 of grey noise, blurred so that it has structure; 40..215."""
    noise = np.random.default_rng(0).normal(size=(4, GRID * SIDE, GRID * SIDE))
    smooth = uniform_filter(noise, size=(1, 3, 3))
    grey = (128 + 40 * smooth / smooth.std()).clip(40, 215).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def differences(distorted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return local_differences(distorted, reference, grid_size=GRID)


def test_what_is_not_distorted_has_lost_nothing(picture: np.ndarray) -> None:
    found = differences(picture, picture)
    assert found.shape == (NUM_DIFFERENCES, 2, GRID, GRID)
    expected = {MSE: np.log(0.5), SSIM: 1, EDGES: 1, CONTRAST: 0, GRADIENT: 0, BRIGHTNESS: 0}
    for index, value in expected.items():
        assert found[index] == pytest.approx(np.full_like(found[index], value), abs=1e-5)
    assert found[FIDELITY] == pytest.approx(np.ones((2, GRID, GRID)), abs=5e-3)


def test_a_brighter_picture_has_changed_in_brightness_and_in_no_edge(picture: np.ndarray) -> None:
    found = differences(picture + 32, picture)
    assert found[BRIGHTNESS] == pytest.approx(np.ones((2, GRID, GRID)), abs=1e-4)
    assert found[MSE] == pytest.approx(np.full((2, GRID, GRID), np.log(32**2 + 0.5)), abs=1e-3)
    assert found[EDGES] == pytest.approx(np.ones((2, GRID, GRID)), abs=1e-4)
    assert found[CONTRAST] == pytest.approx(np.zeros((2, GRID, GRID)), abs=1e-3)


def test_half_the_contrast_is_a_quarter_of_the_variance_and_half_the_gradient(picture: np.ndarray) -> None:
    found = differences((picture // 2).astype(np.uint8), picture)
    assert found[CONTRAST] == pytest.approx(np.full((2, GRID, GRID), -np.log(4)), abs=0.05)
    assert found[GRADIENT] == pytest.approx(np.full((2, GRID, GRID), -np.log(2)), abs=0.1)


def test_structural_similarity_is_that_of_its_formula(picture: np.ndarray) -> None:
    noisy = (picture + np.random.default_rng(1).integers(-20, 20, picture.shape[:-1])[..., None]).astype(
        np.uint8
    )
    found = differences(noisy, picture)[SSIM]
    expected = np.zeros((4, GRID, GRID))
    for frame, row, column in np.ndindex(*expected.shape):
        place = np.s_[frame, row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE, 0]
        a, b = picture[place].astype(float), noisy[place].astype(float)
        mean_a, mean_b, aa, bb, ab = (uniform_filter(x, 7)[3:-3, 3:-3] for x in (a, b, a * a, b * b, a * b))
        luma = (2 * mean_a * mean_b + 2.55**2) / (mean_a**2 + mean_b**2 + 2.55**2)
        spread = aa - mean_a**2 + bb - mean_b**2
        expected[frame, row, column] = np.mean(
            luma * (2 * (ab - mean_a * mean_b) + 7.65**2) / (spread + 7.65**2)
        )
    assert found == pytest.approx(expected.reshape(2, 2, GRID, GRID).mean(axis=1), abs=1e-4)


def test_more_noise_has_lost_more(picture: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    levels = [
        differences((picture + rng.integers(-n, n + 1, picture.shape)).astype(np.uint8), picture)
        for n in (2, 8, 32)
    ]
    means = np.array([level.mean(axis=(1, 2, 3)) for level in levels])
    for index in (SSIM, FIDELITY, EDGES):
        assert (np.diff(means[:, index]) < 0).all()
    assert (np.diff(means[:, MSE]) > 0).all()


def test_each_place_of_the_grid_and_pair_of_frames_is_its_own(picture: np.ndarray) -> None:
    distorted = picture.copy()
    distorted[2:, SIDE : 2 * SIDE, 2 * SIDE :] = 0
    found = differences(distorted, picture)[MSE]
    changed = found > 1
    assert changed[1, 1, 2]
    assert changed.sum() == 1


def test_a_flat_picture_has_finite_differences() -> None:
    flat = np.full((2, GRID * SIDE, GRID * SIDE, 3), 128, np.uint8)
    assert np.isfinite(differences(flat, flat)).all()
    assert np.isfinite(differences(flat, 255 - flat)).all()
