"""Owns the forward pass of a video of noise with all its draws.

`bench model --against` runs this very file on the core of another checkout, so it takes from the core what
codes of before have too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from securevqa_core import scoring, weights, zoo

__all__ = ["NoiseVideo", "timed"]


class NoiseVideo:
    """Noise in the place of a video's pixels, on the device."""

    def __init__(self, spec: zoo.ModelSpec, device: torch.device) -> None:
        self.sampling, self.num_draws = spec.sampling, spec.num_draws
        sampling = self.sampling
        rng = np.random.default_rng(0)
        side = sampling.fragment_side
        num_clips = self.num_draws * sampling.num_clips
        self.clips = _noise(rng, (num_clips, sampling.clip_frames, side, side, 3), device)
        side = sampling.segment_side
        num_segments = self.num_draws * sampling.num_segments
        self.segments = _noise(rng, (num_segments, sampling.segment_frames, side, side, 3), device)

    def score(self, model: Any, checkpoint: weights.Checkpoint, precision: str, batch: int) -> float:
        """Return the score, of 100."""
        intra = self.in_batches(model.intra, self.clips, precision, batch)
        features = None
        if self.sampling.num_segments:
            features = self.in_batches(model.inter, self.segments, precision, batch)
            features = features.view(self.num_draws, self.sampling.num_segments, -1)
            features = features.repeat_interleave(self.sampling.num_clips, dim=0)
        with torch.inference_mode():
            raw: float = model.head(intra, features).double().mean().item()
        return checkpoint.calibration.to_score(raw)

    def in_batches(self, branch: Any, pixels: torch.Tensor, precision: str, batch: int) -> torch.Tensor:
        """Return a branch's output for all `pixels`, so many at a time."""
        is_half = precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(pixels.device.type, torch.bfloat16, enabled=is_half):
            parts = torch.split(pixels, batch)
            return torch.cat([branch(scoring.normalise(part)).float() for part in parts])


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds of some work, and what it returned: its processor's own, or on a GPU the clock's."""
    if device.type == "cpu":
        started = time.process_time()
        made = work()
        return time.process_time() - started, made
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    made = work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, made


def _noise(rng: np.random.Generator, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)).to(device)


def _alone(name: str) -> float:
    torch.set_num_threads(1)
    getattr(scoring, "keep_freed_memory", lambda: None)()  # where the code does so before it scores
    checkpoint, place = weights.seeded(name), torch.device("cpu")
    model, video = weights.build(checkpoint), NoiseVideo(zoo.spec(name), place)
    return min(timed(lambda: video.score(model, checkpoint, "float32", 1), place)[0] for _ in range(3))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_alone(sys.argv[1])))
