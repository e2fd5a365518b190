"""Trained, VSFA tells good encodings from bad ones, until the benchmark's white box turns its order round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from media import bundled_clip
from numpy.typing import NDArray
from scipy import stats

from securevqa_core import weights, zoo
from securevqa_core.attacks.attack import AttackConfig, Victim
from securevqa_core.attacks.codecs import through_h264
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.attacks.run import run_attack
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.defences import defended
from securevqa_core.randomness import fresh_draws

Clips = list[NDArray[np.uint8]]

CONTENTS = ("bikes", "bigbuckbunny", "carphone_pristine")  # none of them trained on
EPSILON = 1.0  # levels, root mean square: the benchmark attack's L2 radius
LABELS = (95.0, 95.0, 95.0, 10.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Four frames of each content, good and then encoded badly."""
    good = [
        read_frames(bundled_clip(name), FramesRequest(max_frames=4, max_height=144)).pixels
        for name in CONTENTS
    ]
    return good + [through_h264(one, crf=45) for one in good]


def _scorer() -> FrameScorer:
    model = weights.build(weights.default("vsfa-lite"))
    return defended(model, replace(zoo.spec("vsfa-lite").sampling, segment_frames=4), ())


def _scores(scorer: FrameScorer, clips: Clips) -> NDArray[np.float64]:
    draws = fresh_draws(np.random.default_rng(7), 1)
    return np.array([float(scorer.measure(one, draws).mean()) for one in clips])


def _attacked(scorer: FrameScorer, clips: Clips, before: NDArray[np.float64], *, attack: str) -> Clips:
    """Attack good clips downwards and bad ones upwards, far beyond each other."""
    rng = np.random.default_rng(0)
    spread = before.max() - before.min()
    config = AttackConfig(attack=attack, norm="l2", epsilon=EPSILON, direction="boundary", steps=4)  # type: ignore[arg-type]
    changed = []
    for clip, score, label in zip(clips, before, LABELS, strict=True):
        goal = float(score + 3 * spread * (1 if label < 50 else -1))
        victim = Victim(scorer, known_draws=None, num_draws=1, rng=rng)
        changed.append(run_attack(clip, victim, config, rng=rng, goal=goal).frames)
    return changed


def _srcc(scores: NDArray[np.float64]) -> float:
    return float(stats.spearmanr(scores, LABELS).statistic)


def _leads(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much each content's good clip leads its bad one."""
    return scores[:3] - scores[3:]


@pytest.mark.slow
def test_the_benchmark_attack_turns_the_order_of_trained_vsfa_round_and_noise_does_not(clips: Clips) -> None:
    scorer = _scorer()
    before = _scores(scorer, clips)
    assert weights.default("vsfa-lite").status == "trained"
    assert _srcc(before) > 0.6
    assert (_leads(before) > 0).all()
    noisy = _scores(scorer, _attacked(scorer, clips, before, attack="noise"))
    after = _scores(scorer, _attacked(scorer, clips, before, attack="pgd"))
    assert (_leads(noisy) > 0).all()
    assert (_leads(after) < 0).all()
    assert _srcc(after) < -0.8
    assert np.abs(after - before).mean() > 5 * np.abs(noisy - before).mean()
