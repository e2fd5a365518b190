"""What is left to guess is counted as the samplers choose: every way that they can, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from securevqa_core.fragments import grid_corners, sampled_size
from securevqa_core.guesses import count_draws
from securevqa_core.sampling import skip_sample
from securevqa_core.types import SamplingConfig
from securevqa_core.zoo import spec

SMALL = SamplingConfig(num_clips=2, clip_frames=3, frame_interval=2, grid_size=2, patch_side=4)
DRAWS = 3000


@pytest.mark.parametrize("num_frames", [1, 11, 12, 13, 14, 15, 16, 18, 21])
def test_as_many_sets_of_frames_are_counted_as_are_drawn(num_frames: int) -> None:
    rng = np.random.default_rng(num_frames)
    drawn = {skip_sample(num_frames, SMALL, rng).tobytes() for _ in range(DRAWS)}
    assert len(drawn) == count_draws(num_frames, 100, 100, SMALL).frames


@pytest.mark.parametrize("size", [(8, 8), (5, 3), (9, 8), (8, 10), (9, 9)])
def test_as_many_sets_of_patches_are_counted_as_are_drawn(size: tuple[int, int]) -> None:
    config = SamplingConfig(num_clips=1, clip_frames=1, grid_size=2, patch_side=4)
    rng = np.random.default_rng(1)
    height, width = sampled_size(*size, config)
    drawn = {grid_corners(height, width, config, rng).tobytes() for _ in range(DRAWS)}
    assert len(drawn) == count_draws(1, *size, config).patches


@pytest.mark.parametrize(("model", "last"), [("secure-vqa-compact", 31), ("secure-vqa", 263)])
def test_short_videos_show_every_key_the_same_frames(model: str, last: int) -> None:
    sampling = spec(model).sampling
    assert count_draws(last, 540, 960, sampling).frames == 1
    assert count_draws(last + 1, 540, 960, sampling).frames > 1


def test_a_video_without_frames_has_no_draws() -> None:
    with pytest.raises(ValueError, match="num_frames must be >= 1, got 0"):
        count_draws(0, 540, 960, SMALL)
