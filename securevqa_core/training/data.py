"""Owns batches: which draws a step sees, their flips and guardian maps, prepared while the last step runs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.guardian import add_guardian_map
from securevqa_core.training.cache import CachedVideo

__all__ = [
    "Batch",
    "BatchMaker",
    "Differences",
    "choose_segments",
    "epoch_order",
    "mirrored",
    "prefetched",
    "step_rng",
]

Purpose = Literal["order", "batch", "model", "features", "statistics", "motion"]
_PURPOSES: tuple[Purpose, ...] = ("order", "batch", "model", "features", "statistics", "motion")
_T = TypeVar("_T")

_FAR = 4.0  # standard deviations: a difference beyond teaches no more than this
AHEAD = 2  # batches prepared before they are asked for


def step_rng(purpose: Purpose, *numbers: int) -> np.random.Generator:
    """Return the generator of one purpose at one place in training: seed, epoch, step, ... as apply."""
    return np.random.default_rng([_PURPOSES.index(purpose), *numbers])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What one step learns from: n clips of n videos, guardian map added."""

    videos: tuple[CachedVideo, ...]
    draws: tuple[int, ...]  # which cached draw of each video
    flipped: tuple[bool, ...]
    fragments: Tensor | None  # (n, d, h, w, 3) uint8, RGB; None where their statistics are cached
    statistics: Tensor | None  # (n, s, d / 2, g, g) float32; None unless they are cached
    segments: Tensor | None  # (n, m, t, side, side, 3) uint8, RGB; None where the inter branch is not run
    features: Tensor | None  # (n, m, ...) float32; None unless the inter branch or its statistics are cached
    differences: Tensor | None  # (n, k, d / 2, g, g) float32, standardised; NaN of videos without reference
    labels: Tensor  # (n,) float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Differences:
    """The local differences of videos from their references, standardised over all of them."""

    mean: NDArray[np.float32]  # (k, 1, 1, 1)
    sd: NDArray[np.float32]  # (k, 1, 1, 1)

    @classmethod
    def of(cls, videos: Sequence[CachedVideo]) -> Differences | None:
        """Return those of `videos`; None where no video has a reference."""
        axes, means, squares = (0, 1, 3, 4, 5), [], []
        for video in videos:  # one at a time: a map that is held holds a file open
            if (found := video.differences()) is not None:
                means.append(found.mean(axis=axes, dtype=np.float64))
                squares.append(np.square(found, dtype=np.float64).mean(axis=axes))
        if not means:
            return None
        mean = np.mean(means, axis=0)
        sd = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 0)) + 1e-6
        mean, sd = (value.astype(np.float32)[:, None, None, None] for value in (mean, sd))
        return cls(mean=mean, sd=sd)

    def __call__(
        self, video: CachedVideo, place: tuple[int, int], *, is_flipped: bool
    ) -> NDArray[np.float32]:
        """Return (k, d / 2, g, g) of the clip at (draw, clip); NaN where the video has no reference."""
        found, sampling = video.differences(), video.config.sampling
        if found is None:
            shape = (len(self.mean), sampling.clip_frames // 2, sampling.grid_size, sampling.grid_size)
            return np.full(shape, np.nan, np.float32)
        standard: NDArray[np.float32] = np.clip((found[place] - self.mean) / self.sd, -_FAR, _FAR)
        return standard[..., ::-1] if is_flipped else standard


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMaker:
    """Cuts batches out of the cache.

    With `features`, each an array (draws, num_segments, ...) by cache folder, odd draws are of mirrored
    frames and meet mirrored fragments. So do those of `statistics`, (maps, draws, clips, s, d / 2, g, g).
    """

    flip: bool
    num_segments: int  # of the inter branch in a step; 0: no inter branch
    features: Mapping[Path, NDArray[np.float32]] | None = None
    statistics: Mapping[Path, NDArray[np.float32]] | None = None
    differences: Differences | None = None

    def __call__(self, videos: Sequence[CachedVideo], rng: np.random.Generator) -> Batch:
        """Return a random draw of every video; `rng` decides all that is random."""
        clips = [self._clip(video, rng) for video in videos]
        draws, flipped, *arrays = zip(*clips, strict=True)
        fragments, statistics, segments, features, differences = (_stacked(column) for column in arrays)
        return Batch(
            videos=tuple(videos),
            draws=draws,
            flipped=flipped,
            fragments=fragments,
            statistics=statistics,
            segments=segments,
            features=features,
            differences=differences,
            labels=torch.tensor([video.label for video in videos]),
        )

    def _clip(self, video: CachedVideo, rng: np.random.Generator) -> tuple[Any, ...]:
        cached, sampling = video.fragments(), video.config.sampling
        draw, clip = (int(rng.integers(size)) for size in cached.shape[:2])
        is_flipped = bool(self.flip and rng.integers(2))
        guarded = statistics = None
        if self.statistics is None:
            fragments = mirrored(cached[draw, clip], is_flipped)
            guarded = add_guardian_map(fragments, rng, amplitude=sampling.guardian_amplitude)
        else:
            cached_draws = self.statistics[video.folder][int(is_flipped) :: 2 if self.flip else 1]
            statistics = cached_draws[rng.integers(len(cached_draws)), draw, clip]
        chosen = choose_segments(sampling.num_segments, self.num_segments, rng)
        segments = features = None
        if self.features is not None:
            cached_draws = self.features[video.folder][int(is_flipped) :: 2 if self.flip else 1]
            features = cached_draws[rng.integers(len(cached_draws))][chosen]
        elif self.num_segments:
            pixels = mirrored(video.frames()[video.segments()[chosen]], is_flipped)
            segments = add_guardian_map(pixels, rng, amplitude=sampling.guardian_amplitude)
        differences = self.differences and self.differences(video, (draw, clip), is_flipped=is_flipped)
        return draw, is_flipped, guarded, statistics, segments, features, differences


def _stacked(arrays: tuple[NDArray[Any] | None, ...]) -> Tensor | None:
    """Return a batch of what every clip has, or None."""
    return None if arrays[0] is None else torch.from_numpy(np.stack([a for a in arrays if a is not None]))


def epoch_order(
    videos: Sequence[CachedVideo], rng: np.random.Generator, *, clips_per_content: int
) -> NDArray[np.int64]:
    """Return the order (n,) in which an epoch meets videos: random, up to so many of a content in a row."""
    order = rng.permutation(len(videos))
    if clips_per_content == 1:
        return order
    by_content: dict[str, list[int]] = {}
    for index in order:
        by_content.setdefault(videos[index].content, []).append(int(index))
    rows = [
        places[start : start + clips_per_content]
        for places in by_content.values()
        for start in range(0, len(places), clips_per_content)
    ]
    return np.array([index for row in rng.permutation(len(rows)) for index in rows[row]])


def choose_segments(num_segments: int, num_chosen: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one random segment from each of `num_chosen` equal parts of a video, in order.

    Raises:
        ConfigurationError: more are wanted than there are.
    """
    if num_chosen > num_segments:
        raise ConfigurationError(f"train_segments must be <= num_segments={num_segments}, got {num_chosen}")
    edges = np.arange(num_chosen + 1) * num_segments // max(num_chosen, 1)
    return rng.integers(edges[:-1], edges[1:])


def mirrored(pixels: NDArray[np.uint8], is_flipped: bool) -> NDArray[np.uint8]:
    """Mirror (..., h, w, 3) left to right; spliced fragments keep their grid, each patch mirrored too."""
    return np.ascontiguousarray(pixels[..., ::-1, :] if is_flipped else pixels)


def prefetched(jobs: Iterable[Callable[[], _T]], *, ahead: int = AHEAD) -> Iterator[_T]:
    """Yield the results of `jobs` in order, the next `ahead` being worked out in a thread meanwhile."""
    waiting: deque[Future[_T]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        remaining = iter(jobs)
        waiting.extend(pool.submit(job) for job in itertools.islice(remaining, ahead))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(job) for job in itertools.islice(remaining, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)
