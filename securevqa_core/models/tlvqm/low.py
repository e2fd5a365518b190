"""Owns TLVQM's low-complexity statistics (Korhonen, 2019): motion of key points, and what a glance shows.

22 of every second frame, with the one before and the one after it; the motion is looked for at half size.
Lengths of motion are in units of how far it is looked for, places in units of the frame.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.key_points import Motion, corners, edges, motions, shares_motion
from securevqa_core.models.videval.planes import filtered
from securevqa_core.models.videval.tlvqm_low import change, detail, flicker

__all__ = ["LOW_FEATURES", "tlvqm_low_features"]

LOW_FEATURES = (
    "strength of motion",
    "density of points that share a motion",
    "strength of shared motion",
    "spread of strengths of motion",
    "spread of strengths of shared motion",
    "distance of motion from the middle of the frame",
    "spread of the places of motion",
    "distance of shared motion from the middle of the frame",
    "spread of the places of shared motion",
    "gain of following motion over staying",
    "blur: what is left of edges when they are filtered again",
    "spatial detail",
    "interlacing: likeness of differences of lines and of columns",
    "uncertainty of motion",
    "blockiness: evenness of corners",
    "jerkiness",
    "spread of jerkiness",
    "change between frames",
    "vertical motion, 0.5 for none",
    "horizontal motion, 0.5 for none",
    "change where nothing moves",
    "flicker where nothing moves",
)

_EDGE = np.array([[-1.0, -2.0, -1.0], [1.0, 2.0, 1.0], [0.0, 0.0, 0.0]]) / 8  # of neighbouring lines
_EDGE_BORDER = 3  # pixels without edges
_SHARE_SHARP, _SHARE_APART, _SHARE_CORNERS = 0.1, 0.001, 0.99


def tlvqm_low_features(full: Tensor, before: Tensor, y: Tensor, after: Tensor, *, reach: int) -> Tensor:
    """Return the 22 statistics of frames, (k, 22).

    Args:
        full: luma (k, h, w), 0..1, of the frames.
        before: luma (k, h / 2, w / 2), 0..1, of the frames before.
        y: of the frames themselves.
        after: of the frames after.
        reach: pixels that motion is looked for on every side, and a block's.
    """
    steep = [edges(frames) for frames in (before, y, after)]
    strongest, spread = corners(y)
    found = []
    for index, (motion, size, still) in enumerate(motions(spread, steep, reach)):
        frames = before[index], y[index], after[index]
        found.append([*_of_motion(motion, size, reach), _unrest(*frames, still), flicker(*frames, still)])
    moving = torch.tensor(found, device=y.device, dtype=y.dtype)
    glances = [_blur(full), detail(steep[1]), _interlacing(full), _evenness(strongest)]
    blur, details, interlacing, evenness = (one[:, None] for one in glances)
    parts = [moving[:, :10], blur, details, interlacing, moving[:, 10:11], evenness, moving[:, 11:13]]
    return torch.cat([*parts, change(before, y, after)[:, None], moving[:, 13:]], dim=1)


def _blur(y: Tensor) -> Tensor:
    """Return what is left (k,) of the power of the strongest edges that are filtered again; 0 for none."""
    once = [filtered(y, window) for window in (_EDGE.T, _EDGE)]
    twice = [filtered(one, window) for one, window in zip(once, (_EDGE.T, _EDGE), strict=True)]
    powers = []
    for (across, down), border in ((once, _EDGE_BORDER), (twice, _EDGE_BORDER - 1)):
        inner = slice(border, -border)
        power = across[:, inner, inner] ** 2 + down[:, inner, inner] ** 2
        powers.append(_mean_of_largest(power, _SHARE_SHARP))
    return torch.where(powers[0] > 0, powers[1] / powers[0], 0.0)


def _interlacing(y: Tensor) -> Tensor:
    """Return how like (k,) the largest differences of neighbouring lines are to those of columns, 0..1."""
    height, width = (size // 2 * 2 for size in y.shape[1:])
    even = y[:, :height, :width]
    lines = _mean_of_largest((even[:, ::2] - even[:, 1::2]) ** 2, _SHARE_APART)
    columns = _mean_of_largest((even[:, :, ::2] - even[:, :, 1::2]) ** 2, _SHARE_APART)
    least, most = torch.minimum(lines, columns), torch.maximum(lines, columns)
    return torch.where(most > 0, least / most, 0.0)


def _mean_of_largest(x: Tensor, share: float) -> Tensor:
    """Return the mean (k,) of a share of the values of (k, h, w)."""
    values = x.flatten(1)
    return values.topk(max(int(share * values.shape[1]), 1), dim=1, sorted=False).values.mean(dim=1)


def _evenness(strongest: Tensor) -> Tensor:
    """Return half (mean / deviation)^2 (k,) of all but the strongest corners, 0 for none."""
    values = strongest.flatten(1).double()
    kept = values.sort(dim=1).values[:, : int(_SHARE_CORNERS * values.shape[1])]
    deviation = kept.std(dim=1)
    found = torch.where(deviation > 0, 0.5 * (kept.mean(dim=1) / deviation) ** 2, 0.0)
    return found.to(strongest.dtype)


def _unrest(before: Tensor, y: Tensor, after: Tensor, still: Tensor) -> float:
    """Return the mean change where nothing moves."""
    share = still.sum()
    both = (y - before).abs() + (y - after).abs()
    return float((both * still).sum() / (2 * share)) if share else 0.0


def _of_motion(motion: Motion, size: tuple[int, ...], reach: int) -> list[float]:
    """Return the 15 statistics of motion but change and flicker, in their order."""
    if not len(motion.points):
        return [0.0] * 13 + [0.5, 0.5]
    before, after = motion.before / reach, motion.after / reach
    strength = np.sqrt(((before**2).sum(axis=1) + (after**2).sum(axis=1)) / 4)
    most_points = size[0] / reach * (size[1] / reach)
    shared = shares_motion(motion)
    place, spread = _places(motion.points, strength, size)
    shared_place, shared_spread = _places(motion.points[shared], strength[shared], size)
    jerks, gain, mean_motion = np.zeros(1), 0.0, np.full(2, 0.5)
    if strength.sum() > 0:
        jerks = np.hypot(*((before - after) / 2).T) ** 0.5
        gain = float(0.5 * motion.gains.mean(axis=0).sum() ** 0.5)
        mean_motion = (0.25 * (before + after) + 0.5).mean(axis=0)
    return [
        float((strength.sum() / most_points) ** 0.25),
        shared.sum() / most_points,
        float((strength[shared].sum() / most_points) ** 0.25),
        _spread(strength),
        _spread(strength[shared]),
        place,
        spread,
        shared_place,
        shared_spread,
        gain,
        0.5 * motion.num_uncertain / most_points,
        float(jerks.mean()),
        _spread(jerks),
        *mean_motion.tolist(),
    ]


def _places(
    points: NDArray[np.int64], strength: NDArray[np.float64], size: tuple[int, ...]
) -> tuple[float, float]:
    """Return how far the middle of motion is from the frame's, and how far motion is from its middle."""
    if not strength.sum():
        return 0.0, 0.0
    sides = np.array(size)
    middle = np.average(points + 1, axis=0, weights=strength)
    variance = np.average((points + 1 - middle) ** 2, axis=0, weights=strength)
    return float(np.hypot(*((middle - sides / 2) / (sides / 2)))), float(np.hypot(*(variance**0.5 / sides)))


def _spread(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
