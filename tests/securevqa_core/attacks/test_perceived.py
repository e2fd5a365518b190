"""What an attack costs to the eye grows with its size, and is not defined where frames are left out."""

from __future__ import annotations

import numpy as np
import pytest
from media import bundled_clip

from securevqa_core.attacks.perceived import perceived_loss
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.errors import UndefinedError


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    with bundled_clip("carphone_pristine").open("rb") as file:
        return read_frames(file.fileno(), FramesRequest(max_seconds=0.2, max_height=144)).pixels


def test_larger_changes_cost_more(clean: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice((-1, 1), size=clean.shape)
    worse = [np.clip(clean + size * signs, 0, 255).astype(np.uint8) for size in (0, 4, 24)]
    found = [perceived_loss(clean, one) for one in worse]
    assert found[0].vmaf_neg > 90
    assert found[0].vmaf_neg > found[1].vmaf_neg > found[2].vmaf_neg


def test_frames_left_out_leave_it_undefined(clean: np.ndarray) -> None:
    with pytest.raises(UndefinedError, match=r"of one shape, got \(6, 144, 193, 3\) and \(1, 144, 193"):
        perceived_loss(clean, clean[:1])
