"""Scores a video step by step, as the stages of a run do it, without any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.fragments import splice
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import VideoDraw, generator
from securevqa_core.scoring import inter_features, raw_scores
from securevqa_core.types import SamplingConfig

__all__ = ["ByHand", "score_by_hand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """What every step made."""

    sample: DecodedSample
    fragments: NDArray[np.uint8]  # (draws, clips, d, G S, G S, 3), guardian map added
    raw: NDArray[np.float64]  # (draws, clips)


def score_by_hand(
    path: str | Path, model: Any, *, sampling: SamplingConfig, draws: Sequence[VideoDraw]
) -> ByHand:
    """Score a file with a model that has both branches, on the CPU."""
    device = torch.device("cpu")
    places = tuple(DrawSeeds(skip_sampling=d.skip_sampling, grid_sampling=d.grid_sampling) for d in draws)
    sample = extract_sample(str(path), DecodeRequest(sampling=sampling, draws=places))
    guarded = [
        add_guardian_map(one, generator(draw.guardian_intra), amplitude=sampling.guardian_amplitude)
        for one, draw in zip(splice(sample.patches), draws, strict=True)
    ]
    features = inter_features(
        model.inter,
        sample.frames,
        sample.segments,
        [draw.guardian_inter for draw in draws],
        sampling=sampling,
        device=device,
        precision="float32",
    )
    fragments = np.stack(guarded)
    raw = raw_scores(model, fragments, features, device=device, precision="float32")
    return ByHand(sample=sample, fragments=fragments, raw=raw)
