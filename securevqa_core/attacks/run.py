"""Owns the table of attacks and the one call that runs any of them on one video."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.attacks.attack import Attack, AttackConfig, Attacked, Loop, Victim
from securevqa_core.attacks.edits import ORDERS, edited
from securevqa_core.attacks.filters import FILTERS, filtered
from securevqa_core.attacks.gradients import apgd, patch, pgd
from securevqa_core.attacks.queries import nes, patches, reroll, square
from securevqa_core.attacks.universal import universal
from securevqa_core.errors import ConfigurationError

__all__ = ["run_attack"]

_LOOPS: dict[str, Loop] = {
    "pgd": pgd,
    "apgd": apgd,
    "patch": patch,
    "universal": universal,
    "square": square,
    "nes": nes,
    "patches": patches,
    "reroll": reroll,
    **dict.fromkeys(FILTERS, filtered),
}


def run_attack(
    frames: NDArray[np.uint8],
    victim: Victim,
    config: AttackConfig,
    *,
    rng: np.random.Generator,
    goal: float | None = None,
    tile: Tensor | None = None,
) -> Attacked:
    """Attack one video.

    Args:
        frames: (t, h, w, 3) uint8 RGB, the whole video.
        victim: what is attacked; it counts what is spent.
        config: which attack, and how far it may go.
        rng: where starts and candidates come from.
        goal: the raw score that direction boundary wants.
        tile: what `fit_universal` returned, for the universal perturbation.

    Returns:
        Frames of whole levels inside the ball, or in another order, and what they cost.

    Raises:
        ConfigurationError: `frames` is not uint8, or what the attack needs besides is missing.
    """
    if frames.dtype != np.uint8:
        raise ConfigurationError(f"frames must be uint8, got {frames.dtype}")
    if (goal is not None) != (config.direction == "boundary"):
        raise ConfigurationError(f"a goal goes with direction boundary, got {goal} with {config.direction}")
    clean = torch.from_numpy(frames.astype(np.float32)).to(victim.scorer.device)
    seeded = torch.Generator().manual_seed(int(rng.integers(2**63)))
    attack = Attack(clean=clean, victim=victim, config=config, rng=seeded, goal=goal, tile=tile)
    if config.attack in ORDERS:
        return attack.counted(*edited(attack, ORDERS[config.attack]))
    return attack.finished(*_LOOPS[config.attack](attack))
