"""Owns what a fragment has lost against the same place of the undistorted video: a label for every token.

One label says how good a clip is. These say, of every fragment in every pair of frames, in which way it
differs from its reference, so that a few thousand clips teach what damage looks like, not which contents they
had. Scoring has no reference and never reads this.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.statistics import luma_of

__all__ = ["NUM_DIFFERENCES", "local_differences"]

NUM_DIFFERENCES = 7

_WINDOW = 7  # pixels a side of the local moments
_LUMA_STABILISER, _CONTRAST_STABILISER = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # of SSIM
_EDGE_STABILISER = 30.0  # of gradient magnitude similarity, squared levels
_NOISE = 2.0  # of visual information fidelity: variance of the eye's own noise


def local_differences(
    distorted: NDArray[np.uint8], reference: NDArray[np.uint8], *, grid_size: int
) -> NDArray[np.float32]:
    """Compare every fragment with its reference.

    In order: log mean squared error, structural similarity (Wang et al., 2004), visual information fidelity
    in the pixel domain (Sheikh and Bovik, 2006), gradient magnitude similarity (Xue et al., 2014), the log
    ratios of contrast and of gradient, and the change in brightness; of luma, on windows inside the fragment.

    Args:
        distorted: (d, G S, G S, 3) spliced fragments, RGB; d even.
        reference: of the same shape, the same places of the undistorted video.
        grid_size: G.

    Returns:
        (NUM_DIFFERENCES, d / 2, G, G), means over pairs of frames.
    """
    a, b = (_fragments(spliced, grid_size) for spliced in (reference, distorted))
    mean_a, mean_b = _local(a), _local(b)
    var_a = (_local(a * a) - mean_a * mean_a).clamp_min(0)
    var_b = (_local(b * b) - mean_b * mean_b).clamp_min(0)
    both = _local(a * b) - mean_a * mean_b
    edge_a, edge_b = _gradient(a), _gradient(b)
    differences = [
        torch.log(_mean((a - b) ** 2) + 0.5),
        _mean(
            _similarity(mean_a * mean_b, mean_a**2 + mean_b**2, _LUMA_STABILISER)
            * _similarity(both, var_a + var_b, _CONTRAST_STABILISER)
        ),
        _fidelity(var_a, var_b, both),
        _mean(_similarity(edge_a * edge_b, edge_a**2 + edge_b**2, 2 * _EDGE_STABILISER)),
        torch.log((_mean(var_b) + 1) / (_mean(var_a) + 1)),
        torch.log((_mean(edge_b) + 0.5) / (_mean(edge_a) + 0.5)),
        (_mean(mean_b) - _mean(mean_a)) / 32,
    ]
    places = torch.stack(differences).view(NUM_DIFFERENCES, -1, 2, grid_size, grid_size)
    return places.mean(dim=2).numpy()


def _fragments(spliced: NDArray[np.uint8], grid_size: int) -> Tensor:
    """Return the luma (d G G, 1, S, S) of spliced fragments (d, G S, G S, 3)."""
    d, height, _, _ = spliced.shape
    side = height // grid_size
    luma = luma_of(torch.from_numpy(np.array(spliced)).permute(0, 3, 1, 2).float())
    return luma.view(d, grid_size, side, grid_size, side).transpose(2, 3).reshape(-1, 1, side, side)


def _local(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, _WINDOW, stride=1)


def _gradient(x: Tensor) -> Tensor:
    down, across = x[..., 1:, 1:] - x[..., :-1, 1:], x[..., 1:, 1:] - x[..., 1:, :-1]
    return (down * down + across * across).sqrt()


def _similarity(product: Tensor, squares: Tensor, stabiliser: float) -> Tensor:
    return (2 * product + stabiliser) / (squares + stabiliser)


def _fidelity(var_a: Tensor, var_b: Tensor, both: Tensor) -> Tensor:
    """Return the share of the reference's information that is left, 0..2."""
    gain = (both / (var_a + 0.01)).clamp(0, 1)
    noise = (var_b - gain * both).clamp_min(0)
    information = torch.log2(1 + gain * gain * var_a / (noise + _NOISE))
    whole = torch.log2(1 + var_a / _NOISE)
    return (_mean(information) / (_mean(whole) + 1e-4)).clamp(0, 2)


def _mean(x: Tensor) -> Tensor:
    """Return the mean (k,) over each fragment."""
    return x.mean(dim=(1, 2, 3))
