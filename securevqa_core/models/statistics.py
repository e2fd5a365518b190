"""Owns natural scene statistics of fragments: moments of locally normalised luminance, colour and motion.

After the mean-subtracted contrast-normalised (MSCN) coefficients of Mittal, Moorthy and Bovik (BRISQUE,
2012), taken inside each fragment, so that the seams of a spliced frame are not seen. Differentiable almost
everywhere.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.sensitivity import TO_ALL, Sensitivity
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD

__all__ = [
    "NUM_SCALES",
    "NUM_STATISTICS",
    "fragment_pairs",
    "fragment_statistics",
    "luma_of",
    "mscn",
    "neighbour_products",
    "split_pairs",
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
    pairs = fragment_pairs(x, grid_size=grid_size)
    n, half, _, _, _, _, s, _ = pairs.shape
    of_both = luma_of(pairs)  # before fragments are taken apart: a third of what there is to move
    luma, later = (of_both[:, :, :, :, i].reshape(-1, 1, s, s) for i in (0, 1))
    tints = (pairs[:, :, :, :, 0, ::2] - of_both[:, :, :, :, :1]).reshape(-1, 2, s, s)
    statistics = [*_colour(tints, luma), *_difference(later - luma, sensitivity), *_blocking(luma)]
    for one in (luma, _halved(luma), F.avg_pool2d(luma, 4)):
        statistics += _texture(one)
    return torch.stack(statistics, dim=-1).view(n, half, grid_size, grid_size, -1).permute(0, 4, 1, 2, 3)


def fragment_pairs(x: Tensor, *, grid_size: int) -> Tensor:
    """Return normalised fragments (n, 3, t, g s, g s) as 0..255 RGB (n, t / 2, g, g, 2, 3, s, s).

    Raises:
        ConfigurationError: t is odd, or the sides are not g times the same s.
    """
    pixels = x.float() * _channels(x, PIXEL_SD) + _channels(x, PIXEL_MEAN)
    return split_pairs(pixels, grid_size=grid_size)


def split_pairs(x: Tensor, *, grid_size: int) -> Tensor:
    """Return fragments (n, 3, t, g s, g s) one by one, as (n, t / 2, g, g, 2, 3, s, s).

    Raises:
        ConfigurationError: t is odd, or the sides are not g times the same s.
    """
    n, _, t, h, w = x.shape
    if t % 2 or h != w or h % grid_size:
        raise ConfigurationError(
            f"x must be (n, 3, even t, {grid_size} s, {grid_size} s) fragments, got {tuple(x.shape)}"
        )
    s = h // grid_size
    split = x.reshape(n, 3, t // 2, 2, grid_size, s, grid_size, s)
    return split.permute(0, 2, 4, 6, 3, 1, 5, 7)


def luma_of(rgb: Tensor) -> Tensor:
    """Return (..., s, s) BT.601 luma of (..., 3, s, s)."""
    r, g, b = rgb.unbind(-3)
    return _LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b


def mscn(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the MSCN coefficients and the local contrast of luma (k, 1, s, s), both of its shape."""
    mean = _blur(y)
    contrast = (_blur(y * y) - mean * mean).clamp_min(0).add(_TINY).sqrt()
    return (y - mean) / (contrast + _FLAT), contrast


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
    statistics = [_mean(m), _log(m.abs()), _log(square), _mean(m * square), _log(square * square)]
    for product in neighbour_products(m):
        statistics += _signed_moments(product)
    level = torch.log(1 + contrast)
    statistics += [_mean(level), _sd(level), _log(contrast), _log(contrast * contrast)]
    for size in (_across(y).abs(), _down(y).abs()):
        statistics += [_mean(torch.log(1 + size)), torch.log(_sd(size) + 0.1), _mean(torch.exp(size * -0.5))]
    statistics += [torch.log(_sd(m) + _TINY)]
    curve = 4 * y[..., 1:-1, 1:-1] - y[..., :-2, 1:-1] - y[..., 2:, 1:-1]
    curve = curve - y[..., 1:-1, :-2] - y[..., 1:-1, 2:]
    return [*statistics, _mean(torch.log(1 + curve.abs())), _log(curve * curve)]


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
    size = product.abs()
    square, signed = _mean(product * product), _mean(product * size)
    return [
        _mean(product),
        _log(size),
        torch.log(((square + signed) / 2).clamp_min(0) + _TINY),
        torch.log(((square - signed) / 2).clamp_min(0) + _TINY),
    ]


def _colour(tints: Tensor, luma: Tensor) -> list[Tensor]:
    """Return 12 statistics (k,) of luma (k, 1, s, s) and of how far red and blue are from it (k, 2, s, s)."""
    statistics = [
        _mean(luma) / 64,
        _sd(luma) / 32,
        _mean(torch.sigmoid((luma - 245) / 4)),  # share burnt out
        _mean(torch.sigmoid((12 - luma) / 4)),  # share drowned
    ]
    for channel in torch.split(tints, 1, dim=1):
        coarse = F.avg_pool2d(channel, 4).repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
        fine = _halved(channel) - coarse
        statistics += [
            _mean(channel) / 32,
            torch.log(1 + _mean(channel.abs())),
            torch.log(_sd(channel) + 0.5),
        ]
        statistics += [torch.log(_mean(fine.abs()) + 0.1)]
    return statistics


def _difference(change: Tensor, sensitivity: Sensitivity) -> list[Tensor]:
    """Return 5 statistics (k,) of the difference between a frame and the next one taken."""
    change = sensitivity.without_level(change, lambda one: one.mean(dim=(-2, -1), keepdim=True))
    coarse = F.avg_pool2d(change, 4)
    size, floor = sensitivity.size(change), sensitivity.floor(0.3)
    return [
        torch.log(_mean(size) + floor),
        torch.log(_sd(change) + floor),
        torch.log(_mean(sensitivity.size(coarse)) + floor),
        torch.log(_sd(coarse) + floor),
        _mean(torch.exp(size * -0.5)),  # share that stands still
    ]


def _halved(y: Tensor) -> Tensor:
    """Return the means of squares of 2 x 2, bit by bit those of `avg_pool2d` in a third of its time."""
    height, width = y.shape[-2] - 1, y.shape[-1] - 1
    a, b, c, d = (y[..., i : height + i : 2, j : width + j : 2] for i in (0, 1) for j in (0, 1))
    return (a + b + c + d) / 4


def _blur(y: Tensor) -> Tensor:
    """Convolve (k, 1, s, s) with the Gaussian window, the border reflected: a band matrix on either side."""
    band = torch.tensor(_band(y.shape[-1]), device=y.device, dtype=y.dtype)
    with torch.autocast(y.device.type, enabled=False):  # a variance is the small difference of large numbers
        return band @ y @ band.T


@functools.cache
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


def _channels(like: Tensor, values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=torch.float32).view(1, 3, 1, 1, 1)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(1, 2, 3))


def _sd(x: Tensor) -> Tensor:
    # The root of zero has no finite gradient.
    mean = _mean(x)
    return (_mean(x * x) - mean * mean).clamp_min(0).add(1e-6).sqrt()


def _log(x: Tensor) -> Tensor:
    return torch.log(_mean(x) + _TINY)
