"""Owns the attacks of those who only see scores, with averaged and repeated measurements."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from securevqa_core.attacks.attack import Attack

__all__ = ["measured", "nes", "patches", "reroll", "square"]

_FIRST_SHARE = 0.3  # of a frame that the first squares cover; falls as the budget is spent
_HALVINGS = 6  # of that share until the budget is spent
_PATCH_SIDE = 56  # pixels
_PAIRS = 5  # antithetic pairs an NES estimate is made from
_SMOOTHING = 1.0  # standard deviation of NES's noise, 8-bit levels; smaller ones are rounded away
_STEP_SHARE = 0.2  # of the radius, one step of NES


def square(attack: Attack) -> tuple[Tensor, list[float]]:
    """Try squares of one colour in runs of frames; keep what raises the score (Andriushchenko et al., 2020).

    Against a random victim the place that is kept is measured anew beside every candidate: one lucky
    measurement would otherwise stand for ever.
    """
    config, trace = attack.config, list[float]()
    best = torch.zeros_like(attack.clean)
    candidate = attack.inside(config.epsilon * _signs(attack, (1, 1, *attack.clean.shape[2:])))
    known: float | None = None
    while attack.victim.num_queries + _cost(attack, known) <= config.queries:
        score = measured(attack, best) if known is None else known
        rival = measured(attack, candidate)
        if attack.gain(rival) > attack.gain(score):
            best, score = candidate, rival
        known = None if _forgets(attack) else score
        trace.append(score)
        candidate = attack.inside(_with_square(attack, best))
    return best, trace


def nes(attack: Attack) -> tuple[Tensor, list[float]]:
    """Estimate the gradient from antithetic Gaussian noise and climb (Ilyas et al., 2018)."""
    config, trace = attack.config, list[float]()
    perturbation = torch.zeros_like(attack.clean)
    cost = 2 * _PAIRS * config.repeats
    while attack.victim.num_queries + cost <= config.queries:
        slope, scores = torch.zeros_like(attack.clean), []
        for _ in range(_PAIRS):
            noise = _SMOOTHING * torch.randn(attack.clean.shape, generator=attack.rng).to(slope.device)
            ahead, behind = (measured(attack, perturbation + sign * noise) for sign in (1, -1))
            if math.isnan(ahead - behind):  # held: from here on there is nothing to learn
                return perturbation, trace
            slope += (ahead - behind) * noise
            scores += [ahead, behind]
        trace.append(sum(scores) / len(scores))
        step = _STEP_SHARE * config.epsilon * attack.norm.steepest(attack.sign_at(trace[-1]) * slope)
        perturbation = attack.inside(perturbation + step)
    return perturbation, trace


def patches(attack: Attack) -> tuple[Tensor, list[float]]:
    """Put a map of +-epsilon on a patch, or its negative; keep what helps: the benchmark attack's black box.

    As published it never measures anew what it keeps; see `AttackConfig.remeasures`.
    """
    config, trace = attack.config, list[float]()
    best, known = torch.zeros_like(attack.clean), None
    _, height, width, _ = best.shape
    change, sign = best, 1
    while attack.victim.num_queries + _cost(attack, known) <= config.queries:
        if sign == 1:
            (top, bottom), (left, right) = (_span(attack, n, _PATCH_SIDE) for n in (height, width))
            change = config.epsilon * _signs(attack, (1, bottom - top, right - left, 3))
        candidate = best.clone()
        candidate[:, top:bottom, left:right] = sign * change
        candidate = attack.inside(candidate)
        score = measured(attack, best) if known is None else known
        rival = measured(attack, candidate)
        has_helped = attack.gain(rival) > attack.gain(score)
        if has_helped:
            best, score = candidate, rival
        sign = 1 if has_helped else -sign
        known = None if _forgets(attack) else score
        trace.append(score)
    return best, trace


def reroll(attack: Attack) -> tuple[Tensor, list[float]]:
    """Change lowest bits at random until the draws that come with the new content are lucky ones."""
    trace, best = list[float](), (torch.zeros_like(attack.clean), -math.inf)
    perturbation = best[0]
    while attack.victim.num_queries + _repeats(attack) <= attack.config.queries:
        score = measured(attack, perturbation)
        trace.append(score)
        if attack.gain(score) > best[1]:
            best = perturbation, attack.gain(score)
        signs = _signs(attack, (1, *attack.clean.shape[1:]))
        perturbation = attack.inside(min(1.0, attack.config.epsilon) * signs)
    return best[0], trace


def measured(attack: Attack, perturbation: Tensor) -> float:
    """Return the mean answer to the frames with a perturbation, asked as often as the budget plans."""
    frames = attack.clean + attack.norm.whole_levels(attack.inside(perturbation), attack.config.epsilon)
    repeats = _repeats(attack)
    return sum(attack.victim.query(frames) for _ in range(repeats)) / repeats


def _repeats(attack: Attack) -> int:
    return attack.config.repeats if attack.victim.has_random_answers else 1


def _forgets(attack: Attack) -> bool:
    return attack.victim.has_random_answers and attack.config.remeasures


def _cost(attack: Attack, known: float | None) -> int:
    """Return the queries that the next comparison takes."""
    return _repeats(attack) * (1 if known is not None else 2)


def _with_square(attack: Attack, best: Tensor) -> Tensor:
    """Return `kept` with one more square of +-epsilon, smaller the more of the budget is spent."""
    frames, height, width, _ = best.shape
    spent = attack.victim.num_queries / attack.config.queries
    share = _FIRST_SHARE * 2.0 ** -math.floor(_HALVINGS * spent)
    side = max(1, round(math.sqrt(share * height * width)))
    run = max(1, round(math.sqrt(share) * frames))
    (first, end), (top, bottom), (left, right) = (
        _span(attack, length, size) for length, size in ((frames, run), (height, side), (width, side))
    )
    changed = best.clone()
    changed[first:end, top:bottom, left:right] = attack.config.epsilon * _signs(attack, (1, 1, 1, 3))
    return changed


def _span(attack: Attack, length: int, size: int) -> tuple[int, int]:
    size = min(size, length)
    first = int(torch.randint(length - size + 1, (1,), generator=attack.rng))
    return first, first + size


def _signs(attack: Attack, shape: tuple[int, ...]) -> Tensor:
    ones = torch.randint(2, shape, generator=attack.rng) * 2 - 1
    return ones.to(attack.clean)
