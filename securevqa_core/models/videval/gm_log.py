"""Owns VIDEVAL's eight statistics from GM-LOG (Xue et al., 2014): gradient and Laplacian, jointly normalised.

The joint histogram of both in steps of 0.2 gives four curves of ten: what share each step of the gradient and
of the Laplacian has, and each given the other. Taken are the 2nd, 4th, 8th, 18th, 20th, 23rd, 34th and 40th.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.planes import filtered, gaussian

__all__ = ["gm_log"]

_SD = 0.5  # pixels, of the derivatives
_RATIO = 2.5  # of gradient to Laplacian, on average
_FLOOR = 0.2  # added to what both are divided by
_STEP, _NUM_STEPS = 0.2, 10
_BORDER = 2  # rows and columns left out on each side
_TINY = 1e-4  # keeps a share of nothing defined
_TAKEN = (2, 4, 8, 18, 20, 23, 34, 40)  # from 1


def gm_log(y: Tensor) -> list[Tensor]:
    """Return 8 statistics (k,) of luma (k, h, w), 0..255."""
    down, across = (filtered(y, window) for window in _gradient_windows())
    gradient = down.mul_(down).addcmul_(across, across).sqrt_().div_(_RATIO)
    laplacian = filtered(y, _laplacian_window()).abs_()
    power = (gradient * gradient).addcmul_(laplacian, laplacian).div_(2)
    norm = filtered(power, gaussian(7, 2 * _SD)).clamp_(min=0).sqrt_().add_(_FLOOR)
    joint = _joint_shares(_steps(gradient / norm), _steps(laplacian.div_(norm)))
    curves = _curves(joint)
    return [curves[:, number - 1] for number in _TAKEN]


def _gradient_windows() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = gaussian(7, _SD)
    inner = wide[1:-1, 1:-1]
    down, across = inner - wide[2:, 1:-1], inner - wide[1:-1, 2:]
    return down / np.abs(down).sum(), across / np.abs(across).sum()


def _laplacian_window() -> NDArray[np.float64]:
    side = np.arange(5) - 2
    square = side[:, None] ** 2 + side**2
    window = gaussian(5, _SD) * (square - 2 * _SD**2) / _SD**4
    window -= window.mean()
    found: NDArray[np.float64] = window / np.abs(window).sum()
    return found


def _steps(size: Tensor) -> Tensor:
    """Return the step 0..9 that each value is on, the first for nothing and the last for all above."""
    inner = size[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
    return (inner / _STEP).ceil_().clamp_(1, _NUM_STEPS).sub_(1)


def _joint_shares(gradient: Tensor, laplacian: Tensor) -> Tensor:
    """Return (k, 10, 10) shares of places, by the step of the gradient and of the Laplacian."""
    num_frames, num_cells = len(gradient), _NUM_STEPS**2
    cell = gradient.mul_(_NUM_STEPS).add_(laplacian).flatten(1)
    frame = num_cells * torch.arange(num_frames, device=cell.device, dtype=cell.dtype)[:, None]
    counts = torch.bincount((cell + frame).flatten().int(), minlength=num_frames * num_cells)
    return counts.view(-1, _NUM_STEPS, _NUM_STEPS).to(cell.dtype) / cell.shape[1]


def _curves(joint: Tensor) -> Tensor:
    """Return (k, 40): shares of the gradient, of the Laplacian, and of each on average given the other."""
    of_gradient, of_laplacian = joint.sum(dim=2), joint.sum(dim=1)
    given_laplacian = (joint / (of_laplacian[:, None, :] + _TINY)).sum(dim=2)
    given_gradient = (joint / (of_gradient[:, :, None] + _TINY)).sum(dim=1)
    given = [one / one.sum(dim=1, keepdim=True) for one in (given_laplacian, given_gradient)]
    return torch.cat([of_gradient, of_laplacian, *given], dim=1)
