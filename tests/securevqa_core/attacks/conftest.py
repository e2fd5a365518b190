"""Owns what the attack tests share: a trained model that looks at little, and a clip of a few frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from media import bundled_clip
from numpy.typing import NDArray

from securevqa_core import weights, zoo
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.types import SamplingConfig

MODEL = "secure-vqa-compact"


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """As in the stages of a scoring run: threads cost more than they bring at this size."""


@pytest.fixture(scope="session")
def small_sampling() -> SamplingConfig:
    """What the default looks at, thirty times less of it."""
    return replace(
        zoo.spec(MODEL).sampling,
        num_clips=2,
        clip_frames=2,
        num_temporal_fragments=1,
        patch_side=16,
        num_segments=2,
        segment_frames=4,
        segment_side=28,
    )


@pytest.fixture(scope="session")
def model() -> torch.nn.Module:
    return weights.build(weights.default(MODEL))


@pytest.fixture(scope="session")
def scorer(model: torch.nn.Module, small_sampling: SamplingConfig) -> FrameScorer:
    return FrameScorer(model, small_sampling)


@pytest.fixture(scope="session")
def open_scorer(small_sampling: SamplingConfig) -> FrameScorer:
    """With bounds that end no gradient, so that more levels bring what the attack makes of them."""
    return _bounded(small_sampling)


@pytest.fixture(scope="session")
def level_scorer(small_sampling: SamplingConfig) -> FrameScorer:
    """The same, and not deaf to what a place's level changes by, which one tile for all can carry."""
    return _bounded(small_sampling, level_share=0)


def _bounded(sampling: SamplingConfig, *, level_share: float | None = None) -> FrameScorer:
    checkpoint = weights.bounded(weights.default(MODEL), intra=5, inter=8, level_share=level_share)
    return FrameScorer(weights.build(checkpoint), sampling)


@pytest.fixture(scope="session")
def clip() -> NDArray[np.uint8]:
    """Eight real frames of 128 x 224 pixels."""
    pixels = read_frames(bundled_clip("bikes"), FramesRequest(max_frames=8, max_height=128)).pixels
    assert pixels.shape[:2] == (8, 128)
    return pixels
