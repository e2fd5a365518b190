"""Owns VIDEVAL's eight statistics from HIGRADE (Kundu et al., 2017): the gradient's size, locally normalised.

Its 3rd, 13th, 14th and 16th at full size, the last three of the logarithm, and the 21st, 28th, 30th and 33rd
at half size: deviations and shapes of differences between neighbours.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from securevqa_core.models.videval.planes import (
    centred_shape,
    filtered,
    halved,
    local,
    repeated,
    rolled,
    variance,
)

__all__ = ["gradient_size", "higrade"]

_SOBEL = np.array([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]])
_CROSS = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_LEAST = 0.1  # added before the logarithm


def higrade(y: Tensor) -> list[Tensor]:
    """Return 8 statistics (k,) of luma (k, h, w), 0..255."""
    size = gradient_size(y)
    return [*_full_size(size), *_half_size(halved(size))]


def gradient_size(y: Tensor) -> Tensor:
    """Return how steep luma (k, h, w) is, by Sobel's windows, the edge repeated around it."""
    around = repeated(y, 1)
    down, across = (filtered(around, window, padded=False) for window in (_SOBEL, _SOBEL.T))
    return down.mul_(down).addcmul_(across, across).sqrt_()


def _full_size(size: Tensor) -> list[Tensor]:
    normalised = local(size, grey=0.0).normalised
    found = [variance(normalised).sqrt()]
    x = torch.log(normalised.abs_().add_(_LEAST))
    square = x + rolled(x, 1, 1) - rolled(x, 0, 1) - rolled(x, 1, 0)
    found += [variance(square).sqrt(), centred_shape(square)]
    return [*found, centred_shape(filtered(x, _CROSS))]


def _half_size(size: Tensor) -> list[Tensor]:
    x = local(size, grey=0.0).normalised
    diagonals = [centred_shape(x - rolled(x, rows, 1)) for rows in (1, -1)]
    return [variance(x).sqrt(), *diagonals, variance(filtered(x, _CROSS)).sqrt()]
