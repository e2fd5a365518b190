"""Owns VIDEVAL's sixty features: what each is and from whom, and how they come from the frames of a video.

VIDEVAL: Tu, Wang, Birkbeck, Adsumilli and Bovik, "UGC-VQA: benchmarking blind video quality assessment for
user generated content" (IEEE Transactions on Image Processing, 2021).

Fifty statistics of every second frame are pooled over blocks of a second, 34 by their mean and 19 by their
deviation (three by both), and averaged over blocks; six more are of one frame a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.models.videval.brisque import brisque
from securevqa_core.models.videval.colour import (
    cone_response,
    lab,
    lab_chroma,
    linear,
    rgb,
    rgb_levels,
)
from securevqa_core.models.videval.friquee import friquee_chroma, friquee_cones, friquee_luma
from securevqa_core.models.videval.gm_log import gm_log
from securevqa_core.models.videval.higrade import higrade
from securevqa_core.models.videval.key_points import SIZE_SHARE
from securevqa_core.models.videval.planes import by_strips, halved, local
from securevqa_core.models.videval.tlvqm_high import tlvqm_high
from securevqa_core.models.videval.tlvqm_low import tlvqm_low

__all__ = [
    "FEATURES",
    "FRAME_FEATURES",
    "SECOND_FEATURES",
    "Feature",
    "frame_features",
    "pooled",
    "second_features",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One of the sixty."""

    source: str  # the measure of quality it comes from, and its number there
    meaning: str
    pooling: str  # over frames: mean, deviation or second


# Of one frame: where from, and what.
FRAME_FEATURES = (
    ("BRISQUE 5", "left variance of products with the right neighbour"),
    ("BRISQUE 9", "left variance of products with the neighbour below"),
    ("BRISQUE 23", "left variance of products with the right neighbour, half size"),
    ("BRISQUE 29", "shape of products with the diagonal neighbour, half size"),
    ("GM-LOG 2", "share of places with little gradient"),
    ("GM-LOG 4", "share of places with some gradient"),
    ("GM-LOG 8", "share of places with much gradient"),
    ("GM-LOG 18", "share of places with much Laplacian"),
    ("GM-LOG 20", "share of places with most Laplacian"),
    ("GM-LOG 23", "little gradient given the Laplacian"),
    ("GM-LOG 34", "some Laplacian given the gradient"),
    ("GM-LOG 40", "most Laplacian given the gradient"),
    ("HIGRADE 3", "deviation of the normalised gradient"),
    ("HIGRADE 13", "deviation of its log's mixed difference"),
    ("HIGRADE 14", "shape of its log's mixed difference"),
    ("HIGRADE 16", "shape of its log's difference of rows and columns"),
    ("HIGRADE 21", "deviation of the normalised gradient, half size"),
    ("HIGRADE 28", "shape of its diagonal difference, half size"),
    ("HIGRADE 30", "shape of its other diagonal difference, half size"),
    ("HIGRADE 33", "deviation of its difference of rows and columns, half size"),
    ("FRIQUEE luma 5", "skewness of products with the right neighbour"),
    ("FRIQUEE luma 8", "mean of products with the neighbour below, as fitted"),
    ("FRIQUEE luma 27", "mean contrast"),
    ("FRIQUEE luma 32", "shape of products with the right neighbour"),
    ("FRIQUEE luma 58", "mean contrast, half size"),
    ("FRIQUEE luma 62", "skewness of normalised luma, half size"),
    ("FRIQUEE luma 66", "deviation of normalised edges of contrast"),
    ("FRIQUEE luma 68", "kurtosis of normalised edges of contrast"),
    ("FRIQUEE luma 70", "kurtosis of the normalised contrast of those edges"),
    ("FRIQUEE luma 71", "shape of the finest detail"),
    ("FRIQUEE luma 72", "deviation of the finest detail"),
    ("FRIQUEE chroma 4", "right variance of products with the right neighbour"),
    ("FRIQUEE chroma 7", "shape of products with the neighbour below"),
    ("FRIQUEE chroma 15", "left variance of products with the diagonal neighbour"),
    ("FRIQUEE chroma 24", "kurtosis of products with the other diagonal neighbour"),
    ("FRIQUEE chroma 26", "skewness of contrast"),
    ("FRIQUEE chroma 47", "kurtosis of products with the neighbour below, half size"),
    ("FRIQUEE chroma 60", "kurtosis of contrast, half size"),
    ("FRIQUEE chroma 62", "mean contrast, half size"),
    ("FRIQUEE chroma 72", "deviation of normalised edges of contrast"),
    ("FRIQUEE chroma 73", "skewness of normalised edges of contrast"),
    ("FRIQUEE chroma 79", "skewness of the finest detail"),
    ("FRIQUEE LMS 52", "deviation of normalised contrast of short-wave cones, half size"),
    ("TLVQM low 1", "strength of motion"),
    ("TLVQM low 5", "spread of the motion that most points share"),
    ("TLVQM low 12", "spatial detail"),
    ("TLVQM low 16", "jerkiness"),
    ("TLVQM low 18", "change between frames"),
    ("TLVQM low 19", "vertical motion"),
    ("TLVQM low 22", "flicker where nothing moves"),
)
SECOND_FEATURES = (
    ("TLVQM high 1", "mean edges in colour"),
    ("TLVQM high 2", "deviation of edges in colour"),
    ("TLVQM high 17", "colourfulness"),
    ("TLVQM high 22", "how long edges stay like themselves"),
    ("TLVQM high 24", "how like themselves edges are two pixels on"),
    ("TLVQM high 30", "deviation of edges in blocks that are not the sharpest"),
)
# Numbers of frame features, from 1, in the order of the published tables.
_MEANS = (2, 3, 4, 7, 9, 10, *range(12, 21), 25, 27, 29, 30, 32, *range(34, 49))
_DEVIATIONS = (1, 5, 6, 8, 11, 12, 17, 21, 22, 23, 24, 26, 28, 29, 31, 33, 45, 49, 50)


