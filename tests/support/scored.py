"""Scores one file in this process with the default that ships, in four draws under a public key."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from securevqa_core import weights, zoo
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.fragments import splice
from securevqa_core.inputs import guarded_draws
from securevqa_core.randomness import Key
from securevqa_core.scoring import inter_features, raw_scores, summarise

__all__ = ["Scored", "score_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What scoring says of a file."""

    score: float  # 0..100
    sample: DecodedSample


def score_file(path: Path, *, num_draws: int = 4) -> Scored:
    """Score a video as the pipeline does, but for its process and Ray; any content gets the same draws."""
    checkpoint, model = _default()
    sampling = zoo.spec(checkpoint.architecture).sampling
    digest, key = "same", Key.public(1)
    draws = tuple(
        DrawSeeds(
            skip_sampling=key.seed(digest, "skip_sampling", draw),
            grid_sampling=key.seed(digest, "grid_sampling", draw),
        )
        for draw in range(num_draws)
    )
    sample = extract_sample(str(path), DecodeRequest(sampling=sampling, draws=draws))
    intra, inter = (
        [key.seed(digest, purpose, draw) for draw in range(num_draws)]
        for purpose in ("guardian_intra", "guardian_inter")
    )
    device: dict[str, Any] = {"device": torch.device("cpu"), "precision": "float32"}
    features = inter_features(model.inter, sample.frames, sample.segments, inter, sampling=sampling, **device)
    fragments = guarded_draws(splice(sample.patches), intra, amplitude=sampling.guardian_amplitude)
    raw = raw_scores(model, fragments, features, **device)
    return Scored(score=summarise(raw, checkpoint.calibration).score, sample=sample)


@functools.cache
def _default() -> tuple[weights.Checkpoint, Any]:
    checkpoint = weights.default(zoo.DEFAULT_MODEL)
    return checkpoint, weights.build(checkpoint)
