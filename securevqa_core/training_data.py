"""Owns batches: which draws a step sees, their flips and guardian maps, prepared while the last step runs."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.guardian import add_guardian_map
from securevqa_core.scoring import Precision, normalise
from securevqa_core.training_cache import CachedVideo

__all__ = [
    "Batch",
    "BatchMaker",
    "cached_features",
    "cached_statistics",
    "choose_segments",
    "prefetched",
    "step_rng",
]

Purpose = Literal["order", "batch", "model", "features", "statistics"]
_PURPOSES: tuple[Purpose, ...] = ("order", "batch", "model", "features", "statistics")
_T = TypeVar("_T")

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
    features: Tensor | None  # (n, m, channels) float32; None unless inter features are cached
    labels: Tensor  # (n,) float32


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMaker:
    """Cuts batches out of the cache.

    With `features`, each an array (draws, num_segments, channels) by cache folder, odd draws are of mirrored
    frames and meet mirrored fragments. So do those of `statistics`, (maps, draws, clips, s, d / 2, g, g).
    """

    flip: bool
    num_segments: int  # of the inter branch in a step; 0: no inter branch
    features: dict[Path, NDArray[np.float32]] | None = None
    statistics: dict[Path, NDArray[np.float32]] | None = None

    def __call__(self, videos: Sequence[CachedVideo], rng: np.random.Generator) -> Batch:
        """Return a random draw of every video; `rng` decides all that is random."""
        clips = [self._clip(video, rng) for video in videos]
        draws, flipped, *arrays = zip(*clips, strict=True)
        fragments, statistics, segments, features = (_stacked(column) for column in arrays)
        return Batch(
            videos=tuple(videos),
            draws=draws,
            flipped=flipped,
            fragments=fragments,
            statistics=statistics,
            segments=segments,
            features=features,
            labels=torch.tensor([video.label for video in videos]),
        )

    def _clip(self, video: CachedVideo, rng: np.random.Generator) -> tuple[Any, ...]:
        cached, sampling = video.fragments(), video.config.sampling
        draw, clip = (int(rng.integers(size)) for size in cached.shape[:2])
        is_flipped = bool(self.flip and rng.integers(2))
        guarded = statistics = None
        if self.statistics is None:
            fragments = _mirrored(cached[draw, clip], is_flipped)
            guarded = add_guardian_map(fragments, rng, amplitude=sampling.guardian_amplitude)
        else:
            kept = self.statistics[video.folder][int(is_flipped) :: 2 if self.flip else 1]
            statistics = kept[rng.integers(len(kept)), draw, clip]
        chosen = choose_segments(sampling.num_segments, self.num_segments, rng)
        segments = features = None
        if self.features is not None:
            kept = self.features[video.folder][int(is_flipped) :: 2 if self.flip else 1]
            features = kept[rng.integers(len(kept))][chosen]
        elif self.num_segments:
            pixels = _mirrored(video.frames()[video.segments()[chosen]], is_flipped)
            segments = add_guardian_map(pixels, rng, amplitude=sampling.guardian_amplitude)
        return draw, is_flipped, guarded, statistics, segments, features


def _stacked(arrays: tuple[NDArray[Any] | None, ...]) -> Tensor | None:
    """Return a batch of what every clip has, or None."""
    return None if arrays[0] is None else torch.from_numpy(np.stack([a for a in arrays if a is not None]))


def choose_segments(num_segments: int, num_chosen: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return one random segment from each of `num_chosen` equal parts of a video, in order.

    Raises:
        ConfigurationError: more are wanted than there are.
    """
    if num_chosen > num_segments:
        raise ConfigurationError(f"train_segments must be <= num_segments={num_segments}, got {num_chosen}")
    edges = np.arange(num_chosen + 1) * num_segments // max(num_chosen, 1)
    return rng.integers(edges[:-1], edges[1:])


def _mirrored(pixels: NDArray[np.uint8], is_flipped: bool) -> NDArray[np.uint8]:
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