def _features(numbers: Sequence[int], pooling: str) -> tuple[Feature, ...]:
    rows = [FRAME_FEATURES[number - 1] for number in numbers]
    return tuple(Feature(source=source, meaning=meaning, pooling=pooling) for source, meaning in rows)


FEATURES = (
    *_features(_MEANS, "mean"),
    *_features(_DEVIATIONS, "deviation"),
    *(Feature(source=source, meaning=meaning, pooling="second") for source, meaning in SECOND_FEATURES),
)


def frame_features(planes: Sequence[Tensor], before: Tensor, after: Tensor) -> Tensor:
    """Return the 50 statistics of frames, (k, 50); not a number where one is undefined.

    Args:
        planes: luma, blue and red chroma of the frames, each (k, h, w), 0..255, of one size.
        before: luma (k, h / 2, w / 2) of the frames before them, halved, 0..255.
        after: likewise of the frames after them.
    """
    y = planes[0]
    small = halved(y)
    full, half = local(y), local(small)
    chroma, cones = by_strips(_colours, *planes)
    reach = y.shape[2] // SIZE_SHARE
    found = [
        *brisque(full, half),
        *gm_log(y),
        *higrade(y),
        *friquee_luma(y, full, half),
        *friquee_chroma(chroma),
        *friquee_cones(cones),
        *tlvqm_low(before / 255, small / 255, after / 255, reach=reach),
    ]
    return torch.stack(found, dim=1)


def _colours(y: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    light = [linear(channel) for channel in rgb_levels(y, u, v)]
    return lab_chroma(light), cone_response(light)


def second_features(planes: Sequence[Tensor]) -> Tensor:
    """Return the 6 statistics of frames, (k, 6), from planes as `frame_features` takes them."""
    return tlvqm_high(lab([linear(channel) for channel in rgb(*planes)]))


def pooled(frames: Tensor, seconds: Tensor, blocks: Sequence[NDArray[np.int64]]) -> Tensor:
    """Return the 60 features of a video; not a number where one is undefined throughout.

    Args:
        frames: (n, 50) statistics of its frames.
        seconds: (m, 6) statistics of a frame each second.
        blocks: rows of `frames` that are pooled together; means and deviations are averaged over blocks.
    """
    parts = [frames[torch.from_numpy(rows)] for rows in blocks]
    means = torch.stack([one[:, _columns(_MEANS)].nanmean(dim=0) for one in parts])
    deviations = torch.stack([_deviation(one[:, _columns(_DEVIATIONS)]) for one in parts])
    return torch.cat([means.nanmean(dim=0), deviations.nanmean(dim=0), seconds.nanmean(dim=0)])


def _columns(numbers: Sequence[int]) -> list[int]:
    return [number - 1 for number in numbers]


def _deviation(x: Tensor) -> Tensor:
    """Return the standard deviation (c,) of the defined values of each column (n, c); 0 of one value."""
    count = (~x.isnan()).sum(dim=0)
    centred = (x - x.nanmean(dim=0)).square().nansum(dim=0)
    found = (centred / (count - 1).clamp(min=1)).sqrt()
    return torch.where(count > 0, found, torch.nan)
