"""Owns the key points of a frame and where they were and will be, as TLVQM (Korhonen, 2019) finds them.

```
     before            y             after
   . . . . . .     . . . . . .     . . . . . .
   . o . . . .     . . . . . .     . . . . . .      a 3 x 3 block of edges is looked for in the frame before
   . . . . . .     . . x . . .     . . . . . .      and the one after, at most `reach` pixels away
   . . . . . .     . . . . . .     . . . o . .
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.planes import filtered

__all__ = [
    "SIZE_SHARE",
    "Motion",
    "corners",
    "edges",
    "motions",
    "shares_motion",
]

SIZE_SHARE = 40  # of the width of the whole frame: a block, and how far motion is looked for
_SOBEL = np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]) / 8
_CORNER = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [-2, -2, 0, 1, 1], [-2, -2, -2, 1, 1], [-2, -2, -2, 1, 1]]
)
_CORNERS = tuple(turned / 32 for turned in (_CORNER, _CORNER[::-1], _CORNER[::-1, ::-1], _CORNER[:, ::-1]))
_LEAST_CORNER = 0.01
_CORNER_DECIMALS = 6  # mirrored windows often find two corners equally strong
_LEAST_DIFFERENCE = 0.005  # of a point from itself in another frame: below it nothing moved
_CLEARLY, _NEARLY, _SURELY, _BETTER = 0.8, 1.1, 0.9, 1.01


def edges(y: Tensor) -> Tensor:
    """Return edges across and down, (2, k, h, w)."""
    return torch.stack([filtered(y, _SOBEL.T), filtered(y, _SOBEL)])


def corners(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the strongest of four corner windows at every place of (k, h, w), and how far the weakest is."""
    turned = torch.stack([filtered(y, window).abs_() for window in _CORNERS])
    strongest = turned.amax(dim=0)
    return strongest, strongest - turned.amin(dim=0)


def corner_strength(corner: Tensor, *, border: int) -> Tensor:
    """Return how much of a corner every place of (k, h, w) is, 0 at the border."""
    kept = torch.zeros_like(corner)
    inner = slice(border, -border)
    kept[:, inner, inner] = corner[:, inner, inner]
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
class Motion:
    """Where key points were and will be; rows first."""

    points: NDArray[np.int64]  # (p, 2)
    before: NDArray[np.int64]  # (p, 2) from the place in the frame before to the point
    after: NDArray[np.int64]  # (p, 2) from the point to the place in the frame after
    has_moved: NDArray[np.bool_]  # (p,)
    gains: NDArray[np.float64]  # (p, 2) how much less different the found places are than staying
    num_uncertain: int  # searches, two a point, in which another place was about as good


def matched(points: NDArray[np.int64], edges: list[Tensor], reach: int) -> Motion:
    """Match key points of a frame with the frame before and after; edges are (2, h, w) of the three."""
    if not len(points):
        nothing = np.zeros((0, 2), dtype=np.int64)
        return Motion(
            points=points,
            before=nothing,
            after=nothing,
            has_moved=np.zeros(0, dtype=bool),
            gains=np.zeros((0, 2)),
            num_uncertain=0,
        )
    past, present, future = edges
    differences = [_differences(points, present, other, reach) for other in (past, future)]
    nearness = _distances(reach)
    before, after = (_best(differences, which, nearness, reach) for which in (0, 1))
    return Motion(
        points=points,
        before=-before.shifts,
        after=after.shifts,
        has_moved=before.has_moved | after.has_moved,
        gains=np.stack([before.gain, after.gain], axis=1),
        num_uncertain=before.num_uncertain + after.num_uncertain,
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    shifts: NDArray[np.int64]  # (p, 2)
    has_moved: NDArray[np.bool_]  # (p,)
    gain: NDArray[np.float64]  # (p,)
    num_uncertain: int


def _best(
    differences: list[NDArray[np.float64]], which: int, nearness: NDArray[np.float64], reach: int
) -> _Found:
    """Return the shift to the place that is most like each point, and how much better than staying it is.

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
    reached = found[everyone, place]
    return _Found(
        shifts=np.stack([rows, columns], axis=1) - reach,
        has_moved=(staying > reached * _BETTER) & (place != middle),
        gain=staying - reached,
        num_uncertain=int(((staying > _LEAST_DIFFERENCE) & ~is_clear).sum()),
    )


def shares_motion(motion: Motion) -> NDArray[np.bool_]:
    """Return of which points (p,) the motion is near to the mean motion, as that of a moving camera is."""
    middle = (motion.before + motion.after) / 2
    deviation = middle.std(axis=0, ddof=1) if len(middle) > 1 else np.zeros(2)
    near: NDArray[np.bool_] = (np.abs(middle - middle.mean(axis=0)) < deviation).all(axis=1)
    return near


def motions(
    spread: Tensor, steep: Sequence[Tensor], reach: int
) -> Iterator[tuple[Motion, tuple[int, ...], Tensor]]:
    """Yield for each frame how its key points move, its size, and where nothing moves, (h, w).

    Args:
        spread: of corners (k, h, w), as `corners` returns it second.
        steep: edges (2, k, h, w) of the frames before, of the frames themselves, and of those after.
        reach: pixels that motion is looked for on every side, and a block's.
    """
    for index, strength in enumerate(corner_strength(spread, border=reach + 3).cpu().numpy()):
        motion = matched(key_points(strength, reach), [edge[:, index] for edge in steep], reach)
        yield motion, strength.shape, still_places(motion, strength.shape, reach).to(spread.device)


def still_places(motion: Motion, size: tuple[int, ...], reach: int) -> Tensor:
    """Return where nothing moves, (h, w): outside the blocks of points that do, and of where they go."""
    still = np.ones(size, dtype=np.float32)
    moving = motion.has_moved
    places = motion.points[moving]
    for shift in (0, -motion.before[moving], motion.after[moving]):
        for row, column in (places + shift).tolist():
            still[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = 0
    return torch.from_numpy(still)
