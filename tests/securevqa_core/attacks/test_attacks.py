"""What any attack has to obey, and the order in which stronger attackers have to come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from securevqa_core.attacks.attack import ATTACKS, AttackConfig, Victim
from securevqa_core.attacks.differentiable import FrameScorer, VideoDraw, fresh_draws
from securevqa_core.attacks.norms import NORMS, norm_named
from securevqa_core.attacks.run import run_attack
from securevqa_core.errors import ConfigurationError

Clip = NDArray[np.uint8]
DRAWS = fresh_draws(np.random.default_rng(7), 1)
JUDGES = fresh_draws(np.random.default_rng(8), 4)  # unknown to any attacker


def _attacked(
    clip: Clip, scorer: FrameScorer, known: tuple[VideoDraw, ...] | None = DRAWS, *, seed: int = 0, **settings
):
    victim = Victim(scorer, known_draws=known, num_draws=1, rng=np.random.default_rng(seed))
    config = AttackConfig(**({"steps": 4, "queries": 24, "epsilon": 2.0} | settings))
    return run_attack(clip, victim, config, rng=np.random.default_rng(seed + 1))


def _score(scorer: FrameScorer, frames: Clip, draws: tuple[VideoDraw, ...] = DRAWS) -> float:
    return float(scorer.measure(frames, draws).mean())


@pytest.mark.parametrize(("attack", "norm"), list(itertools.product(ATTACKS, NORMS)))
def test_zero_epsilon_changes_nothing(attack: str, norm: str, clip: Clip, scorer: FrameScorer) -> None:
    found = _attacked(clip, scorer, attack=attack, norm=norm, epsilon=0.0, steps=2, queries=10)
    assert np.array_equal(found.frames, clip)


@pytest.mark.parametrize(("attack", "norm"), list(itertools.product(ATTACKS, NORMS)))
def test_whole_levels_inside_the_ball_are_returned_within_the_budget(
    attack: str, norm: str, clip: Clip, scorer: FrameScorer
) -> None:
    found = _attacked(clip, scorer, attack=attack, norm=norm, epsilon=1.5, steps=3, queries=22)
    change = found.frames.astype(float) - clip
    size = np.sqrt((change**2).mean()) if norm == "l2" else np.abs(change).max()
    assert found.frames.dtype == np.uint8
    assert 0.3 < size <= 1.5
    assert found.num_queries <= (22 if attack in {"square", "nes"} else 0)
    assert found.num_gradients == (4 if attack in {"pgd", "apgd"} else 0)  # three steps and a last look


@pytest.mark.parametrize("attack", ["pgd", "apgd", "square"])
@pytest.mark.parametrize(("direction", "sign"), [("inflate", 1), ("deflate", -1)])
def test_a_known_draw_is_moved_the_way_that_was_asked(
    attack: str, direction: str, sign: int, clip: Clip, scorer: FrameScorer
) -> None:
    found = _attacked(clip, scorer, attack=attack, direction=direction)
    assert sign * (_score(scorer, found.frames) - _score(scorer, clip)) > 0


@pytest.mark.parametrize("norm", NORMS)
def test_a_larger_epsilon_is_at_least_as_strong(norm: str, clip: Clip, scorer: FrameScorer) -> None:
    scores = [
        _score(scorer, _attacked(clip, scorer, norm=norm, epsilon=epsilon, steps=3).frames)
        for epsilon in (0.5, 1.0, 3.0)
    ]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_a_white_box_with_the_key_is_at_least_as_strong_as_a_black_box(
    clip: Clip, scorer: FrameScorer
) -> None:
    white = _score(scorer, _attacked(clip, scorer, steps=6).frames)
    for attack in ("square", "nes"):
        assert white >= _score(scorer, _attacked(clip, scorer, attack=attack).frames)


def test_averaging_over_draws_is_at_least_as_strong_as_none_against_fresh_draws(
    clip: Clip, scorer: FrameScorer
) -> None:
    gains = {k: _score(scorer, _attacked(clip, scorer, None, eot_draws=k).frames, JUDGES) for k in (1, 6)}
    assert gains[6] >= gains[1]


def test_the_same_generators_give_the_same_attack(clip: Clip, scorer: FrameScorer) -> None:
    first, again, other = (_attacked(clip, scorer, None, seed=seed, steps=2).frames for seed in (0, 0, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_incumbent_is_measured_again_where_answers_are_random(clip: Clip, scorer: FrameScorer) -> None:
    """Each comparison costs both sides anew; where answers are certain the incumbent is asked about once."""
    random = _attacked(clip, scorer, None, attack="square", queries=24, repeats=3)
    certain = _attacked(clip, scorer, attack="square", queries=24, repeats=3)
    assert (random.num_queries, len(random.trace)) == (24, 4)
    assert (certain.num_queries, len(certain.trace)) == (24, 23)
    assert certain.trace == sorted(certain.trace)


def test_gradients_and_draws_are_counted(clip: Clip, scorer: FrameScorer) -> None:
    found = _attacked(clip, scorer, None, steps=3, eot_draws=2)
    assert (found.num_gradients, found.num_queries) == (6, 0)


def test_projection_leaves_what_is_inside_and_brings_the_rest_to_the_border() -> None:
    inside, outside = torch.tensor([0.5, -0.5]), torch.tensor([3.0, -4.0])
    for norm in NORMS.values():
        assert torch.equal(norm.project(inside, 1.0), inside)
        assert norm.size(norm.project(outside, 1.0)) == pytest.approx(1.0)
    assert torch.equal(norm_named("linf").steepest(outside), torch.tensor([1.0, -1.0]))
    assert norm_named("l2").size(outside) == pytest.approx(12.5**0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attack": "magic"}, "attack must be one of pgd, .*, got 'magic'"),
        ({"direction": "up"}, "direction must be one of inflate, deflate, got 'up'"),
        ({"norm": "l1"}, "norm must be one of l2, linf, got 'l1'"),
        ({"epsilon": -1.0}, r"epsilon must be in 0\.\.255, got -1"),
        ({"steps": 0}, r"steps must be in 1\.\.10000, got 0"),
        ({"eot_draws": 0}, r"eot_draws must be in 1\.\.1024, got 0"),
        ({"queries": -1}, r"queries must be in 0\.\.1e\+06, got -1"),
        ({"repeats": 0}, r"repeats must be in 1\.\.1024, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AttackConfig(**settings)


def test_frames_that_are_no_bytes_are_refused(clip: Clip, scorer: FrameScorer) -> None:
    with pytest.raises(ConfigurationError, match="uint8, got float32"):
        _attacked(clip.astype(np.float32), scorer)
