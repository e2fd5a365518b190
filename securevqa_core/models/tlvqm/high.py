"""Owns TLVQM's high-complexity statistics (Korhonen, 2019): 30 of one frame, from edges in colour to blocks.

Places where luma is all but white or black are left out of what exposure spoils: edges, noise and contrast.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.planes import filtered, halved, resized
from securevqa_core.models.videval.tlvqm_high import blocks, likeness

__all__ = ["HIGH_FEATURES", "tlvqm_high_features"]

HIGH_FEATURES = (
    "mean edges in colour",
    "deviation of edges in colour",
    "distance of edges from the middle of the frame",
    "spread of the distances of edges",
    "share of the frame that is all but white",
    "share of a white patch",
    "share of the frame that is all but black",
    "share of a black patch",
    "density of noise",
    "mean strength of noise",
    "deviation of the strength of noise",
    "blockiness: strongest rhythm of edges along lines or columns",
    "distance of that rhythm",
    "number of rhythms",
    "darkness: how far the distribution of lightness is from an even one",
    "brightness",
    "colourfulness",
    "deviation of colour",
    "likeness of high frequencies in one direction to low ones",
    "high frequencies in both directions beside low ones",
    "likeness of high frequencies of lines and of columns",
    "how long edges stay like themselves, over five steps",
    "how long edges stay like themselves, over three steps",
    "how like themselves edges are two pixels on",
    "distance at which edges return",
    "distance at which edges turn",
    "share of blocks that are sharpest",
    "share of blocks with edges that are not",
    "deviation of edges in the sharpest blocks",
    "deviation of edges in the others",
)

_SOBEL = np.array([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 8
_LAB_RANGES = (100.0, 50.0, 50.0)
_LIGHTEST = 100
_LEAST_EDGE = 0.01
_BRIGHT, _DARK, _MARGIN, _LEAST_PATCH = 0.9, 0.1, 0.05, 50  # pixels
_SMOOTH = 0.05  # deviation of the columns of the 9 x 9 places around a noisy one
_NUM_LAGS = 23
_QUARTER = 0.25
_WIDE = 1280  # pixels: sharpness of wider frames is taken at half size
_STRONG = 1e-4  # power of a block's edges below which it is left out
_SEARCHED = 6  # lags, from 0


def tlvqm_high_features(luma: Tensor, lab: Tensor) -> Tensor:
    """Return the 30 statistics of a frame, (30,).

    Args:
        luma: (h, w), 0..1.
        lab: (3, h, w), L of 0..100.
    """
    down, across = _edges(lab)
    size = (down + across).sqrt()
    bright, white = _patches(luma, is_bright=True)
    dark, black = _patches(luma, is_bright=False)
    open_places = ~torch.from_numpy(white | black).to(luma.device)
    found = [
        *_spatial(size, open_places),
        *bright,
        *dark,
        *_noise(luma, lab, open_places),
        *_blockiness(down.sqrt() - across.sqrt()),
        *_contrast(lab, open_places),
        *_spectrum(luma),
        *_sharpness(size),
    ]
    return torch.tensor([float(one) for one in found], dtype=luma.dtype)


def _edges(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Return the power (h, w) of edges from row to row and from column to column; 0 at the border."""
    ranges = torch.tensor(_LAB_RANGES, device=lab.device, dtype=lab.dtype)[:, None, None]
    powers = []
    for window in (_SOBEL, _SOBEL.T):
        power = filtered(lab / ranges, window).square().sum(dim=0)
        kept = torch.zeros_like(power)
        kept[1:-1, 1:-1] = power[1:-1, 1:-1]
        powers.append(kept)
    return powers[0], powers[1]


def _patches(luma: Tensor, *, is_bright: bool) -> tuple[tuple[float, float], NDArray[np.bool_]]:
    """Return the share of the frame in patches of one end of the range, that of a patch, and where they are.

    A patch is made of 3 x 3 places that all are near the frame's extreme and overlap.
    """
    y = luma.cpu().numpy()
    nowhere = np.zeros(y.shape, dtype=np.bool_)
    if (y.max() <= _BRIGHT) if is_bright else (y.min() >= _DARK):
        return (0.0, 0.0), nowhere
    extreme = y > y.max() - _MARGIN if is_bright else y < y.min() + _MARGIN
    square, corner = np.ones((3, 3), dtype=np.bool_), np.ones((2, 2), dtype=np.bool_)
    middles = scipy.ndimage.binary_erosion(extreme, square)
    # Squares overlap where their middles are two apart: with 2 x 2 places each, such middles touch.
    labels, count = scipy.ndimage.label(scipy.ndimage.binary_dilation(middles, corner), square)
    of_middle = np.where(middles, labels, 0)
    patches = scipy.ndimage.grey_dilation(of_middle, footprint=square)
    sizes = np.bincount(patches.ravel(), minlength=count + 1)
    sizes[0] = 0
    is_kept = sizes >= _LEAST_PATCH
    share = float(sizes[is_kept].sum() / y.size)
    return (share, share / max(int(is_kept.sum()), 1)), is_kept[patches]


