"""Owns pictures of pictures: texture, edges and saliency of frames, as published models look at them.

Every one takes normalised RGB and lets gradients through to it, because a picture that stopped them would
make an attacked model look strong.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from securevqa_core.models.statistics import luma_of
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD

__all__ = ["edge_pictures", "saliency_maps", "texture_pictures"]

# Rows and columns from a pixel to its neighbours, from the least to the greatest bit of the pattern.
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
_LEVELS = 255.0
_SOFT_LEVELS = 2.0  # of luma: how far from a pixel's own level a gradient still sees a neighbour's
_STEEPEST = 4 * math.sqrt(2) * _LEVELS  # no Sobel gradient is longer
_BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_TINY = 1e-6


def texture_pictures(x: Tensor) -> Tensor:
    """Return frames whose levels are local binary patterns (Ojala, Pietikainen and Harwood, 1996).

    Bit i of a pixel's pattern says that the i-th of its eight neighbours has at least its 8-bit luma; outside
    the frame its edge goes on. The gradient is that of a sigmoid in place of each comparison.

    Args:
        x: (k, 3, h, w) normalised RGB.

    Returns:
        (k, 3, h, w) float32: the pattern, 0..255, in all three channels, normalised as pixels are.
    """
    luma = luma_of(_levels(x))
    luma = luma + (luma.detach().add(0.5).floor() - luma.detach())
    padded = F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    height, width = luma.shape[1:]
    pattern = torch.zeros_like(luma)
    for bit, (row, column) in enumerate(_NEIGHBOURS):
        neighbour = padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]
        pattern = pattern + 2**bit * _at_least(neighbour - luma)
    return _normalised(pattern[:, None].expand(-1, 3, -1, -1))


def edge_pictures(x: Tensor) -> Tensor:
    """Return frames whose levels are the length of the luma's Sobel gradient, 0..255.

    Args:
        x: (k, 3, h, w) normalised RGB.

    Returns:
        (k, 3, h, w) float32, the same in all three channels, normalised as pixels are.
    """
    luma = F.pad(luma_of(_levels(x))[:, None], (1, 1, 1, 1), mode="replicate")
    across, along = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
    slopes = [_separable(luma, rows, columns) for rows, columns in ((across, along), (along, across))]
    length = (slopes[0].square() + slopes[1].square() + _TINY).sqrt()
    return _normalised((length * (_LEVELS / _STEEPEST)).expand(-1, 3, -1, -1))


def saliency_maps(x: Tensor, height: int, width: int) -> Tensor:
    """Return how far places of a frame are from its mean colour, after Achanta et al. (CVPR, 2009).

    Args:
        x: (k, 3, h, w) normalised RGB.
        height: of the maps.
        width: of the maps.

    Returns:
        (k, 1, height, width) float32, >= 0; of mean 1 at the frame's own size, and 1 throughout a flat one.
    """
    planes = x.float().flatten(0, 1)[:, None]
    smooth = _separable(F.pad(planes, (2, 2, 2, 2), mode="replicate"), _BLUR, _BLUR).view(x.shape)
    away = x.float().mean(dim=(2, 3), keepdim=True) - smooth
    distance = (away.square().sum(dim=1, keepdim=True) + _TINY).sqrt()
    relative = distance / distance.mean(dim=(2, 3), keepdim=True)
    return F.interpolate(relative, (height, width), mode="bilinear", antialias=True)


def _at_least(difference: Tensor) -> Tensor:
    """Return 1 where a difference of levels is >= 0, else 0; the gradient is a sigmoid's."""
    soft = torch.sigmoid(difference / _SOFT_LEVELS)
    return soft + ((difference.detach() >= 0).to(soft) - soft.detach())


def _levels(x: Tensor) -> Tensor:
    """Return pixels 0..255 of normalised ones (k, 3, h, w)."""
    mean, sd = _constants(x.device)
    return x.float() * sd + mean


def _normalised(levels: Tensor) -> Tensor:
    mean, sd = _constants(levels.device)
    return (levels - mean) / sd


def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, sd = (torch.tensor(values, device=device).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_SD))
    return mean, sd


def _separable(planes: Tensor, rows: tuple[float, ...], columns: tuple[float, ...]) -> Tensor:
    """Return (k, 1, h, w) correlated with a filter down and a filter across; no padding."""
    with torch.autocast(planes.device.type, enabled=False):
        down = F.conv2d(planes, planes.new_tensor(rows).view(1, 1, -1, 1))
        return F.conv2d(down, planes.new_tensor(columns).view(1, 1, 1, -1))
