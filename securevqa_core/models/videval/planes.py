"""Owns what every family does with a stack of planes: windows, filters, halving, moments and fitted shapes.

A stack is (k, h, w), k frames of one plane. Kept with its frames innermost (`stacked`), as every function
here leaves it, a filter runs over all frames at once: a hundred times faster on a CPU than frame by frame.

The published features come from MATLAB, so its ways are kept: `filtered` pads with zeros, `halved` is its
`imresize`, `rolled` its `circshift`, and shapes are looked up in a table of steps of 0.001.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "WINDOW",
    "Local",
    "asymmetric_shape",
    "by_strips",
    "centred_shape",
    "filtered",
    "gaussian",
    "halved",
    "kurtosis",
    "left_variance",
    "local",
    "mean",
    "reflected",
    "repeated",
    "resized",
    "right_variance",
    "rolled",
    "shape",
    "skewness",
    "stacked",
    "upsampled",
    "variance",
]

_GREY = 128.0  # taken off before squaring, so that single precision does for 8-bit levels
_SHAPES = np.arange(200, 10_001) / 1000
_CUBIC = -0.5  # Keys' parameter, of MATLAB's bicubic
_STRIP = 32  # rows that are worked on together
_BAND = 32  # places of a resized column that one product gives
_Fold = Callable[
    [NDArray[np.int64], int], NDArray[np.int64]
]  # places beyond a side, its size -> places on it


def gaussian(side: int, sd: float) -> NDArray[np.float64]:
    """Return the (side, side) Gaussian window that sums to 1."""
    across = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sd**2))
    window = across[:, None] * across
    found: NDArray[np.float64] = window / window.sum()
    return found


WINDOW = gaussian(7, 7 / 6)  # of BRISQUE, and of all that came from it


def stacked(planes: Tensor) -> Tensor:
    """Return the same (k, h, w) with its frames innermost in memory."""
    return planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)


def filtered(x: Tensor, window: NDArray[np.float64], *, stride: int = 1, padded: bool = True) -> Tensor:
    """Return the correlation of (k, h, w) with a window of odd sides, of the same size, zeros around it.

    Args:
        x: the planes.
        window: (rows, columns).
        stride: of both directions.
        padded: whether zeros are put around; else the result is smaller by the window.
    """
    kernel = torch.from_numpy(window).to(device=x.device, dtype=x.dtype).expand(len(x), 1, *window.shape)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    padding = (window.shape[0] // 2, window.shape[1] // 2) if padded else (0, 0)
    return F.conv2d(x[None], kernel, stride=stride, padding=padding, groups=len(x))[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Local:
    """What a Gaussian window says of (k, h, w) planes."""

    contrast: Tensor  # standard deviation inside the window
    normalised: Tensor  # mean taken off, divided by contrast + 1


def local(x: Tensor, *, grey: float = _GREY) -> Local:
    """Return contrast and normalised values of every place, zeros around the planes counting.

    A few rows at a time, so that what is in between stays in the processor's cache.

    Args:
        x: (k, h, w).
        grey: what most values are near to; the result does not depend on it but for rounding.
    """
    k, h, w = x.shape
    reach = len(WINDOW) // 2
    around = x.new_full((h + 2 * reach, w + 2 * reach, k), -grey).permute(2, 0, 1)
    torch.sub(x, grey, out=around[:, reach : reach + h, reach : reach + w])
    contrast, normalised = (x.new_empty((h, w, k)).permute(2, 0, 1) for _ in range(2))
    for first in range(0, h, _STRIP):
        strip = around[:, first : first + _STRIP + 2 * reach]
        mean_of = filtered(strip, WINDOW, padded=False)
        spread = filtered(strip * strip, WINDOW, padded=False)
        spread = spread.addcmul_(mean_of, mean_of, value=-1).abs_().sqrt_()
        contrast[:, first : first + _STRIP] = spread
        inner = strip[:, reach:-reach, reach:-reach]
        torch.div(inner.sub(mean_of), spread.add_(1), out=normalised[:, first : first + _STRIP])
    return Local(contrast=contrast, normalised=normalised)


def by_strips(work: Callable[..., Sequence[Tensor]], *planes: Tensor) -> list[Tensor]:
    """Return what `work` makes of planes (k, h, w), a few rows at a time, which then stay in the cache.

    Args:
        work: gives some planes of the size it is given, each place from the same place alone.
        planes: of one size.
    """
    k, h, w = planes[0].shape
    found: list[Tensor] = []
    for first in range(0, h, _STRIP):
        rows = slice(first, first + _STRIP)
        parts = work(*(plane[:, rows] for plane in planes))
        found = found or [planes[0].new_empty((h, w, k)).permute(2, 0, 1) for _ in parts]
        for whole, part in zip(found, parts, strict=True):
            whole[:, rows] = part
    return found


def halved(x: Tensor) -> Tensor:
    """Return (k, h, w) at half the size, ends rounded up: MATLAB's antialiased bicubic `imresize(x, 0.5)`."""
    taps = np.array([_cubic((offset - 3.5) / 2) for offset in range(8)])
    taps = taps / taps.sum()
    rows, columns = (size % 2 for size in x.shape[1:])
    around = _mirrored(x, (3, 3 + rows), (3, 3 + columns))
    return filtered(around, taps[:, None] * taps, stride=2, padded=False)