def _spatial(edges: Tensor, open_places: Tensor) -> tuple[Tensor | float, ...]:
    """Return mean and deviation of edges, how far their middle is from the frame's, and their spread."""
    kept = torch.where(open_places & (edges < _LEAST_EDGE), 0.0, edges)
    chosen = open_places & (kept > 0)
    if not chosen.any():
        return (0.0,) * 4
    strength = kept[chosen].double()
    rows, columns = (
        (places + 1) / size - 0.5
        for places, size in zip(chosen.nonzero(as_tuple=True), edges.shape, strict=True)
    )
    total = strength.sum()
    middle = [(strength * places).sum() / total for places in (rows, columns)]
    weighted = torch.hypot(rows, columns) * strength
    spread = ((weighted - weighted.mean()).square().sum() / total).sqrt()
    return kept.mean(), kept.std(), torch.hypot(*middle), spread


def _noise(luma: Tensor, lab: Tensor, open_places: Tensor) -> tuple[Tensor | float, ...]:
    """Return how many places stand out of smooth ones, how far, and the deviation of that."""
    inner = slice(4, -4)
    middle, is_open = luma[inner, inner], open_places[inner, inner]
    height, width = middle.shape
    moves = [(rows, columns) for rows in range(5) for columns in range(5) if (rows, columns) != (2, 2)]
    others = [luma[rows + 2 :, columns + 2 :][:height, :width] for rows, columns in moves]
    most, least = functools.reduce(torch.maximum, others), functools.reduce(torch.minimum, others)
    stands_out = (middle > most) | (middle < least)
    candidates = (stands_out & is_open).nonzero()
    if not len(candidates):
        return (0.0,) * 3
    rows, columns = candidates.T
    surroundings = luma.unfold(0, 9, 1).unfold(1, 9, 1)[rows, columns]
    smooth = (surroundings.std(dim=1) < _SMOOTH).all(dim=1)
    rows, columns = rows[smooth], columns[smooth]
    if not len(rows):
        return (0.0,) * 3
    near = lab[:, 1:-1, 1:-1].unfold(1, 7, 1).unfold(2, 7, 1)[:, rows, columns]
    distances = (near.mean(dim=2) - lab[:, rows + 4, columns + 4, None]).square().sum(dim=0).sqrt() / 100
    return len(rows) / is_open.sum(), distances.mean(), distances.std()


def _blockiness(difference: Tensor) -> tuple[float, float, float]:
    """Return the strongest rhythm of edges (h, w), rows less columns, its distance, and the number of all."""
    lines = torch.zeros(difference.shape[0] - 2, dtype=torch.float64)
    columns = torch.zeros(difference.shape[1] - 2, dtype=torch.float64)
    lines[2:] = difference[2:-2].mean(dim=1).double().cpu()
    columns[2:] = -difference[:, 2:-2].mean(dim=0).double().cpu()
    curves = [
        np.array([float((x[: len(x) - lag] * x[lag:]).sum()) for lag in range(_NUM_LAGS)])
        for x in (lines, columns)
    ]
    lags = _NUM_LAGS - 2  # that have neighbours
    best, lowest = np.zeros((2, 2)), np.array([curve[0] for curve in curves])  # rise and height of both
    distance, count = 0.0, 0
    for lag in range(1, lags + 1):
        for which, curve in enumerate(curves):
            here, beside = curve[lag], (curve[lag - 1], curve[lag + 1])
            count += here > max(beside)
            if here < min(*beside, lowest[which]):
                lowest[which] = here
            elif here > max(beside) and here - lowest[which] > best[which, 0]:
                best[which] = here - lowest[which], here
                distance = lag / lags
    powers = np.array([curve[0] for curve in curves])
    rises = best[best[:, 1] > 0, 0] / powers[best[:, 1] > 0] if (powers > 0).all() else np.empty(0)
    return float(rises.max(initial=0.0)) ** 0.5, distance, count / (2 * lags)


def _contrast(lab: Tensor, open_places: Tensor) -> tuple[Tensor | float, ...]:
    """Return darkness and brightness, colourfulness, and deviation of colour.

    Where nothing is open, brightness is twice the mean lightness; the author's program has a sum there, which
    grows with the frame.
    """
    lightness = lab[0][open_places].floor()
    if len(lightness):
        counts = torch.bincount(lightness.clamp(0, _LIGHTEST).long(), minlength=_LIGHTEST + 1)
        even = torch.arange(1, _LIGHTEST + 2, device=lab.device) / 100
        error = ((counts.cumsum(0) / len(lightness) - even) / 100).sum()
        darkness, brightness = (error + 1) / 2, (1 - error) / 2
    else:
        darkness, brightness = torch.tensor(1.0), lab[0].mean() / 50
    colour = ((lab[1:] / 50) ** 2).sum(dim=0).mean().sqrt()
    deviation = 0.01 * (lab[1].std() + lab[2].std()) if lab[0].std() > 0 else 0.0
    return darkness, brightness, colour, deviation


