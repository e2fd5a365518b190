"""Owns how much of a draw there is to guess: in how many ways a key can choose frames and patches of a video.

    count_draws(250, 540, 960, SamplingConfig())  ->  frames: 1, patches: 2^2403

The segments of the inter branch (Eq. 7) are the same for every key. The guardian map is not counted: it has a
bit for every value, and moves each by one level, so that guessing it gains little.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from securevqa_core.fragments import sampled_size
from securevqa_core.types import SamplingConfig

__all__ = ["DrawCount", "count_draws"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawCount:
    """In how many ways one draw can turn out, all equally likely."""

    frames: int  # sets of frames of the intra branch, Eq. 1
    patches: int  # sets of patch corners in them, Eqs. 2 and 3


def count_draws(num_frames: int, height: int, width: int, config: SamplingConfig) -> DrawCount:
    """Count what a key can choose of one video.

    Args:
        num_frames: of the video, >= 1.
        height: of a frame, pixels.
        width: likewise.
        config: what the model looks at.

    Raises:
        ValueError: `num_frames` < 1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be >= 1, got {num_frames}")
    num_parts = config.num_clips * config.num_temporal_fragments
    run_frames = config.clip_frames // config.num_temporal_fragments * config.frame_interval
    rows, columns = (_places(side, config) for side in sampled_size(height, width, config))
    grid = math.prod(row * column for row in rows for column in columns)
    return DrawCount(
        frames=max(1, num_frames // num_parts - run_frames) ** num_parts,
        patches=grid ** (config.num_clips * config.num_offset_groups),
    )


def _places(side: int, config: SamplingConfig) -> list[int]:
    """Return in how many places a patch fits along one side, for each cell."""
    edges = [cell * side // config.grid_size for cell in range(config.grid_size + 1)]
    return [after - before - config.patch_side + 1 for before, after in itertools.pairwise(edges)]
