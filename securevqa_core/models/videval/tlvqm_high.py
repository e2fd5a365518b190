"""Owns VIDEVAL's six high-complexity statistics from TLVQM (Korhonen, 2019): edges in colour.

Its 1st and 2nd (mean and deviation of edges), 17th (colourfulness), 22nd and 24th (how fast edges stop to be
like themselves, over five steps and over one) and 30th (deviation in blocks that are not among the sharpest).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from securevqa_core.models.videval.planes import filtered, halved

__all__ = ["blocks", "likeness", "tlvqm_high"]

_SOBEL = np.array([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 8
_LAB_RANGES = (100.0, 50.0, 50.0)
_WIDE = 1280  # pixels: sharpness of wider frames is taken at half size
_BLOCK = 16  # pixels from block to block; each has one more
_NUM_LAGS = 7
_STRONG = 1e-4  # power of a block's edges below which it is left out


def tlvqm_high(lab: Tensor) -> Tensor:
    """Return 6 statistics (n, 6) of frames in Lab, (n, 3, h, w), L of 0..100."""
    edges = torch.stack([_edges(frame) for frame in lab])
    deviation = edges.flatten(1).std(dim=1)
    colour = ((lab[:, 1:] / 50) ** 2).sum(dim=1).mean(dim=(1, 2)).sqrt()
    sharp = torch.stack([_sharpness(one) for one in edges])
    return torch.cat([edges.mean(dim=(1, 2))[:, None], deviation[:, None], colour[:, None], sharp], dim=1)


def _edges(lab: Tensor) -> Tensor:
    """Return how steep (3, h, w) is over all three channels, (h, w); 0 at the border."""
    ranges = torch.tensor(_LAB_RANGES, device=lab.device, dtype=lab.dtype)[:, None, None]
    down, across = (filtered(lab / ranges, window) for window in (_SOBEL, _SOBEL.T))
    power = (down * down + across * across).sum(dim=0)
    kept = torch.zeros_like(power)
    kept[1:-1, 1:-1] = power[1:-1, 1:-1]
    return kept.sqrt_()


def _sharpness(edges: Tensor) -> Tensor:
    """Return 3 statistics of edges (h, w)."""
    image = edges[None]
    if image.shape[2] > _WIDE:
        image = halved(image)
    across, down = filtered(image, -_SOBEL.T)[0], filtered(image, -_SOBEL)[0]
    size = (across * across + down * down).sqrt()
    lags = likeness(across, down)
    power = lags[:, 0, 0]
    strong = power > _STRONG
    if not strong.any():
        return torch.zeros(3, device=edges.device, dtype=edges.dtype)
    rings = lags[strong, 1:].sum(dim=2) / power[strong, None]
    first = rings[:, :1]
    rings = torch.where(first > 0, rings / first, rings)
    curve = rings.mean(dim=0)
    deviations = blocks(size, 0, 0).std(dim=1)[strong]
    soft = deviations[deviations <= deviations.mean()]
    return torch.stack([curve[1:].mean(), curve[1], soft.mean()])


def likeness(across: Tensor, down: Tensor) -> Tensor:
    """Return (blocks, 7, 3): mean products of edges (h, w) with themselves moved by 0..6, three ways.

    The ways are down, right, and both. Where nothing is moved all three are the power of a block's edges.
    """
    here = [blocks(part, 0, 0) for part in (across, down)]
    power = (here[0].square() + here[1].square()).mean(dim=1)
    found = [power[:, None].expand(-1, 3)]
    for lag in range(1, _NUM_LAGS):
        # Moved down, edges across weigh 1 and the others 0; along the diagonal both weigh a half.
        ways = []
        for rows, columns in ((lag, 0), (0, lag), (lag, lag)):
            shares = rows / (rows + columns), columns / (rows + columns)
            products = [
                share * (blocks(part, rows, columns) * still).mean(dim=1)
                for share, part, still in zip(shares, (across, down), here, strict=True)
                if share
            ]
            ways.append(torch.stack(products).sum(dim=0))
        found.append(torch.stack(ways, dim=1))
    return torch.stack(found, dim=1)


def blocks(image: Tensor, rows: int, columns: int) -> Tensor:
    """Return the blocks (n, 289) of an image (h, w), moved by some rows and columns."""
    half, side = _BLOCK // 2, _BLOCK + 1
    height, width = (len(range(half, size - 3 * _BLOCK // 2 + 1, _BLOCK)) for size in image.shape)
    start = half - 1
    moved = image[start + rows :, start + columns :]
    windows = moved.unfold(0, side, _BLOCK).unfold(1, side, _BLOCK)[:height, :width]
    return windows.reshape(height * width, side * side)
