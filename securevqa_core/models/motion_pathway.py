"""Owns the fast pathway at small cost: what moves from frame to frame, and how it goes on.

As in SlowFast's fast pathway, all frames are seen, by few channels, through convolutions over time. In place
of pixels it reads statistics of frame differences, which say the same of every content: a picture that
stands still, jumps, flickers or breaks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.fast_pathway import FAST_PATHWAY_DIM
from securevqa_core.models.saturation import SaturatedNorm
from securevqa_core.models.sensitivity import SENSITIVITY, TO_ALL, Sensitivity
from securevqa_core.models.statistics import halved, levels_of, mixed, still, weights_of

__all__ = ["NUM_MOTION_STATISTICS", "MotionPathway", "motion_statistics"]

_GRID = 7  # patches a side
_NUM_MAPS = 12
NUM_MOTION_STATISTICS = 4 * _NUM_MAPS  # mean, standard deviation, largest and smallest over the patches

_CHANNELS = 32
_NUM_BLOCKS = 2
_REACH = 5  # frames a convolution sees
_BOUND = 8.0  # standard deviations beyond which a statistic says no more
_FLOOR = 0.3  # 8-bit levels: keeps the logarithm of no motion defined


def motion_statistics(x: Tensor, *, sensitivity: Sensitivity = TO_ALL) -> Tensor:
    """Return statistics of each frame and its difference from the one before; the first repeats the second's.

    Args:
        x: (n, 3, t, h, w) normalised segments, t >= 3, sides >= 28.
        sensitivity: to what changes; a patch is a place.

    Returns:
        (n, NUM_MOTION_STATISTICS, t) float32.

    Raises:
        ConfigurationError: the segments are too small or too short.
    """
    if x.ndim != 5 or x.shape[1] != 3 or x.shape[2] < 3 or min(x.shape[3:]) < 4 * _GRID:
        raise ConfigurationError(
            f"x must be (n, 3, t >= 3, h >= {4 * _GRID}, w >= {4 * _GRID}), got {tuple(x.shape)}"
        )
    with torch.autocast(x.device.type, enabled=False):  # products of matrices average
        return _statistics(levels_of(x), sensitivity)


def _statistics(rgb: Tensor, sensitivity: Sensitivity) -> Tensor:
    red, green, blue = rgb.unbind(1)
    luma = mixed(red, green, blue)
    change = sensitivity.without_level(luma.diff(dim=1), _level)
    size, floor = sensitivity.size(change), sensitivity.floor(_FLOOR)
    colours = (sensitivity.without_level((one - luma).diff(dim=1), _level) for one in (red, blue))
    red, blue = (sensitivity.size(one) for one in colours)
    again = _patches(sensitivity.size(change.diff(dim=1)))
    steep = _patches(luma.diff(dim=-1).abs_()) + _patches(luma.diff(dim=-2).abs_())
    # A variance is the small difference of large numbers: another order of summing would change a score.
    level, power = (F.adaptive_avg_pool2d(one, _GRID) for one in (luma, luma * luma))
    spread = (power - level * level).clamp_min(0).add(1e-3).sqrt()
    maps = [
        _as_many(_log(_patches(size), floor)),
        _as_many(0.5 * torch.log(_patches(size * size) + sensitivity.floor(0.1))),
        _as_many(_patches(still(size))),
        _as_many(_log(_largest(size), floor)),
        _as_many(_log(_patches(sensitivity.size(halved(halved(change)))), floor)),
        _as_many(_patches(change) / 8),
        _log(F.pad(again, (0, 0, 0, 0, 2, 0)), floor),
        _log(steep),
        _log(spread),
        level / 64 - 2,
        _as_many(_log(_patches(red + blue), floor)),
        _log(_patches(_curvature(luma).abs_())),
    ]
    places = torch.stack(maps, dim=1).flatten(3)
    statistics = [places.mean(-1), places.std(-1, correction=0), places.amax(-1), places.amin(-1)]
    return torch.cat(statistics, dim=1)


class MotionPathway(nn.Module):
    """Normalised (n, 3, t, h, w) float -> (n, 256): statistics of motion, convolved over time, averaged."""

    has_statistics = True
    sensitivity: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.standardise = SaturatedNorm(NUM_MOTION_STATISTICS, bound=_BOUND)
        self.register_buffer(SENSITIVITY, TO_ALL.buffer())
        self.stem = nn.Linear(NUM_MOTION_STATISTICS, _CHANNELS)
        self.blocks = nn.Sequential(*(_TemporalBlock() for _ in range(_NUM_BLOCKS)))
        self.norm = nn.LayerNorm(_CHANNELS)
        self.widen = nn.Linear(_CHANNELS, FAST_PATHWAY_DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Return one feature vector for each segment.

        Args:
            x: (n, 3, t, h, w) float, normalised RGB.
        """
        return self.from_statistics(self.statistics(x))

    def statistics(self, x: Tensor) -> Tensor:
        """Return what the trained part sees, (n, s, t) of (n, 3, t, h, w)."""
        sensitivity = Sensitivity.of(self.sensitivity)
        parts = torch.split(x, 1) if x.device.type == "cpu" else (x,)  # its caches hold what is made of one
        return torch.cat([motion_statistics(part, sensitivity=sensitivity) for part in parts])

    def from_statistics(self, statistics: Tensor) -> Tensor:
        """Return the features (n, 256) of what `statistics` returned."""
        standard = self.standardise(statistics)
        tokens = self.norm(self.blocks(self.stem(standard.transpose(1, 2))))
        return F.gelu(self.widen(tokens)).mean(dim=1)


