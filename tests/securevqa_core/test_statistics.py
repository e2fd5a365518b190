"""Statistics of fragments: what they are, that no seam enters them, and that they can be differentiated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.statistics import (
    NUM_STATISTICS,
    fragment_pairs,
    fragment_statistics,
    luma_of,
    mscn,
    neighbour_products,
)
from securevqa_core.scoring import normalise


def pixels(shape: tuple[int, ...], seed: int = 0, *, smooth: float = 1.0) -> np.ndarray:
    """Smoothed noise on 0..255, (n, t, h, w, 3)."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smoothed = ndimage.gaussian_filter(noise, (0, 0, smooth, smooth, 0))
    return np.clip(128 + 40 * smoothed / smoothed.std(), 0, 255).astype(np.uint8)


def statistics(frames: np.ndarray, grid_size: int = 7) -> Tensor:
    return fragment_statistics(normalise(torch.from_numpy(frames)), grid_size=grid_size)


def test_there_is_a_vector_for_each_fragment_of_two_frames() -> None:
    assert statistics(pixels((2, 4, 112, 112, 3))).shape == (2, NUM_STATISTICS, 2, 7, 7)


def test_a_picture_of_doubled_pixels_has_at_half_size_the_texture_of_the_picture_itself() -> None:
    frames = pixels((1, 2, 32, 32, 3))
    doubled = frames.repeat(2, axis=2).repeat(2, axis=3)
    full, half = slice(21, 21 + 34), slice(21 + 34, 21 + 2 * 34)
    found, expected = statistics(doubled, grid_size=2)[:, half], statistics(frames, grid_size=2)[:, full]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_fragment_of_an_odd_side_is_halved_without_its_last_row_and_column() -> None:
    frames = pixels((1, 2, 17, 17, 3))
    half = slice(21 + 34, 21 + 2 * 34)
    assert torch.equal(statistics(frames, 1)[:, half], statistics(frames[:, :, :16, :16], 1)[:, half])


def test_colour_is_of_the_first_frame_of_a_pair() -> None:
    frames = pixels((1, 2, 48, 48, 3))
    other = frames.copy()
    other[0, 1] = pixels((1, 1, 48, 48, 3), seed=1)[0, 0]
    assert torch.equal(statistics(other, 3)[:, :12], statistics(frames, 3)[:, :12])
    luma = frames[0, 0, 16:32, :16].astype(float) @ [0.299, 0.587, 0.114]
    blueness = frames[0, 0, 16:32, :16, 2] - luma
    fine = blueness.reshape(8, 2, 8, 2).mean(axis=(1, 3))
    fine -= blueness.reshape(4, 4, 4, 4).mean(axis=(1, 3)).repeat(2, axis=0).repeat(2, axis=1)
    expected = [
        blueness.mean() / 32,
        np.log(1 + np.abs(blueness).mean()),
        np.log(blueness.std() + 0.5),
        np.log(np.abs(fine).mean() + 0.1),
    ]
    np.testing.assert_allclose(statistics(frames, 3)[0, 8:12, 0, 1, 0], expected, rtol=1e-3, atol=1e-3)


def test_pairs_are_the_pixels_of_each_fragment() -> None:
    frames = pixels((1, 4, 48, 48, 3))
    pairs = fragment_pairs(normalise(torch.from_numpy(frames)), grid_size=3)
    expected = torch.from_numpy(frames[0, 3, 16:32, 32:48]).permute(2, 0, 1).float()
    torch.testing.assert_close(pairs[0, 1, 1, 2, 1], expected, rtol=1e-4, atol=1e-3)


def test_mscn_is_that_of_a_gaussian_window_with_reflected_border() -> None:
    y = pixels((1, 1, 32, 32, 1))[0, 0, :, :, 0].astype(float)
    taps = signal.windows.gaussian(7, 7 / 6)
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = ndimage.convolve(y, window, mode="mirror")
    contrast = np.sqrt(ndimage.convolve(y * y, window, mode="mirror") - mean**2)
    found, found_contrast = mscn(torch.from_numpy(y)[None, None].float())
    np.testing.assert_allclose(found_contrast[0, 0], contrast, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found[0, 0], (y - mean) / (contrast + 1), rtol=1e-3, atol=1e-2)


def test_neighbour_products_are_to_the_right_below_and_on_both_diagonals() -> None:
    m = torch.arange(12.0).view(1, 1, 3, 4)
    right, below, falling, rising = neighbour_products(m)
    assert right[0, 0, 0].tolist() == [0 * 1, 1 * 2, 2 * 3]
    assert below[0, 0, :, 0].tolist() == [0 * 4, 4 * 8]
    assert falling[0, 0, 0].tolist() == [0 * 5, 1 * 6, 2 * 7]
    assert rising[0, 0, 0].tolist() == [1 * 4, 2 * 5, 3 * 6]


def test_luma_is_bt601() -> None:
    assert luma_of(torch.tensor([255.0, 0, 0]).view(3, 1, 1)).item() == pytest.approx(0.299 * 255)


def test_a_fragment_knows_nothing_of_its_neighbours() -> None:
    frames = pixels((1, 2, 112, 112, 3))
    other = frames.copy()
    other[:, :, :16, :16] = pixels((1, 2, 16, 16, 3), seed=1)
    changed = (statistics(frames) != statistics(other)).any(dim=1)[0, 0]
    assert changed[0, 0]
    assert changed.sum() == 1


def test_blur_noise_and_stillness_are_seen() -> None:
    sharp = pixels((1, 2, 112, 112, 3))
    blurred = ndimage.gaussian_filter(sharp, (0, 0, 2, 2, 0))
    still = np.repeat(sharp[:, :1], 2, axis=1)
    base = statistics(sharp)
    for changed in (blurred, still):
        difference = (statistics(changed) - base).abs().mean(dim=(0, 2, 3, 4))
        assert difference.max() > 0.5


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_is_finite(level: int) -> None:
    assert statistics(np.full((1, 2, 112, 112, 3), level, dtype=np.uint8)).isfinite().all()


def test_gradients_agree_with_finite_differences() -> None:
    x = normalise(torch.from_numpy(pixels((1, 2, 16, 16, 3)))).requires_grad_()
    weights = torch.linspace(-1, 1, NUM_STATISTICS).view(1, -1, 1, 1, 1)
    (fragment_statistics(x, grid_size=1) * weights).sum().backward()
    assert x.grad is not None
    rng = np.random.default_rng(0)
    direction = torch.from_numpy(rng.normal(size=x.shape)).float()
    step = 1e-3
    with torch.no_grad():
        ahead, behind = (
            (fragment_statistics(x + sign * step * direction, grid_size=1) * weights).double().sum()
            for sign in (1, -1)
        )
    measured = (ahead - behind) / (2 * step)
    assert (x.grad * direction).sum().item() == pytest.approx(measured.item(), rel=0.05)


@pytest.mark.parametrize("shape", [(1, 3, 3, 112, 112), (1, 3, 2, 112, 96), (1, 3, 2, 100, 100)])
def test_what_is_no_grid_of_fragments_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=str(shape)[1:-1]):
        fragment_statistics(torch.zeros(shape), grid_size=7)


def test_half_precision_of_a_network_is_not_that_of_what_it_is_told() -> None:
    """A variance is the small difference of large numbers, which bfloat16 does not have."""
    frames = pixels((1, 2, 112, 112, 3))
    expected = statistics(frames)
    with torch.autocast("cpu", torch.bfloat16):
        found = statistics(frames)
    assert torch.equal(found, expected)