def cached_features(
    model: Any,
    videos: Sequence[CachedVideo],
    *,
    backbone: nn.Module,
    num_draws: int,
    flip: bool,
    seed: int,
    device: torch.device,
    precision: Precision,
) -> dict[Path, NDArray[np.float32]]:
    """Return inter features by cache folder, each computed once and kept beside the pixels.

    Args:
        model: with a frozen inter branch.
        videos: cached with an inter branch.
        backbone: the module behind `model.inter`; its weights are part of what is remembered.
        num_draws: guardian maps of each video; at least 2 with `flip`.
        flip: mirror the frames of odd draws.
        seed: decides the guardian maps.
        device: where `model` is.
        precision: of the backbone's arithmetic.

    Returns:
        (num_draws, num_segments, channels) float32 for each folder.

    Raises:
        ConfigurationError: `num_draws` leaves one of the two directions without any.
        OutputError: the cache cannot be written.
    """
    if num_draws < 1 + flip:
        raise ConfigurationError(f"num_feature_draws must be >= 2 where clips are flipped, got {num_draws}")
    state = backbone.state_dict()
    digest = hashlib.sha256(repr((num_draws, flip, seed, precision)).encode())
    for name in sorted(state):
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    name = f"features-{digest.hexdigest()[:16]}.npy"
    kept: dict[Path, NDArray[np.float32]] = {}
    for video in videos:
        path = video.folder / name
        if not path.exists():
            rng = step_rng("features", seed, int(video.content_sha256[:16], 16))
            draws = [
                _features(
                    model, video, rng, is_flipped=flip and draw % 2 == 1, device=device, precision=precision
                )
                for draw in range(num_draws)
            ]
            _save(path, np.stack(draws))
        kept[video.folder] = np.load(path)
    return kept


def cached_statistics(
    stem: Callable[[Tensor], Tensor],
    videos: Sequence[CachedVideo],
    *,
    num_draws: int,
    flip: bool,
    seed: int,
    device: torch.device,
) -> dict[Path, NDArray[np.float32]]:
    """Return the statistics of every cached clip by cache folder, each computed once and kept on disk.

    Args:
        stem: normalised fragments (n, 3, d, h, w) -> (n, s, d / 2, g, g).
        videos: cached.
        num_draws: guardian maps of each clip; at least 2 with `flip`.
        flip: mirror the fragments of odd draws.
        seed: decides the guardian maps.
        device: where to compute.

    Returns:
        (num_draws, cached draws, clips, s, d / 2, g, g) float32 for each folder, mapped.

    Raises:
        ConfigurationError: `num_draws` leaves one of the two directions without any.
        OutputError: the cache cannot be written.
    """
    if num_draws < 1 + flip:
        raise ConfigurationError(
            f"num_statistics_draws must be >= 2 where clips are flipped, got {num_draws}"
        )
    # What the stem makes of one picture stands for its code: statistics of another version are not taken up.
    side = videos[0].config.sampling.fragment_side
    probe = stem(torch.linspace(-2, 2, 2 * 3 * side * side).sin().view(1, 3, 2, side, side))
    digest = hashlib.sha256(repr((num_draws, flip, seed)).encode() + probe.numpy().tobytes())
    name = f"statistics-{digest.hexdigest()[:16]}.npy"
    kept: dict[Path, NDArray[np.float32]] = {}
    for video in videos:
        path = video.folder / name
        if not path.exists():
            rng = step_rng("statistics", seed, int(video.content_sha256[:16], 16))
            maps = [
                _statistics(stem, video, rng, is_flipped=flip and draw % 2 == 1, device=device)
                for draw in range(num_draws)
            ]
            _save(path, np.stack(maps))
        kept[video.folder] = np.load(path, mmap_mode="r")
    return kept


def _statistics(
    stem: Callable[[Tensor], Tensor],
    video: CachedVideo,
    rng: np.random.Generator,
    *,
    is_flipped: bool,
    device: torch.device,
) -> NDArray[np.float32]:
    fragments = _mirrored(video.fragments(), is_flipped)
    guarded = add_guardian_map(fragments, rng, amplitude=video.config.sampling.guardian_amplitude)
    with torch.no_grad():
        found = stem(normalise(torch.from_numpy(np.array(guarded)).flatten(0, 1).to(device)))
    return found.view(*fragments.shape[:2], *found.shape[1:]).cpu().numpy()


def _features(
    model: Any,
    video: CachedVideo,
    rng: np.random.Generator,
    *,
    is_flipped: bool,
    device: torch.device,
    precision: Precision,
) -> NDArray[np.float32]:
    frames, amplitude = video.frames(), video.config.sampling.guardian_amplitude
    features = []
    for segment in video.segments():
        guarded = add_guardian_map(_mirrored(frames[segment], is_flipped), rng, amplitude=amplitude)
        x = normalise(torch.from_numpy(guarded[None]).to(device))
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            features.append(model.inter(x.contiguous(memory_format=torch.channels_last_3d))[0].float().cpu())
    return torch.stack(features).numpy()


def _save(path: Path, array: NDArray[np.float32]) -> None:
    part = path.with_name(f".part-{path.name}")
    try:
        with part.open("wb") as file:
            np.save(file, array)
        part.rename(path)
    except OSError as error:
        raise OutputError(f"features {str(path)!r} cannot be written: {error.strerror}") from error
