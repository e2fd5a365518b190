"""Owns which frames are looked at whole, and how what is found in each becomes one value for a video.

Statistics of a frame may need the frames before and after it; they are pooled over blocks of about a second,
and a few more are taken of one frame a second. The places are those of VIDEVAL's authors; of a video with
more than `MAX_BLOCKS` blocks, so many spread over it: none may take for ever. A network of whole pictures has
them at a steady rate from the first on, as UVQ's authors do, and at most `MAX_PICTURES`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from securevqa_core.types import SamplingConfig

__all__ = ["MAX_BLOCKS", "MAX_PICTURES", "Planes", "StatisticsSink", "WholePlan", "WholeSink", "whole_plan"]

# Luma (h, w), chroma (h / 2, w / 2); or, of a sampling with pictures, red, green and blue, (h, w) each.
Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]

MAX_BLOCKS = 30
MAX_PICTURES = 60  # held until the video has been decoded
_USUAL_RATE = 30.0  # frames a second, where a file does not say
_MAX_RATE = 240
_LEAST_RATE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholePlan:
    """Moments of a viewer's time, by their number: at constant rate, frames."""

    triples: NDArray[np.int64]  # (n, 3) before, looked at, and after; ascending
    seconds: NDArray[np.int64]  # (m,) ascending
    blocks: tuple[NDArray[np.int64], ...]  # rows of `triples` that are pooled together

    @property
    def wanted(self) -> NDArray[np.int64]:
        """Every moment that is needed, (k,) ascending and unique."""
        return np.union1d(self.triples, self.seconds)


class WholeSink(Protocol):
    """Whom whole frames are given to as they are decoded."""

    def begin(self, num_moments: int, fps: float | None) -> None:
        """Expect the frames of the plan for so many moments; those given before do not count."""

    def add(self, moment: int, planes: Planes) -> None:
        """Take the frame on screen in one moment of the plan, each at most once, all of one size."""


class StatisticsSink(WholeSink, Protocol):
    """One that makes statistics of the frames."""

    def features(self) -> NDArray[np.float32]:
        """Return the statistics of the video that was begun last."""


def whole_plan(num_moments: int, fps: float | None, config: SamplingConfig) -> WholePlan | None:
    """Return the plan for a video, None where `config` asks for none.

    Args:
        num_moments: of the video, >= 1; at its end, and where it is very short, they repeat.
        fps: moments a second; None: not known.
        config: its `statistics_interval`, `statistics_rate` or `picture_rate`.

    Raises:
        ValueError: `num_moments` < 1.
    """
    if not config.has_statistics:
        return None
    if num_moments < 1:
        raise ValueError(f"num_moments must be >= 1, got {num_moments}")
    if config.picture_rate:
        return _plan_of_pictures(num_moments, fps or _USUAL_RATE, config.picture_rate)
    rate = min(max(round(fps or _USUAL_RATE), 1), _MAX_RATE)
    if config.statistics_interval:
        interval, per_block = config.statistics_interval, max(rate // 2, 1)
    else:
        interval, per_block = max(rate // config.statistics_rate, 1), config.statistics_rate
    end = max(num_moments - 3, 1)
    num_triples = len(range(1, end + 1, interval))
    starts = range(0, num_triples - per_block, per_block)
    every_block = np.arange(per_block + 1) if starts else np.arange(num_triples)
    blocks = _spread(starts or range(1))[:, None] + every_block
    rows, inside = np.unique(blocks, return_inverse=True)
    places = 1 + rows * interval
    befores = np.where(rows == 0, 0, places - interval + 1)
    triples = np.stack([befores, places, places + 1], axis=1)
    seconds = range(max(rate // 2, 1) - 1, end, rate) or range(num_moments // 2, num_moments)
    return WholePlan(
        triples=triples.clip(max=num_moments - 1),
        seconds=_spread(seconds),
        blocks=tuple(inside.reshape(blocks.shape).astype(np.int64)),
    )


def _plan_of_pictures(num_moments: int, fps: float, picture_rate: int) -> WholePlan:
    """Return the plan of one frame every 1 / `picture_rate` seconds, from the first on."""
    fps = max(fps, _LEAST_RATE)
    wanted = _spread(range(max(1, math.ceil(num_moments / fps * picture_rate))), most=MAX_PICTURES)
    moments = np.unique((wanted * (fps / picture_rate)).round().astype(np.int64).clip(max=num_moments - 1))
    return WholePlan(triples=np.zeros((0, 3), dtype=np.int64), seconds=moments, blocks=())


def _spread(places: range, *, most: int = MAX_BLOCKS) -> NDArray[np.int64]:
    """Return at most so many of some places, spread evenly."""
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(np.int64))
    found: NDArray[np.int64] = places.start + chosen * places.step
    return found
