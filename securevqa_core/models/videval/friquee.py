"""Owns VIDEVAL's 23 statistics from FRIQUEE (Ghadiyaram and Bovik, 2017): luma, chroma and a cone's response.

Eleven of luma (5, 8, 27, 32, 58, 62, 66, 68, 70, 71, 72 of its own order), eleven of chroma (4, 7, 15, 24,
26, 47, 60, 62, 72, 73, 79) and one of the short-wave cones (52).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from securevqa_core.models.videval.planes import (
    WINDOW,
    Local,
    asymmetric_shape,
    filtered,
    gaussian,
    halved,
    kurtosis,
    left_variance,
    local,
    mean,
    reflected,
    right_variance,
    rolled,
    shape,
    skewness,
)

__all__ = ["friquee_chroma", "friquee_cones", "friquee_luma"]

_DIFFERENCE = WINDOW - gaussian(7, 1.5 * 7 / 6)  # of Gaussians
_BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def friquee_luma(y: Tensor, full: Local, half: Local) -> list[Tensor]:
    """Return 11 statistics (k,) of luma (k, h, w), 0..255."""
    x = full.normalised
    beside, below = x * rolled(x, 0, 1), x * rolled(x, 1, 0)
    found = [skewness(beside), _asymmetric_mean(below), mean(full.contrast)]
    # Of full size as well: in the program that the published features come from, the half never gets there.
    found += [asymmetric_shape(beside)[0], mean(half.contrast), skewness(half.normalised)]
    edges = filtered(full.contrast, _DIFFERENCE)
    of_edges = local(edges, grey=0.0)
    found += [mean(of_edges.normalised**2).sqrt(), kurtosis(of_edges.normalised)]
    found += [kurtosis(local(of_edges.contrast, grey=0.0).normalised)]
    detail = _detail(y)
    return [*found, shape(detail), mean(detail * detail).sqrt()]


def friquee_chroma(chroma: Tensor) -> list[Tensor]:
    """Return 11 statistics (k,) of chroma (k, h, w): the distance of Lab's a and b from their least."""
    full, half = local(chroma, grey=_GREY_CHROMA), local(halved(chroma), grey=_GREY_CHROMA)
    x = full.normalised
    found = [right_variance(x * rolled(x, 0, 1)), asymmetric_shape(x * rolled(x, 1, 0))[0]]
    found += [left_variance(x * rolled(x, 1, 1)), kurtosis(x * rolled(x, -1, 1)), skewness(full.contrast)]
    small = half.normalised
    found += [kurtosis(small * rolled(small, 1, 0)), kurtosis(half.contrast), mean(half.contrast)]
    edges = local(filtered(full.contrast, _DIFFERENCE), grey=0.0).normalised
    found += [mean(edges * edges).sqrt(), skewness(edges)]
    return [*found, skewness(_detail(chroma))]


_GREY_CHROMA = 128 * 2**0.5  # of what has no colour


def friquee_cones(cones: Tensor) -> list[Tensor]:
    """Return 1 statistic (k,) of the short-wave cones' response (k, h, w), about 0..1."""
    contrast = local(halved(cones), grey=0.5).contrast
    normalised = local(contrast, grey=0.0).normalised
    return [mean(normalised * normalised).sqrt()]


def _asymmetric_mean(x: Tensor) -> Tensor:
    """Return the mean (k,) of the asymmetric generalised Gaussian that is fitted to (k, h, w)."""
    alpha, left, right = asymmetric_shape(x)
    gamma = [torch.special.gammaln(order / alpha) for order in (1, 2, 3)]
    return (right - left) * torch.exp(gamma[1] - gamma[0] / 2 - gamma[2] / 2)


def _detail(x: Tensor) -> Tensor:
    """Return the finest level of the Laplacian pyramid of (k, h, w), by binomial windows of five."""
    coarse = filtered(reflected(x, 2), _BINOMIAL, stride=2, padded=False)
    spread = torch.zeros_like(x)
    spread[:, ::2, ::2] = coarse
    return x - filtered(reflected(spread, 2), 4 * _BINOMIAL, padded=False)
