"""Owns VIDEVAL's seven low-complexity statistics from TLVQM (Korhonen, 2019): motion of key points.

Of each frame with the one before and the one after it, at half size: its 1st (how strong motion is), 5th
(spread of the motion that most points share), 12th (detail), 16th (jerkiness), 18th (change), 19th (vertical
motion) and 22nd (flicker where nothing moves).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.planes import filtered

__all__ = ["tlvqm_low"]

_SOBEL = np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]) / 8
_CORNER = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [-2, -2, 0, 1, 1], [-2, -2, -2, 1, 1], [-2, -2, -2, 1, 1]]
)
_CORNERS = tuple(turned / 32 for turned in (_CORNER, _CORNER[::-1], _CORNER[::-1, ::-1], _CORNER[:, ::-1]))
_SIZE_SHARE = 40  # of the frame's width: a block, and how far motion is looked for
_SOBEL_BORDER = 4  # pixels without edges
_LEAST_CORNER = 0.01
_CORNER_DECIMALS = 6  # mirrored windows often find two corners equally strong
_LEAST_DIFFERENCE = 0.005  # of a point from itself in another frame: below it nothing moved
_CLEARLY, _NEARLY, _SURELY, _BETTER = 0.8, 1.1, 0.9, 1.01


def tlvqm_low(before: Tensor, y: Tensor, after: Tensor, *, reach: int) -> list[Tensor]:
    """Return 7 statistics (k,).

    Args:
        before: luma (k, h, w), 0..1, of the frames before, at half size.
        y: of the frames themselves.
        after: of the frames after.
        reach: pixels that motion is looked for on every side, and a block's.
    """
    edges = [_edges(frames) for frames in (before, y, after)]
    corners = _corner_strength(y, border=reach + 3).cpu().numpy()
    found = []
    for index, strength in enumerate(corners):
        motion = _motion(key_points(strength, reach), [edge[:, index] for edge in edges], reach)
        still = _still(motion, strength.shape, reach)
        flicker = _flicker(before[index], y[index], after[index], still.to(y.device))
        found.append([*_of_motion(motion, strength.shape, reach), flicker])
    moved, shared, jerk, vertical, flicker = torch.tensor(found, device=y.device, dtype=y.dtype).T
    return [moved, shared, _detail(edges[1]), jerk, _change(before, y, after), vertical, flicker]


def _edges(y: Tensor) -> Tensor:
    """Return edges across and down, (2, k, h, w)."""
    return torch.stack([filtered(y, _SOBEL.T), filtered(y, _SOBEL)])


def _detail(edges: Tensor) -> Tensor:
    size = edges.square().sum(dim=0).sqrt_()
    kept = torch.zeros_like(size)
    inner = slice(_SOBEL_BORDER, -_SOBEL_BORDER)
    kept[:, inner, inner] = size[:, inner, inner]
    return kept.flatten(1).std(dim=1) ** 0.25


def _change(before: Tensor, y: Tensor, after: Tensor) -> Tensor:
    both = (y - before).abs_() + (y - after).abs_()
    return (both.mean(dim=(1, 2)) / 2) ** 0.25


def _corner_strength(y: Tensor, *, border: int) -> Tensor:
    """Return how much of a corner every place of (k, h, w) is, 0 at the border."""
    turned = torch.stack([filtered(y, window).abs_() for window in _CORNERS])
    strength = turned.amax(dim=0) - turned.amin(dim=0)
    kept = torch.zeros_like(strength)
    inner = slice(border, -border)
    kept[:, inner, inner] = strength[:, inner, inner]
    return kept


def key_points(strength: NDArray[np.floating], reach: int) -> NDArray[np.int64]:
    """Return (p, 2) rows and columns of corners, the strongest first, none in the block of another.

    Of equals the leftmost, then the topmost, comes first.
    """
    # (w, h), so that the first of equals is the leftmost. Rounded, or rounding would choose among equals.
    left = strength.T.round(_CORNER_DECIMALS)
    best = left.max(axis=1)
    points = []
    while best[column := int(best.argmax())] > _LEAST_CORNER:
        row = int(left[column].argmax())
        points.append((row, column))
        columns = slice(max(column - reach, 0), column + reach + 1)
        left[columns, max(row - reach, 0) : row + reach + 1] = 0
        best[columns] = left[columns].max(axis=1)
    return np.array(points, dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Motion:
    """Where key points were and will be; rows first."""

    points: NDArray[np.int64]  # (p, 2)
    before: NDArray[np.int64]  # (p, 2) from the place in the frame before to the point
    after: NDArray[np.int64]  # (p, 2) from the point to the place in the frame after
    has_moved: NDArray[np.bool_]  # (p,)


def _motion(points: NDArray[np.int64], edges: list[Tensor], reach: int) -> _Motion:
    """Match key points of a frame with the frame before and after; edges are (2, h, w) of the three."""
    if not len(points):
        nothing = np.zeros((0, 2), dtype=np.int64)
        return _Motion(points=points, before=nothing, after=nothing, has_moved=np.zeros(0, dtype=bool))
    past, present, future = edges
    differences = [_differences(points, present, other, reach) for other in (past, future)]
    nearness = _distances(reach)
    shifts, improved = zip(*(_best(differences, which, nearness, reach) for which in (0, 1)), strict=True)
    return _Motion(points=points, before=-shifts[0], after=shifts[1], has_moved=improved[0] | improved[1])


def _differences(points: NDArray[np.int64], edges: Tensor, other: Tensor, reach: int) -> NDArray[np.float64]:
    """Return (p, (2 reach + 1)^2) squared differences of 3 x 3 blocks of edges, columns first."""
    at = torch.from_numpy(points).to(edges.device)
    own = edges.unfold(1, 3, 1).unfold(2, 3, 1)[:, at[:, 0] - 1, at[:, 1] - 1]  # (2, p, 3, 3)
    side = 2 * reach + 3
    windows = other.unfold(1, side, 1).unfold(2, side, 1)
    around = windows[:, at[:, 0] - reach - 1, at[:, 1] - reach - 1]  # (2, p, side, side)
    squares = (around * around).sum(dim=0)
    total = _box(squares) + (own * own).sum(dim=(0, 2, 3))[:, None, None]
    pictures = around.transpose(0, 1).reshape(1, -1, side, side)
    product = F.conv2d(pictures, own.transpose(0, 1).contiguous(), groups=len(points))[0]
    found = (total - 2 * product).clamp_(min=0)
    return found.transpose(1, 2).reshape(len(points), -1).double().cpu().numpy()


def _box(x: Tensor) -> Tensor:
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]


def _distances(reach: int) -> NDArray[np.float64]:
    """Return how far each place of a window is from its middle, columns first."""
    steps = np.arange(-reach, reach + 1)
    found: NDArray[np.float64] = np.hypot(steps[:, None], steps).ravel()
    return found


def _best(
    differences: list[NDArray[np.float64]], which: int, nearness: NDArray[np.float64], reach: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (p, 2) shifts to the place that is most like each point, and whether it is better than staying.

    Where two places are about as good, the nearer to the middle is preferred. How good it then has to be is
    judged in the frame after, also for the frame before: so does the program behind the published features.
    """
    found = differences[which]
    everyone, middle = np.arange(len(found)), found.shape[1] // 2
    staying = found[:, middle]
    order = np.argpartition(found, 1, axis=1)[:, :2]
    order = np.take_along_axis(
        order, np.argsort(found[everyone[:, None], order], axis=1, kind="stable"), axis=1
    )
    least, second = found[everyone, order[:, 0]], found[everyone, order[:, 1]]
    is_clear = (least <= _CLEARLY * second) | (nearness[order[:, 0]] < nearness[order[:, 1]])
    rivals = np.where(_CLEARLY * found <= least[:, None], nearness, np.inf)
    nearest = rivals.argmin(axis=1)
    is_good = differences[1][everyone, nearest] < _NEARLY * least
    wanted = np.where(is_good, found[everyone, nearest], np.where(least < _SURELY * staying, least, staying))
    wanted = np.where(is_clear, least, wanted)
    improved = (staying > _LEAST_DIFFERENCE) & (wanted * _BETTER < staying)
    place = np.where(improved, (found == wanted[:, None]).argmax(axis=1), middle)
    columns, rows = np.divmod(place, 2 * reach + 1)
    shifts = np.stack([rows, columns], axis=1) - reach
    gain = staying > found[everyone, place] * _BETTER
    return shifts, gain & (place != middle)


