"""Owns the table of attacks and the one call that runs any of them on one video."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.attacks.attack import Attack, AttackConfig, Attacked, AttackName, Loop, Victim
from securevqa_core.attacks.filters import contrast, noise, sharpen
from securevqa_core.attacks.gradients import apgd, pgd
from securevqa_core.attacks.queries import nes, square
from securevqa_core.errors import ConfigurationError

__all__ = ["run_attack"]

_LOOPS: dict[AttackName, Loop] = {
    "pgd": pgd,
    "apgd": apgd,
    "square": square,
    "nes": nes,
    "sharpen": sharpen,
    "contrast": contrast,
    "noise": noise,
}


def run_attack(
    frames: NDArray[np.uint8], victim: Victim, config: AttackConfig, *, rng: np.random.Generator
) -> Attacked:
    """Attack one video.

    Args:
        frames: (t, h, w, 3) uint8 RGB, the whole video.
        victim: what is attacked; it counts what is spent.
        config: which attack, and how far it may go.
        rng: where starts and candidates come from.

    Returns:
        Frames of whole levels inside the ball, and what they cost.

    Raises:
        ConfigurationError: `frames` is not uint8.
    """
    if frames.dtype != np.uint8:
        raise ConfigurationError(f"frames must be uint8, got {frames.dtype}")
    clean = torch.from_numpy(frames.astype(np.float32)).to(victim.scorer.device)
    seeded = torch.Generator().manual_seed(int(rng.integers(2**63)))
    attack = Attack(clean=clean, victim=victim, config=config, rng=seeded)
    return attack.finished(*_LOOPS[config.attack](attack))