def _mirrored(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Put mirror images, the edge repeated, around (k, h, w)."""
    return _around(x, rows, columns, _reversal)


def _reversal(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    folded = places % (2 * size)
    found: NDArray[np.int64] = np.minimum(folded, 2 * size - 1 - folded)
    return found


def _around(x: Tensor, rows: tuple[int, int], columns: tuple[int, int], fold: _Fold) -> Tensor:
    """Return (k, h, w) with rows and columns more on each side, each a copy of the one that `fold` says."""
    k, h, w = x.shape
    (top, bottom), (left, right) = rows, columns
    wide = x.new_empty((h + top + bottom, w + left + right, k))
    wide[top : top + h, left : left + w] = x.permute(1, 2, 0)
    for dim, size, before, after in ((0, h, top, bottom), (1, w, left, right)):
        beyond = np.concatenate([np.arange(-before, 0), np.arange(size, size + after)])
        for place, source in zip(beyond.tolist(), fold(beyond, size).tolist(), strict=True):
            wide.select(dim, place + before).copy_(wide.select(dim, source + before))
    return wide.permute(2, 0, 1)


def repeated(x: Tensor, width: int) -> Tensor:
    """Return (k, h, w) with its edge repeated around it."""
    return _around(x, (width,) * 2, (width,) * 2, lambda places, size: places.clip(0, size - 1))


def reflected(x: Tensor, width: int) -> Tensor:
    """Return (k, h, w) with mirror images around it, the edge not repeated."""
    return _around(x, (width,) * 2, (width,) * 2, _reflection)


def _reflection(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    folded = places % max(2 * size - 2, 1)
    found: NDArray[np.int64] = np.minimum(folded, abs(2 * size - 2 - folded))
    return found


def resized(x: Tensor, scale: float) -> Tensor:
    """Return (k, h, w) planes scaled on both sides, sizes rounded up: MATLAB's `imresize`, bicubic."""
    inner = x.permute(1, 2, 0)
    for dim in (0, 1):
        parts = [
            torch.tensordot(weights, inner.narrow(dim, first, weights.shape[1]), dims=([1], [dim]))
            for first, weights in _bands(inner.shape[dim], scale, x)
        ]
        inner = torch.cat(parts).movedim(0, dim).contiguous()
    return inner.permute(2, 0, 1)


def _bands(size: int, scale: float, like: Tensor) -> list[tuple[int, Tensor]]:
    """Return (first place, weights) that give a column at its new size, a few places at a time."""
    width = 4 / min(scale, 1.0)
    target = math.ceil(size * scale - 1e-9)
    centre = (np.arange(target) + 0.5) / scale - 0.5
    places = np.floor(centre - width / 2).astype(np.int64)[:, None] + np.arange(math.ceil(width) + 2)
    weights = np.vectorize(_cubic)((centre[:, None] - places) * min(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    folded = _reversal(places, size)
    found = []
    for start in range(0, target, _BAND):
        rows = slice(start, start + _BAND)
        first, last = folded[rows].min(), folded[rows].max()
        band = np.zeros((len(folded[rows]), last - first + 1))
        np.add.at(band, (np.arange(len(band))[:, None], folded[rows] - first), weights[rows])
        found.append((int(first), torch.from_numpy(band).to(device=like.device, dtype=like.dtype)))
    return found


def _cubic(distance: float) -> float:
    """Return Keys' cubic convolution kernel."""
    d = abs(distance)
    if d <= 1:
        return (_CUBIC + 2) * d**3 - (_CUBIC + 3) * d**2 + 1
    return _CUBIC * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def upsampled(x: Tensor) -> Tensor:
    """Return (k, h, w) at twice the size: MATLAB's bicubic `imresize(x, 2)`."""
    taps = np.array([_cubic(offset - 1.75) for offset in range(4)])  # of places a quarter before the next
    around = _mirrored(x, (2, 2), (2, 2))
    k, h, w = x.shape
    found = x.new_empty((h, 2, w, 2, k)).permute(4, 0, 1, 2, 3)
    for rows, down in enumerate((taps, taps[::-1])):
        for columns, across in enumerate((taps, taps[::-1])):
            # Five taps, the last or the first of them 0, so that the window has odd sides.
            window = np.zeros((5, 5))
            window[rows : rows + 4, columns : columns + 4] = down[:, None] * across
            found[:, :, rows, :, columns] = filtered(around, window, padded=False)
    return found.reshape(k, 2 * h, 2 * w)


def rolled(x: Tensor, rows: int, columns: int) -> Tensor:
    """Return (k, h, w) moved down and right, what leaves coming back on the other side."""
    return torch.roll(x.permute(1, 2, 0), (rows, columns), (0, 1)).permute(2, 0, 1)


def mean(x: Tensor) -> Tensor:
    """Return the mean (k,) of each plane."""
    return x.mean(dim=(1, 2))


def variance(x: Tensor) -> Tensor:
    """Return the mean squared distance (k,) from the mean."""
    centred = x - mean(x)[:, None, None]
    return mean(centred * centred)


def skewness(x: Tensor) -> Tensor:
    """Return the third standardised moment (k,); not a number where a plane is constant."""
    centred = x - mean(x)[:, None, None]
    square = centred * centred
    return mean(square * centred) / mean(square) ** 1.5


def kurtosis(x: Tensor) -> Tensor:
    """Return the fourth standardised moment (k,), 3 for a Gaussian; not a number for a constant plane."""
    centred = x - mean(x)[:, None, None]
    square = centred.mul_(centred)
    return mean(square * square) / mean(square) ** 2


def left_variance(x: Tensor) -> Tensor:
    """Return the mean square (k,) of what is below 0; not a number where nothing is."""
    return _one_sided(x)[0]


def right_variance(x: Tensor) -> Tensor:
    """Return the mean square (k,) of what is not below 0; not a number where nothing is.

    Where a picture is flat a product of neighbours is 0 but for rounding, which in double precision leaves
    the square of something: it counts on the right.
    """
    return _one_sided(x)[1]


def _one_sided(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean square (k,) below and above 0."""
    left = x.clamp(max=0)
    count = -left.sign().sum(dim=(1, 2))
    below = left.square_().sum(dim=(1, 2))
    above = (x * x).sum(dim=(1, 2)) - below
    return below / count, above / (x[0].numel() - count)


def shape(x: Tensor) -> Tensor:
    """Return the shape (k,) of the generalised Gaussian about 0 with a plane's mean size and square."""
    return _nearest(mean(x * x) / mean(x.abs()) ** 2)


def centred_shape(x: Tensor) -> Tensor:
    """Return the shape (k,) of a generalised Gaussian about the mean of each plane."""
    return shape(x - mean(x)[:, None, None])


def _nearest(ratio: Tensor) -> Tensor:
    """Return the shape, of the table's, whose mean square by squared mean size is nearest to `ratio` (k,)."""
    return _looked_up(ratio, _kurtotic_ratios())


def asymmetric_shape(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return shape, left and right deviation (k,) of an asymmetric generalised Gaussian about 0.

    As BRISQUE fits it; where nothing lies on one side the deviation there, and what follows, is undefined and
    the shape the table's first.
    """
    left, right = (square.sqrt() for square in _one_sided(x))
    share = left / right
    ratio = mean(x.abs()) ** 2 / mean(x * x)
    ratio = ratio * (share**3 + 1) * (share + 1) / (share**2 + 1) ** 2
    return _looked_up(ratio, 1 / _kurtotic_ratios()), left, right


@functools.cache
def _kurtotic_ratios() -> NDArray[np.float64]:
    gamma = scipy.special.gamma
    found: NDArray[np.float64] = gamma(1 / _SHAPES) * gamma(3 / _SHAPES) / gamma(2 / _SHAPES) ** 2
    return found


def _looked_up(ratio: Tensor, table: NDArray[np.float64]) -> Tensor:
    """Return the shape beside the entry nearest to each of `ratio` (k,); the first for what is no number."""
    wanted = ratio.detach().double().cpu().numpy()
    nearest = np.abs(wanted[:, None] - table).argmin(axis=1)
    return torch.from_numpy(_SHAPES[nearest]).to(device=ratio.device, dtype=ratio.dtype)
