"""Eqs. 2-4: patches lie in their cells, anywhere in them, and splice into the frame they were cut for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from securevqa_core.fragments import (
    MAX_UPSAMPLED_SIDE,
    crop_patches,
    grid_corners,
    sampled_size,
    splice,
)
from securevqa_core.types import SamplingConfig

PAPER = SamplingConfig()
SMALL = SamplingConfig(num_clips=2, clip_frames=4, grid_size=3, patch_side=4)
SIZES = [(224, 224), (225, 231), (360, 640), (1080, 1920), (224, 8191), (1000, 227)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_patch_lies_inside_its_cell(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corners = grid_corners(height, width, PAPER, rng)
        assert corners.shape == (4, 1, 7, 7, 2)
        for axis, length in enumerate((height, width)):
            cell = np.arange(7).reshape((7, 1) if axis == 0 else (1, 7))
            first, end = cell * length // 7, (cell + 1) * length // 7
            assert (corners[..., axis] >= first).all()
            assert (corners[..., axis] + 32 <= end).all()


def test_offsets_are_uniform_over_the_cell_both_ends_included() -> None:
    rng = np.random.default_rng(0)
    corners = np.concatenate([grid_corners(30, 33, SMALL, rng) for _ in range(1500)])[:, 0]
    for axis, (length, places) in enumerate(((30, 7), (33, 8))):  # cells of 10 and 11 pixels, patches of 4
        for cell in range(3):
            taken = corners.take(cell, axis=1 + axis)[..., axis] - cell * (length // 3)
            counts = np.bincount(taken.ravel(), minlength=places)
            assert len(counts) == places
            assert stats.chisquare(counts).pvalue > 1e-4
    rows, columns = corners[:, 0, 0, 0], corners[:, 0, 0, 1]
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.1


def test_a_cell_as_small_as_its_patch_leaves_no_choice() -> None:
    corners = grid_corners(224, 224, PAPER, np.random.default_rng(0))
    expected = np.stack(np.meshgrid(np.arange(7) * 32, np.arange(7) * 32, indexing="ij"), axis=-1)
    assert (corners == expected).all()


def test_all_frames_of_a_clip_share_offsets_unless_aligned_in_groups() -> None:
    rng = np.random.default_rng(0)
    assert grid_corners(400, 400, SMALL, rng).shape[1] == 1
    in_groups = SamplingConfig(num_clips=1, clip_frames=32, num_temporal_fragments=8, aligned_frames=8)
    corners = grid_corners(400, 400, in_groups, rng)
    assert corners.shape == (1, 4, 7, 7, 2)
    assert len({group.tobytes() for group in corners[0]}) == 4


def test_splicing_crops_is_slicing() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (47, 61, 3), dtype=np.uint8)
    (corners,) = grid_corners(47, 61, SMALL, rng)[0]
    spliced = splice(crop_patches(frame, corners, 4))
    assert spliced.shape == (12, 12, 3)
    for row, column in np.ndindex(3, 3):
        y, x = corners[row, column]
        cell = spliced[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
        assert (cell == frame[y : y + 4, x : x + 4]).all()


def test_splicing_a_batch_splices_each() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 3, 4, 4, 3), dtype=np.uint8)
    batch = splice(patches)
    assert batch.shape == (2, 5, 12, 12, 3)
    for draw, clip in np.ndindex(2, 5):
        assert (batch[draw, clip] == splice(patches[draw, clip])).all()


def test_cropping_leaves_the_frame_alone() -> None:
    frame = np.zeros((20, 20, 3), dtype=np.uint8)
    corners = grid_corners(20, 20, SMALL, np.random.default_rng(0))[0, 0]
    splice(crop_patches(frame, corners, 4))[:] = 9
    assert not frame.any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1080, 1920), (1080, 1920)),
        ((224, 224), (224, 224)),
        ((2, 2), (224, 224)),
        ((49, 65), (224, 297)),  # 65 * 224 / 49 = 297.1
        ((112, 400), (224, 800)),
        ((300, 112), (600, 224)),
        ((2, 4000), (224, 4000)),  # in proportion it would be 448,000 wide
        ((2, 70), (224, 7840)),
        ((1, 1), (224, 224)),
        ((1, 100), (224, 224)),
    ],
)
def test_small_frames_are_upsampled_in_proportion_within_reason(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert sampled_size(*size, PAPER) == expected


def test_every_frame_size_gives_room_for_the_grid() -> None:
    rng = np.random.default_rng(0)
    sides = [1, 2, 3, 31, 223, 224, 225, 1000, 4000, 8192, 20_000]
    for height in sides:
        for width in sides:
            grown = sampled_size(height, width, PAPER)
            assert min(grown) >= 224
            assert all(
                new <= max(old, MAX_UPSAMPLED_SIDE) for new, old in zip(grown, (height, width), strict=True)
            )
            grid_corners(*grown, PAPER, rng)


@pytest.mark.parametrize(("height", "width"), [(223, 500), (500, 223)])
def test_a_frame_without_room_for_the_grid_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f">= 224, got {height} x {width}"):
        grid_corners(height, width, PAPER, np.random.default_rng(0))
