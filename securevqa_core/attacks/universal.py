"""Owns the universal perturbation: one tile, fitted to some videos, that is laid over any other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.attacks.attack import Attack, AttackConfig, Victim
from securevqa_core.attacks.norms import norm_named
from securevqa_core.errors import ConfigurationError

__all__ = ["TILE_SIDE", "fit_universal", "universal"]

TILE_SIDE = 64  # pixels
_STEP_SHARE = 2.5  # all steps together, in radii, as of PGD


def universal(attack: Attack) -> tuple[Tensor, list[float]]:
    """Lay the fitted tile over every frame, cut to the ball; the video's own score is not asked.

    Raises:
        ConfigurationError: there is no tile.
    """
    if attack.tile is None:
        raise ConfigurationError("universal needs a tile that was fitted before, got None")
    return attack.inside(_laid(attack.tile, attack.clean)), []


def fit_universal(
    videos: Sequence[NDArray[np.uint8]], victim: Victim, config: AttackConfig, *, rng: np.random.Generator
) -> Tensor:
    """Climb by the mean gradient over videos (Shumitskaya et al., 2022, fit one picture in this way).

    Args:
        videos: each (t, h, w, 3) uint8; none of them should be attacked with the result.
        victim: what is attacked.
        config: steps, norm and radius; its direction must not be boundary.
        rng: where the tile starts.

    Returns:
        (TILE_SIDE, TILE_SIDE, 3) float inside the ball.

    Raises:
        ConfigurationError: no videos, or a direction that one perturbation cannot have.
    """
    if not videos or config.direction == "boundary":
        raise ConfigurationError(
            f"universal needs videos and one direction, got {len(videos)} and {config.direction}"
        )
    norm, device = norm_named(config.norm), victim.scorer.device
    seeded = torch.Generator().manual_seed(int(rng.integers(2**63)))
    tile = norm.start(torch.zeros(TILE_SIDE, TILE_SIDE, 3), config.epsilon, seeded).to(device)
    sign = 1 if config.direction == "inflate" else -1
    for _ in range(config.steps):
        slope = torch.zeros_like(tile)
        for video in videos:
            clean = torch.from_numpy(video.astype(np.float32)).to(device)
            perturbed = (clean + _laid(tile, clean)).clamp(0, 255)
            slope += _folded(victim.gradient(perturbed, eot_draws=config.eot_draws)[1])
        length = _STEP_SHARE * config.epsilon / config.steps
        tile = norm.project(tile + length * norm.steepest(sign * slope), config.epsilon)
    return tile


def _laid(tile: Tensor, clean: Tensor) -> Tensor:
    """Return the tile repeated to (1, h, w, 3)."""
    _, height, width, _ = clean.shape
    across = tile.repeat(-(-height // TILE_SIDE), -(-width // TILE_SIDE), 1)
    return across[None, :height, :width].expand(clean.shape)


def _folded(slope: Tensor) -> Tensor:
    """Return the sum of (t, h, w, 3) over all places of the tile."""
    _, height, width, _ = slope.shape
    padded = F.pad(slope.sum(dim=0), (0, 0, 0, -width % TILE_SIDE, 0, -height % TILE_SIDE))
    tiles = padded.view(-1, TILE_SIDE, padded.shape[1] // TILE_SIDE, TILE_SIDE, 3)
    return tiles.sum(dim=(0, 2))
