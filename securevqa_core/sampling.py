"""Owns which frames are looked at: skip sampling (Eq. 1) and continuous sampling (Eq. 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securevqa_core.types import SamplingConfig

__all__ = ["clip_spans", "continuous_sample", "skip_sample"]


def skip_sample(num_frames: int, config: SamplingConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the frames of every intra clip (Eq. 1).

    The video is cut into `num_clips` equal parts, each part into `num_temporal_fragments`; every run of
    one frame in `frame_interval` starts at random where its part leaves room, else at the part's start.

    Args:
        num_frames: frames in the video, >= 1; shorter videos repeat by index modulo length.
        config: d, n and the number of clips.
        rng: decides the starts.

    Returns:
        (num_clips, clip_frames) int64 in 0..num_frames - 1.

    Raises:
        ValueError: `num_frames` < 1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be >= 1, got {num_frames}")
    num_parts = config.num_clips * config.num_temporal_fragments
    run_frames = config.clip_frames // config.num_temporal_fragments
    part_frames = num_frames // num_parts
    room = part_frames - run_frames * config.frame_interval
    jitter = rng.integers(0, room, size=num_parts) if room > 0 else np.zeros(num_parts, dtype=np.int64)
    starts = np.arange(num_parts) * part_frames + jitter
    runs = starts[:, None] + np.arange(run_frames) * config.frame_interval
    return (runs % num_frames).reshape(config.num_clips, config.clip_frames)


def continuous_sample(num_frames: int, config: SamplingConfig) -> NDArray[np.int64]:
    """Return the frames of every inter segment (Eq. 7): consecutive, the last frame repeated if short.

    With `segments_span` they are spread evenly from a segment's start to the next one's instead, and frames
    of a video that has fewer are repeated.

    Args:
        num_frames: frames in the video, >= 1.
        config: d and the number of segments, which start every num_frames // num_segments frames.

    Returns:
        (num_segments, segment_frames) int64 in 0..num_frames - 1.

    Raises:
        ValueError: `num_frames` < 1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be >= 1, got {num_frames}")
    part_frames = num_frames // max(config.num_segments, 1)
    steps = np.arange(config.segment_frames)
    if config.segments_span:
        steps = steps * part_frames // config.segment_frames
    frames: NDArray[np.int64] = (np.arange(config.num_segments) * part_frames)[:, None] + steps
    return frames.clip(max=num_frames - 1)


def clip_spans(num_frames: int, config: SamplingConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the first frame of every intra clip of `skip_sample` and the one after its last.

    Args:
        num_frames: in the video, >= 1.
        config: as for `skip_sample`.
        rng: as `skip_sample` was given it.

    Returns:
        (num_clips, 2) int64.
    """
    clips = skip_sample(num_frames, config, rng)
    return np.stack([clips.min(axis=1), clips.max(axis=1) + 1], axis=1)