def _spectrum(luma: Tensor) -> tuple[Tensor | float, ...]:
    """Return likenesses of quarters of the cosine transform, and high frequencies beside low ones."""
    transform = scipy.fft.dctn(luma.double().cpu().numpy(), norm="ortho")
    size = torch.from_numpy(np.abs(transform) ** 0.5)
    rows, columns = (side // 2 for side in luma.shape)
    turned = [size, size.flip(1), size.flip(0), size.flip(0, 1)]
    low, across, down, both = (resized(one[None, :rows, :columns], _QUARTER)[0] for one in turned)
    alike = max(_correlation(low, other) for other in (across, down))
    means = [one.mean(dim=0) for one in (low, across, down, both)]
    high = _ratio(means[3], means[0]) if (means[0] > 0).all() else 0.0
    least, most = torch.minimum(means[1], means[2]), torch.maximum(means[1], means[2])
    return max(0.0, alike), high, _ratio(least, most) if (most > 0).all() else 0.0


def _correlation(a: Tensor, b: Tensor) -> float:
    """Return Pearson's correlation; 0 where one is constant."""
    a, b = (one.flatten().double() - one.double().mean() for one in (a, b))
    norm = (a.norm() * b.norm()).item()
    return (a @ b).item() / norm if norm > 0 else 0.0


def _ratio(above: Tensor, below: Tensor) -> float:
    """Return the factor that makes one vector most like another."""
    return float((above @ below) / (below @ below))


def _sharpness(edges: Tensor) -> Sequence[Tensor | float]:
    """Return 9 statistics of the blocks of edges (h, w)."""
    image = edges[None]
    if image.shape[2] > _WIDE:
        image = halved(image)
    across, down = filtered(image, -_SOBEL.T)[0], filtered(image, -_SOBEL)[0]
    lags = likeness(across, down)  # (blocks, 7, 3): by distance, and down, right or both
    strong = lags[:, 0, 0] > _STRONG
    if not strong.any():
        return [0.0] * 9
    alike = lags[strong] / lags[strong, :1, :1]
    rings = alike[:, 1:].sum(dim=2)
    rings = torch.where(rings[:, :1] > 0, rings / rings[:, :1], rings)
    curve = rings.mean(dim=0)
    size = (across * across + down * down).sqrt()
    deviations = blocks(size, 0, 0).std(dim=1)
    deviations, num_blocks = deviations[strong], len(deviations)
    is_sharp = deviations > deviations.mean()
    total = alike.sum(dim=0) + is_sharp.sum() * alike[-1]
    returning, turning = _extremes((total / total[0, 0]).cpu().double().numpy())
    sharp, soft = deviations[is_sharp], deviations[~is_sharp]
    return [
        curve[1:].mean(),
        curve[1:4].mean(),
        curve[1],
        returning / (_SEARCHED - 1),
        turning / (_SEARCHED - 1),
        len(sharp) / num_blocks,
        len(soft) / num_blocks,
        sharp.mean() if len(sharp) else 0.0,
        soft.mean() if len(soft) else 0.0,
    ]


def _extremes(lags: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far the largest peak and the lowest trough of the likeness are, 0 for none.

    Args:
        lags: (7, 3), by distance, and down, right or both. What the author's program holds against a lag to
            the right or down lies beside the line and not along it; so it is here.
    """
    plane = np.zeros((_SEARCHED + 2, _SEARCHED + 2))  # one more before lag 0
    steps = np.arange(_SEARCHED + 1)
    plane[steps + 1, 1], plane[1, steps + 1], plane[steps + 1, steps + 1] = lags.T
    highest, lowest, returning, turning = 0.0, 0.0, 0.0, 0.0
    for row in range(_SEARCHED):
        for column in range(_SEARCHED):
            if (row, column) == (0, 0) or (row and column and row != column):
                continue
            down, right = (1, 0) if row == 0 else (0, 1) if column == 0 else (1, 1)
            here = plane[row + 1, column + 1]
            others = [plane[row + 1 + way * down, column + 1 + way * right] for way in (-1, 1)]
            if here > max(*others, highest):
                highest, returning = here, float(np.hypot(row, column))
            elif here < min(*others, lowest):
                lowest, turning = here, float(np.hypot(row, column))
    return returning, turning
