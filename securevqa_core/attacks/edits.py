"""Owns edits in time, which leave every picture as it is and deceive what looks at motion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from securevqa_core.attacks.attack import Attack

__all__ = ["ORDERS", "edited"]

_SHARE = 0.25  # of the frames, those that are dropped or replaced
_WINDOW = 4  # frames among which the order is drawn anew

Order = Callable[[int, torch.Generator], Tensor]


def edited(attack: Attack, order: Order) -> tuple[Tensor, list[float]]:
    """Return frames in another order, the best one of as many as queries allow; with no query the first.

    Where there is one order only, nothing is asked.
    """
    num_frames, config = len(attack.clean), attack.config
    repeats = config.repeats if attack.victim.has_random_answers else 1
    best, most, trace = attack.clean[order(num_frames, attack.rng)], -float("inf"), list[float]()
    candidate = best
    if order in _FIXED:
        return best, trace
    while attack.victim.num_queries + repeats <= config.queries:
        trace.append(sum(attack.victim.query(candidate) for _ in range(repeats)) / repeats)
        if attack.gain(trace[-1]) > most:
            best, most = candidate, attack.gain(trace[-1])
        candidate = attack.clean[order(num_frames, attack.rng)]
    return best, trace


def _drop(num_frames: int, rng: torch.Generator) -> Tensor:
    """Leave frames out."""
    is_kept = torch.ones(num_frames, dtype=torch.bool)
    is_kept[_some(num_frames, rng)] = False
    return is_kept.nonzero()[:, 0]


def _repeat(num_frames: int, rng: torch.Generator) -> Tensor:
    """Show the frame before in place of some."""
    frames = torch.arange(num_frames)
    frames[_some(num_frames, rng)] -= 1
    return frames


def _reorder(num_frames: int, rng: torch.Generator) -> Tensor:
    """Shuffle the frames of every short window."""
    windows = torch.split(torch.arange(num_frames), _WINDOW)
    return torch.cat([one[torch.randperm(len(one), generator=rng)] for one in windows])


def _fast(num_frames: int, _rng: torch.Generator) -> Tensor:
    """Leave every second frame out."""
    return torch.arange(0, num_frames, 2)


def _slow(num_frames: int, _rng: torch.Generator) -> Tensor:
    """Show every frame twice, at twice the rate."""
    return torch.arange(num_frames).repeat_interleave(2)


def _some(num_frames: int, rng: torch.Generator) -> Tensor:
    """Return a quarter of the frames after the first."""
    return 1 + torch.randperm(num_frames - 1, generator=rng)[: round(_SHARE * num_frames)]


_FIXED = (_fast, _slow)
ORDERS: dict[str, Order] = {
    "drop": _drop,
    "repeat": _repeat,
    "reorder": _reorder,
    "fast": _fast,
    "slow": _slow,
}
