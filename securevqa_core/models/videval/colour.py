"""Owns the colours that VIDEVAL looks at: RGB from luma and chroma planes, Lab twice, a cone's response.

Y'CbCr is read as BT.601 of limited range, whatever a file says: so the published features were made.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from securevqa_core.models.videval.planes import upsampled

__all__ = ["cone_response", "full_chroma", "lab", "lab_chroma", "linear", "rgb", "rgb_levels"]

# BT.601: luma 16..235, chroma 16..240, to R, G, B of 0..255.
_FROM_YCBCR = np.linalg.inv(
    np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
)
_BLACK = np.array([16.0, 128.0, 128.0])
# sRGB's primaries: under D65, under D50 as ICC profiles adapt them, and the inverse that MATLAB code rounds.
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_XYZ_D50 = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
_WHITE_D50 = np.array([0.9642, 1.0, 0.8249])
_XYZ_ROUNDED = np.linalg.inv(
    np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
)
_SHORT_CONES = np.array([0.0030, 0.0136, 0.9834])  # of CAT02, from XYZ
_LINEAR_BELOW = 0.04045
_LAB_EDGE = (6 / 29) ** 3


def full_chroma(chroma: Tensor, height: int, width: int) -> Tensor:
    """Return a chroma plane (k, h / 2, w / 2) at the size of luma, odd sizes cut."""
    return upsampled(chroma)[:, :height, :width]


def rgb(y: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
    """Return R, G and B, 0..255 and not rounded, of planes (k, h, w) of one size."""
    offsets = _FROM_YCBCR @ _BLACK
    channels = []
    for row, offset in zip(_FROM_YCBCR, offsets, strict=True):
        channel = y * row[0] - offset
        for plane, factor in ((u, row[1]), (v, row[2])):
            if abs(factor) > 1e-9:
                channel.add_(plane, alpha=float(factor))
        channels.append(channel.clamp_(0, 255))
    return channels


def rgb_levels(y: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
    """Return R, G and B as 8-bit levels, of planes that are rounded first."""
    return [channel.round_() for channel in rgb(*(plane.round().clamp_(0, 255) for plane in (y, u, v)))]


def linear(level: Tensor) -> Tensor:
    """Return light, 0..1, of sRGB 0..255."""
    share = level / 255
    return torch.where(share <= _LINEAR_BELOW, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab_chroma(light: list[Tensor]) -> Tensor:
    """Return the length of Lab's a and b as 8-bit levels, 128 for none, under D50: of linear R, G and B."""
    x, y, z = (_bent(_mixed(row / white, light)) for row, white in zip(_XYZ_D50, _WHITE_D50, strict=True))
    a = (x - y).mul_(500).add_(128).round_().clamp_(0, 255)
    b = (y - z).mul_(200).add_(128).round_().clamp_(0, 255)
    return a.mul_(a).addcmul_(b, b).sqrt_()


def lab(light: list[Tensor]) -> Tensor:
    """Return (k, 3, h, w) Lab under D65, L of 0..100, of linear R, G and B."""
    x, y, z = (_bent(_mixed(row / row.sum(), light)) for row in _XYZ)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def cone_response(light: list[Tensor]) -> Tensor:
    """Return how CAT02's short-wave cones answer to linear R, G and B."""
    return _mixed(_SHORT_CONES @ _XYZ_ROUNDED, light)


def _mixed(weights: np.ndarray, light: list[Tensor]) -> Tensor:
    mixed = light[0] * float(weights[0])
    for weight, channel in zip(weights[1:], light[1:], strict=True):
        mixed.add_(channel, alpha=float(weight))
    return mixed


def _bent(t: Tensor) -> Tensor:
    """Return CIE's lightness response: a cube root, linear near black."""
    root = t.clamp(min=_LAB_EDGE).pow(1 / 3)
    return torch.where(t > _LAB_EDGE, root, t * (29 / 6) ** 2 / 3 + 4 / 29)
