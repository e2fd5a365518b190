"""Owns the attacks of those who have the weights: PGD, APGD and a local patch, averaged over draws."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from securevqa_core.attacks.attack import Attack

__all__ = ["apgd", "patch", "pgd"]

_STEP_SHARE = 2.5  # all steps together, in radii, as Madry et al. (2018) chose
_MOMENTUM = 0.75  # of APGD (Croce and Hein, 2020)
_FIRST_PERIOD, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06  # share of the steps between two looks back
_MIN_RISES = 0.75  # share of a period's steps that must have helped


def pgd(attack: Attack) -> tuple[Tensor, list[float]]:
    """Climb by steps of one size from a random start; known draws let it keep the best step."""
    config, norm = attack.config, attack.norm
    perturbation = attack.inside(norm.start(attack.clean, config.epsilon, attack.rng))
    length = _STEP_SHARE * config.epsilon / config.steps
    best, trace = _Best(attack), list[float]()
    for _ in range(config.steps):
        score, slope = attack.victim.gradient(attack.clean + perturbation, eot_draws=config.eot_draws)
        trace.append(score)
        best.offer(perturbation, score)
        perturbation = attack.inside(perturbation + length * norm.steepest(attack.sign_at(score) * slope))
    return best.or_last(perturbation), trace


def apgd(attack: Attack) -> tuple[Tensor, list[float]]:
    """Climb with momentum; halve the step, and go back to the best place, where too few steps helped."""
    config, norm = attack.config, attack.norm
    perturbation = attack.inside(norm.start(attack.clean, config.epsilon, attack.rng))
    previous, length = perturbation, 2 * config.epsilon
    best, trace = _Best(attack), list[float]()
    checkpoints, rises, since = _checkpoints(config.steps), 0, 0
    for step in range(config.steps):
        score, slope = attack.victim.gradient(attack.clean + perturbation, eot_draws=config.eot_draws)
        rises += bool(trace) and attack.gain(score) > attack.gain(trace[-1])
        trace.append(score)
        best.offer(perturbation, score)
        if step in checkpoints:
            if rises < _MIN_RISES * (step - since):
                length, perturbation = length / 2, best.perturbation
                previous = perturbation
                slope = best.slope_or(slope)
            rises, since = 0, step
        best.keep_slope(perturbation, slope)
        ahead = attack.inside(perturbation + length * norm.steepest(attack.sign_at(score) * slope))
        moved = _MOMENTUM * (ahead - perturbation) + (1 - _MOMENTUM) * (perturbation - previous)
        previous, perturbation = perturbation, attack.inside(perturbation + moved)
    return best.or_last(perturbation), trace


def patch(attack: Attack) -> tuple[Tensor, list[float]]:
    """Do as PGD inside one square of the frame, at a random place and the same in every frame."""
    _, height, width, _ = attack.clean.shape
    side = max(1, min(height, width, round(math.sqrt(attack.config.patch_share * height * width))))
    top, left = (int(torch.randint(n - side + 1, (1,), generator=attack.rng)) for n in (height, width))
    mask = torch.zeros(height, width, 1, device=attack.clean.device)
    mask[top : top + side, left : left + side] = 1
    return pgd(replace(attack, mask=mask))


class _Best:
    """The best place seen: exact where draws are known, one noisy look where they are not."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self._gain = -math.inf
        self._slope: Tensor | None = None
        self.perturbation = torch.zeros_like(attack.clean)

    def offer(self, perturbation: Tensor, score: float) -> None:
        """Keep a place that scores better than the best."""
        if self._attack.gain(score) > self._gain:
            self._gain, self._slope = self._attack.gain(score), None
            self.perturbation = perturbation

    def keep_slope(self, perturbation: Tensor, slope: Tensor) -> None:
        """Remember the gradient at the best place."""
        if perturbation is self.perturbation:
            self._slope = slope

    def slope_or(self, slope: Tensor) -> Tensor:
        """Return the gradient at the best place, or `slope` if it was taken there just now."""
        return slope if self._slope is None else self._slope

    def or_last(self, last: Tensor) -> Tensor:
        """Return the better one of the best and the last place; with fresh draws no one look decides."""
        if self._attack.victim.has_random_gradients:
            return last
        score, _ = self._attack.victim.gradient(self._attack.clean + last, eot_draws=1)
        self.offer(last, score)
        return self.perturbation


def _checkpoints(steps: int) -> set[int]:
    """Return the steps at which APGD looks back: periods get shorter."""
    checkpoints, share, period = set[int](), 0.0, _FIRST_PERIOD
    while share + period < 1:
        share += period
        checkpoints.add(math.ceil(share * steps))
        period = max(period - _SHORTER, _SHORTEST)
    return checkpoints