def _still(motion: _Motion, size: tuple[int, ...], reach: int) -> Tensor:
    """Return where nothing moves, (h, w): outside the blocks of points that do, and of where they go."""
    still = np.ones(size, dtype=np.float32)
    moving = motion.has_moved
    places = motion.points[moving]
    for shift in (0, -motion.before[moving], motion.after[moving]):
        for row, column in (places + shift).tolist():
            still[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = 0
    return torch.from_numpy(still)


def _flicker(before: Tensor, y: Tensor, after: Tensor, still: Tensor) -> float:
    """Return how far the larger change of a place is from the mean change, on average where nothing moves."""
    share = still.sum()
    if not share:
        return 0.0
    past, future = (y - before).abs(), (y - after).abs()
    usual = ((past + future) * still).sum() / (2 * share)
    return float(((torch.maximum(past, future) - usual).abs() * still).sum() / share)


def _of_motion(motion: _Motion, size: tuple[int, ...], reach: int) -> tuple[float, float, float, float]:
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


def _shared(motion: _Motion, strength: NDArray[np.float64]) -> float:
    """Return the deviation of strength among points whose motion is near to the mean motion."""
    middle = (motion.before + motion.after) / 2
    deviation = middle.std(axis=0, ddof=1) if len(middle) > 1 else np.zeros(2)
    shared = strength[(np.abs(middle - middle.mean(axis=0)) < deviation).all(axis=1)]
    return float(shared.std(ddof=1)) if len(shared) > 1 else 0.0