class _TemporalBlock(nn.Module):
    """(n, t, c) -> (n, t, c): a depthwise convolution over time and an MLP, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_CHANNELS)
        self.over_time = nn.Conv1d(_CHANNELS, _CHANNELS, _REACH, padding=_REACH // 2, groups=_CHANNELS)
        self.expand = nn.Linear(_CHANNELS, 2 * _CHANNELS)
        self.reduce = nn.Linear(2 * _CHANNELS, _CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.over_time(self.norm(x).transpose(1, 2)).transpose(1, 2)
        change: Tensor = self.reduce(F.gelu(self.expand(seen)))
        return x + change


def _patches(y: Tensor) -> Tensor:
    """Return (n, t, g, g), the means over patches of (n, t, h, w), those of `adaptive_avg_pool2d`."""
    height, width = y.shape[-2:]
    if height % _GRID:
        rows = weights_of(_averages, height, y.device, y.dtype) @ y
    else:
        rows = y.reshape(*y.shape[:-2], _GRID, -1, width).mean(-2)
    return rows @ weights_of(_averages, width, y.device, y.dtype).T


def _averages(side: int) -> list[list[float]]:
    """Return the matrix (g, side) of means over patches of a column; they overlap where g does not fit."""
    rows = [[0.0] * side for _ in range(_GRID)]
    for patch, row in enumerate(rows):
        first, end = patch * side // _GRID, -(-(patch + 1) * side // _GRID)
        row[first:end] = [1 / (end - first)] * (end - first)
    return rows


def _places(side: int) -> list[list[float]]:
    """Return the matrix (side, g) that gives each place of a column the value of its patch."""
    return [[float(place * _GRID // side == patch) for patch in range(_GRID)] for place in range(side)]


def _largest(y: Tensor) -> Tensor:
    """Return (n, t, g, g), the largest of each patch of (n, t, h, w)."""
    height, width = y.shape[-2:]
    if height % _GRID or width % _GRID:
        return F.adaptive_max_pool2d(y, _GRID)
    rows = y.reshape(*y.shape[:-2], _GRID, -1, width).amax(-2)  # first, to be fast
    return rows.view(*rows.shape[:-1], _GRID, -1).amax(-1)


def _as_many(steps: Tensor) -> Tensor:
    """Return (n, t, g, g), one a frame, of what is between frames (n, t - 1, g, g); the first is twice."""
    return torch.cat([steps[:, :1], steps], dim=1)


def _curvature(y: Tensor) -> Tensor:
    """Return the Laplacian (.., h - 2, w - 2) of (.., h, w)."""
    around = y[..., :-2, 1:-1] + y[..., 2:, 1:-1]
    around = around.add_(y[..., 1:-1, :-2]).add_(y[..., 1:-1, 2:])
    return around.sub_(y[..., 1:-1, 1:-1], alpha=4).neg_()


def _level(change: Tensor) -> Tensor:
    """Return the mean of each patch at every pixel of it, (n, t, h, w)."""
    down, across = (weights_of(_places, side, change.device, change.dtype) for side in change.shape[-2:])
    return down @ _patches(change) @ across.T  # faster, with its gradient, than F.interpolate


def _log(y: Tensor, floor: float = _FLOOR) -> Tensor:
    return torch.log(y + floor)
