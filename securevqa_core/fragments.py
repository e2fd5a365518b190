"""Owns spatial grid sampling: which patches are cut from a frame and how they are spliced (Eqs. 2-4).

a frame in G x G cells             one patch of S x S a cell      spliced, G S x G S
+-----------+-----------+
|  +--+     |           |              +--+  +--+                 +--+--+
|  |a |     |      +--+ |              |a |  |b |                 |a |b |
|  +--+     |      |b | |     -->      +--+  +--+       -->       +--+--+
+-----------+------+--+-+              +--+  +--+                 |c |d |
|        +--+           |              |c |  |d |                 +--+--+
|        |c |   +--+    |              +--+  +--+
|        +--+   |d |    |              the same corners in all frames of a clip,
+-----------+---+--+----+              or of each of its offset groups
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securevqa_core.types import SamplingConfig

__all__ = ["crop_patches", "grid_corners", "sampled_size", "splice"]

MAX_UPSAMPLED_SIDE = 8192  # a 2 x 4000 video must not become 224 x 448,000


def sampled_size(height: int, width: int, config: SamplingConfig) -> tuple[int, int]:
    """Return the (height, width) at which a frame is sampled: large enough for S pixels in every cell.

    Frames shorter on a side than G x S are upsampled in proportion; where that would make a side longer than
    `MAX_UPSAMPLED_SIDE`, only the short side grows.
    """
    side = config.fragment_side
    scale = max(1.0, side / min(height, width))
    grown = tuple(
        max(side, round(length * scale) if length * scale <= MAX_UPSAMPLED_SIDE else length)
        for length in (height, width)
    )
    return grown[0], grown[1]


def grid_corners(
    height: int, width: int, config: SamplingConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the top-left corner of one random S x S patch in each of G x G cells (Eqs. 2 and 3).

    Args:
        height: of the sampled frame, pixels, >= G x S.
        width: likewise.
        config: G, S and how many frames share offsets.
        rng: decides the offsets, uniform over every place the patch fits in its cell.

    Returns:
        (num_clips, num_offset_groups, G, G, 2) int64 of (row, column), pixels.

    Raises:
        ValueError: a side is shorter than G x S.
    """
    if min(height, width) < config.fragment_side:
        raise ValueError(f"height and width must be >= {config.fragment_side}, got {height} x {width}")
    edges = np.arange(config.grid_size + 1)
    rows, columns = edges * height // config.grid_size, edges * width // config.grid_size
    first = np.stack(np.meshgrid(rows[:-1], columns[:-1], indexing="ij"), axis=-1)
    last = np.stack(np.meshgrid(rows[1:], columns[1:], indexing="ij"), axis=-1) - config.patch_side
    shape = (config.num_clips, config.num_offset_groups, *first.shape)
    return rng.integers(first, last, size=shape, endpoint=True)


def crop_patches(frame: NDArray[np.uint8], corners: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """Cut patches out of one frame (Eq. 3).

    Args:
        frame: (height, width, 3) uint8.
        corners: (G, G, 2) of (row, column).
        side: S, pixels.

    Returns:
        (G, G, S, S, 3) uint8.
    """
    windows = np.lib.stride_tricks.sliding_window_view(frame, (side, side), axis=(0, 1))
    return windows[corners[..., 0], corners[..., 1]].transpose(0, 1, 3, 4, 2)


def splice(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Splice G x G patches into one frame (Eq. 4): (..., G, G, S, S, 3) -> (..., G S, G S, 3)."""
    *batch, grid, _, side, _, channels = patches.shape
    return patches.swapaxes(-4, -3).reshape(*batch, grid * side, grid * side, channels)
