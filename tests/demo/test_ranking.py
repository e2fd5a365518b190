"""The shipped model ranks every degraded encoding of the demo below the clip it was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

import pytest
from byhand import score_by_hand

from securevqa_core import weights, zoo
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.scoring import summarise

NUM_DRAWS = 4


def score(path: Path, checkpoint: weights.Checkpoint) -> float:
    """Return the mean score over draws."""
    sampling = zoo.spec(checkpoint.architecture).sampling
    draws = keyed_draws(Key.public(0), hashlib.sha256(path.read_bytes()).hexdigest(), NUM_DRAWS)
    found = score_by_hand(path, weights.build(checkpoint), sampling=sampling, draws=draws)
    return summarise(found.raw, checkpoint.calibration).score


@pytest.mark.slow
@pytest.mark.parametrize("source", ["bikes", "bunny", "phone"])
def test_what_costs_quality_costs_points(demo: ModuleType, tmp_path: Path, source: str) -> None:
    checkpoint = weights.default(zoo.DEFAULT_MODEL)
    videos = demo.make_backlog(tmp_path, {source: demo.CLIPS[source]})
    scores = {v.recipe: score(tmp_path / v.name, checkpoint) for v in videos if v.recipe in demo.RECIPES}
    clean = scores.pop("clean")
    assert scores.keys() == demo.RECIPES.keys() - {"clean"}
    assert max(scores.values()) < clean, f"clean {clean:.1f}, {scores}"
