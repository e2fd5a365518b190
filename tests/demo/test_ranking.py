"""The shipped model ranks every degraded encoding of the demo below the clip it was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from securevqa_core import weights, zoo
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.fragments import splice
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import Key, generator
from securevqa_core.scoring import inter_features, raw_scores, summarise

NUM_DRAWS = 4
OPTIONS: dict[str, Any] = {"device": torch.device("cpu"), "precision": "float32"}


def score(path: Path, checkpoint: weights.Checkpoint) -> float:
    """Return the mean score over draws, step by step as the stages do it."""
    model: Any = weights.build(checkpoint)
    sampling, key = zoo.spec(checkpoint.architecture).sampling, Key.public(0)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    seeds = {
        purpose: [key.seed(content, purpose, draw) for draw in range(NUM_DRAWS)]
        for purpose in ("skip_sampling", "grid_sampling", "guardian_intra", "guardian_inter")
    }
    draws = tuple(
        DrawSeeds(skip_sampling=skip, grid_sampling=grid)
        for skip, grid in zip(seeds["skip_sampling"], seeds["grid_sampling"], strict=True)
    )
    sample = extract_sample(str(path), DecodeRequest(sampling=sampling, draws=draws))
    guarded = [
        add_guardian_map(draw, generator(seed))
        for draw, seed in zip(splice(sample.patches), seeds["guardian_intra"], strict=True)
    ]
    inter = seeds["guardian_inter"]
    features = inter_features(
        model.inter, sample.frames, sample.segments, inter, sampling=sampling, **OPTIONS
    )
    raw = raw_scores(model, np.stack(guarded), features, **OPTIONS)
    return summarise(raw, checkpoint.calibration).score


@pytest.mark.parametrize("source", ["bikes", "bunny", "phone"])
def test_what_costs_quality_costs_points(demo: ModuleType, tmp_path: Path, source: str) -> None:
    checkpoint = weights.default(zoo.DEFAULT_MODEL)
    videos = demo.make_backlog(tmp_path, {source: demo.CLIPS[source]})
    scores = {v.recipe: score(tmp_path / v.name, checkpoint) for v in videos if v.recipe in demo.RECIPES}
    clean = scores.pop("clean")
    assert scores.keys() == demo.RECIPES.keys() - {"clean"}
    assert max(scores.values()) < clean, f"clean {clean:.1f}, {scores}"
