"""Owns VIDEVAL's seven low-complexity statistics from TLVQM (Korhonen, 2019): motion of key points.

Of each frame with the one before and the one after it, at half size: its 1st (how strong motion is), 5th
(spread of the motion that most points share), 12th (detail), 16th (jerkiness), 18th (change), 19th (vertical
motion) and 22nd (flicker where nothing moves).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.key_points import Motion, corners, edges, motions, shares_motion

__all__ = ["change", "detail", "flicker", "tlvqm_low"]

_SOBEL_BORDER = 4  # pixels without edges


def tlvqm_low(before: Tensor, y: Tensor, after: Tensor, *, reach: int) -> list[Tensor]:
    """Return 7 statistics (k,).

    Args:
        before: luma (k, h, w), 0..1, of the frames before, at half size.
        y: of the frames themselves.
        after: of the frames after.
        reach: pixels that motion is looked for on every side, and a block's.
    """
    steep = [edges(frames) for frames in (before, y, after)]
    found = []
    for index, (motion, size, still) in enumerate(motions(corners(y)[1], steep, reach)):
        unrest = flicker(before[index], y[index], after[index], still)
        found.append([*_of_motion(motion, size, reach), unrest])
    moved, shared, jerk, vertical, unrests = torch.tensor(found, device=y.device, dtype=y.dtype).T
    return [moved, shared, detail(steep[1]), jerk, change(before, y, after), vertical, unrests]


def detail(edges: Tensor) -> Tensor:
    """Return the spread (k,) of edges (2, k, h, w), fourth root."""
    size = edges.square().sum(dim=0).sqrt_()
    kept = torch.zeros_like(size)
    inner = slice(_SOBEL_BORDER, -_SOBEL_BORDER)
    kept[:, inner, inner] = size[:, inner, inner]
    return kept.flatten(1).std(dim=1) ** 0.25


def change(before: Tensor, y: Tensor, after: Tensor) -> Tensor:
    """Return the mean difference (k,) from the frames before and after, fourth root."""
    both = (y - before).abs_() + (y - after).abs_()
    return (both.mean(dim=(1, 2)) / 2) ** 0.25


def flicker(before: Tensor, y: Tensor, after: Tensor, still: Tensor) -> float:
    """Return how far the larger change of a place is from the mean change, on average where nothing moves."""
    share = still.sum()
    if not share:
        return 0.0
    past, future = (y - before).abs(), (y - after).abs()
    usual = ((past + future) * still).sum() / (2 * share)
    return float(((torch.maximum(past, future) - usual).abs() * still).sum() / share)


def _of_motion(motion: Motion, size: tuple[int, ...], reach: int) -> tuple[float, float, float, float]:
    """Return strength of motion, spread of shared motion, jerkiness, and vertical motion, 0.5 for none."""
    if not len(motion.points):
        return 0.0, 0.0, 0.0, 0.5
    before, after = motion.before / reach, motion.after / reach
    strength = np.sqrt(((before**2).sum(axis=1) + (after**2).sum(axis=1)) / 4)
    most_points = size[0] / reach * (size[1] / reach)
    jerk, vertical = 0.0, 0.5
    if strength.sum() > 0:
        jerk = float((np.hypot(*((before - after) / 2).T) ** 0.5).mean())
        vertical = float((0.25 * (before + after)[:, 0] + 0.5).mean())
    return float((strength.sum() / most_points) ** 0.25), _shared(motion, strength), jerk, vertical


def _shared(motion: Motion, strength: NDArray[np.float64]) -> float:
    """Return the deviation of strength among points whose motion is near to the mean motion."""
    shared = strength[shares_motion(motion)]
    return float(shared.std(ddof=1)) if len(shared) > 1 else 0.0
