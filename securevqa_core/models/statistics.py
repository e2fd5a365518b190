"""Owns natural scene statistics of fragments: moments of locally normalised luminance, colour and motion.

After the mean-subtracted contrast-normalised (MSCN) coefficients of Mittal, Moorthy and Bovik (BRISQUE,
2012), taken inside each fragment, so that the seams of a spliced frame are not seen. Differentiable almost
everywhere.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.reductions import mean, mean_log, power
from securevqa_core.models.sensitivity import TO_ALL, Sensitivity
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD

__all__ = [
    "NUM_SCALES",
    "NUM_STATISTICS",
    "fragment_pairs",
    "fragment_statistics",
    "halved",
    "levels_of",
    "luma_of",
    "mixed",
    "mscn",
    "neighbour_products",
    "split_pairs",
    "still",
    "weights_of",
]

NUM_SCALES = 3  # full size, half, quarter
NUM_STATISTICS = NUM_SCALES * 34 + 21

_LUMA = (0.299, 0.587, 0.114)  # BT.601, of R, G, B
_WINDOW = 7  # pixels, of the Gaussian window
_WINDOW_SD = 7 / 6  # pixels
_FLAT = 1.0  # 8-bit levels: keeps the contrast of flat areas defined
_TINY = 1e-3  # keeps the logarithm of a moment defined
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows and columns to the right, below and on both diagonals


def fragment_statistics(x: Tensor, *, grid_size: int, sensitivity: Sensitivity = TO_ALL) -> Tensor:
    """Return statistics of every fragment in every second frame.

    Args:
        x: (n, 3, t, g s, g s) normalised fragments; t even, s >= 16.
        grid_size: g.
        sensitivity: to what changes between the two frames of a pair; a fragment is a place.

    Returns:
        (n, NUM_STATISTICS, t / 2, g, g) float32.

    Raises:
        ConfigurationError: t is odd, or the sides are not g times the same s.
    """
    _require_pairs(x, grid_size)
    red, green, blue = levels_of(x).unbind(1)
    luma = mixed(red, green, blue)
    first = _fragments(luma[:, ::2], grid_size)
    change = _fragments(luma[:, 1::2], grid_size) - first
    tints = [_fragments(one[:, ::2], grid_size) - first for one in (red, blue)]
    statistics = [*_colour(tints, first), *_difference(change, sensitivity), *_blocking(first)]
    for one in (first, F.avg_pool2d(first, 2), F.avg_pool2d(first, 4)):
        statistics += _texture(one)
    made = torch.stack(statistics, dim=-1)
    return made.view(len(x), -1, grid_size, grid_size, len(statistics)).permute(0, 4, 1, 2, 3)


def levels_of(x: Tensor) -> Tensor:
    """Return normalised (n, 3, t, h, w) as RGB of 0..255, float32."""
    mean, sd = (torch.tensor(values, device=x.device).view(3, 1, 1, 1) for values in (PIXEL_MEAN, PIXEL_SD))
    return (x.float() * sd).add_(mean)


def fragment_pairs(x: Tensor, *, grid_size: int) -> Tensor:
    """Return normalised fragments (n, 3, t, g s, g s) as 0..255 RGB (n, t / 2, g, g, 2, 3, s, s).

    Raises:
        ConfigurationError: t is odd, or the sides are not g times the same s.
    """
    return split_pairs(levels_of(x), grid_size=grid_size)


def split_pairs(x: Tensor, *, grid_size: int) -> Tensor:
    """Return fragments (n, 3, t, g s, g s) one by one, as (n, t / 2, g, g, 2, 3, s, s).

    Raises:
        ConfigurationError: t is odd, or the sides are not g times the same s.
    """
    _require_pairs(x, grid_size)
    n, _, t, h, _ = x.shape
    s = h // grid_size
    split = x.reshape(n, 3, t // 2, 2, grid_size, s, grid_size, s)
    return split.permute(0, 2, 4, 6, 3, 1, 5, 7)


def luma_of(rgb: Tensor) -> Tensor:
    """Return (..., s, s) BT.601 luma of (..., 3, s, s)."""
    return mixed(*rgb.unbind(-3))


def halved(y: Tensor) -> Tensor:
    """Return (..., h // 2, w // 2), the means of squares of 2 x 2 of (..., h, w)."""
    height, width = y.shape[-2] - 1, y.shape[-1] - 1
    rows = y[..., :height:2, :] + y[..., 1::2, :]  # first: neighbours in memory are added together
    return (rows[..., :width:2] + rows[..., 1::2]).mul_(0.25)


def still(size: Tensor) -> Tensor:
    """Return exp(-size / 2), by the function of two thirds of its time and less: 1 where nothing changes."""
    return torch.exp2(size * (-0.5 / math.log(2)))


@functools.lru_cache(maxsize=64)
def weights_of(
    rows: Callable[[int], list[list[float]]], side: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return the matrix that `rows` makes for a side, made once: its making takes longer than its use."""
    # Made under inference_mode it could not be used in training later, and this cache outlives the mode.
    with torch.inference_mode(mode=False):
        return torch.tensor(rows(side), device=device, dtype=dtype)


def mixed(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Return BT.601 luma of the three colours, of their shape."""
    return (_LUMA[0] * red).add_(_LUMA[1] * green).add_(_LUMA[2] * blue)


def mscn(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the MSCN coefficients and the local contrast of luma (k, 1, s, s), both of its shape."""
    level = _blur(y)
    contrast = _blur(y * y).sub_(level * level).clamp_min_(0).add_(_TINY).sqrt()
    return (y - level) / (contrast + _FLAT), contrast


def neighbour_products(m: Tensor) -> list[Tensor]:
    """Return the products of (k, 1, s, s) with itself one step to the right, below and on both diagonals."""
    products = []
    for rows, columns in _NEIGHBOURS:
        a = m[..., : m.shape[-2] - rows, max(0, -columns) : m.shape[-1] - max(0, columns)]
        products.append(a * m[..., rows:, max(0, columns) : m.shape[-1] + min(0, columns)])
    return products


def _texture(y: Tensor) -> list[Tensor]:
    """Return 34 statistics (k,) of luma (k, 1, s, s)."""
    m, contrast = mscn(y)
    square = m * m
    statistics = [mean(m), _log(m.abs()), _log(square), mean(m * square), torch.log(power(square) + _TINY)]
    for product in neighbour_products(m):
        statistics += _signed_moments(product)
    level = torch.log1p(contrast)
    statistics += [mean(level), _sd(level), _log(contrast), torch.log(power(contrast) + _TINY)]
    across, down = _across(y), _down(y)
    for size in (across.abs(), down.abs()):
        statistics += [mean_log(size), torch.log(_sd(size) + 0.1), mean(still(size))]
    statistics += [torch.log(_sd(m) + _TINY)]
    curve = across[..., 1:-1, :-1] - across[..., 1:-1, 1:]
    curve = curve.add_(down[..., :-1, 1:-1]).sub_(down[..., 1:, 1:-1])
    return [*statistics, mean_log(curve.abs()), torch.log(power(curve) + _TINY)]


def _blocking(y: Tensor) -> list[Tensor]:
    """Return 4 statistics (k,): how much steeper the steepest of 8 or 4 phases is than their mean."""
    statistics = []
    for steps in (_across(y).abs().mean(dim=(1, 2)), _down(y).abs().mean(dim=(1, 3))):
        for period in (8, 4):
            whole = steps.shape[1] // period * period
            phases = steps[:, :whole].view(len(steps), -1, period).mean(dim=1) + 0.3
            statistics.append(torch.log(phases.amax(dim=1) / phases.mean(dim=1)))
    return statistics


def _across(y: Tensor) -> Tensor:
    return y[..., 1:] - y[..., :-1]


def _down(y: Tensor) -> Tensor:
    return y[..., 1:, :] - y[..., :-1, :]


def _signed_moments(product: Tensor) -> list[Tensor]:
    """Return the mean, the log mean size, and the log second moment of each sign."""
    positive = F.relu(product)
    level, above, square, squares_above = mean(product), mean(positive), power(product), power(positive)
    return [
        level,
        torch.log(2 * above - level + _TINY),
        torch.log(squares_above + _TINY),
        torch.log((square - squares_above).clamp_min(0) + _TINY),
    ]


def _colour(tints: list[Tensor], luma: Tensor) -> list[Tensor]:
    """Return 12 statistics (k,) of luma and of how far red and blue are from it, each (k, 1, s, s)."""
    statistics = [
        mean(luma) / 64,
        _sd(luma) / 32,
        mean(torch.sigmoid((luma - 245) / 4)),  # share burnt out
        mean(torch.sigmoid((12 - luma) / 4)),  # share drowned
    ]
    for channel in tints:
        half = halved(channel)
        side = half.shape[-1] // 2
        fine = half.view(-1, side, 2, side, 2) - halved(half).view(-1, side, 1, side, 1)
        statistics += [
            mean(channel) / 32,
            torch.log(1 + mean(channel.abs())),
            torch.log(_sd(channel) + 0.5),
            torch.log(mean(fine.abs()) + 0.1),
        ]
    return statistics


def _difference(change: Tensor, sensitivity: Sensitivity) -> list[Tensor]:
    """Return 5 statistics (k,) of the difference between a frame and the next one taken."""
    change = sensitivity.without_level(change, lambda one: one.mean(dim=(-2, -1), keepdim=True))
    coarse = halved(halved(change))
    size, floor = sensitivity.size(change), sensitivity.floor(0.3)
    return [
        torch.log(mean(size) + floor),
        torch.log(_sd(change) + floor),
        torch.log(mean(sensitivity.size(coarse)) + floor),
        torch.log(_sd(coarse) + floor),
        mean(still(size)),  # share that stands still
    ]


def _fragments(frames: Tensor, grid_size: int) -> Tensor:
    """Return frames (n, t, g s, g s) as (n t g g, 1, s, s)."""
    s = frames.shape[-1] // grid_size
    split = frames.reshape(-1, grid_size, s, grid_size, s)
    return split.transpose(2, 3).reshape(-1, 1, s, s)


def _require_pairs(x: Tensor, grid_size: int) -> None:
    _, _, t, h, w = x.shape
    if t % 2 or h != w or h % grid_size:
        raise ConfigurationError(
            f"x must be (n, 3, even t, {grid_size} s, {grid_size} s) fragments, got {tuple(x.shape)}"
        )


def _blur(y: Tensor) -> Tensor:
    """Convolve (k, 1, s, s) with the Gaussian window, the border reflected: a band matrix on either side."""
    band = weights_of(_band, y.shape[-1], y.device, y.dtype)
    with torch.autocast(y.device.type, enabled=False):  # a variance is the small difference of large numbers
        return band @ y @ band.T


def _band(side: int) -> list[list[float]]:
    """Return the (side, side) matrix that convolves a column, its ends reflected."""
    reach = _WINDOW // 2
    weights = [math.exp(-(offset**2) / (2 * _WINDOW_SD**2)) for offset in range(-reach, reach + 1)]
    rows = [[0.0] * side for _ in range(side)]
    for at in range(side):
        for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
            place = abs(at + offset)
            rows[at][min(place, 2 * (side - 1) - place)] += weight / sum(weights)
    return rows


def _sd(x: Tensor) -> Tensor:
    # The root of zero has no finite gradient.
    level = mean(x)
    return (power(x) - level * level).clamp_min(0).add(1e-6).sqrt()


def _log(x: Tensor) -> Tensor:
    return torch.log(mean(x) + _TINY)
