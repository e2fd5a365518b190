"""Owns what training computes once of a video and keeps beside its pixels: statistics, frozen features."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError
from securevqa_core.guardian import add_guardian_map
from securevqa_core.scoring import Precision, normalise, segment_features
from securevqa_core.training.cache import CachedVideo, save_array
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.data import BatchMaker, Differences, mirrored, step_rng
from securevqa_core.training.steps import Workers

__all__ = [
    "Stem",
    "batch_maker",
    "cached_features",
    "cached_motion",
    "cached_statistics",
    "inter_backbone",
    "statistics_stem",
]

_INTER_BACKBONES = ("inter_backbone", "aesthetic_backbone")

Stem = Callable[[Tensor], Tensor]  # normalised pixels -> what the trained part of a backbone sees


class Kept(Mapping[Path, NDArray[np.float32]]):
    """An array in each of many cache folders, mapped when asked for: a map that is held holds a file open."""

    def __init__(self, name: str, folders: Iterable[Path]) -> None:
        self._name, self._folders = name, dict.fromkeys(folders)

    def __getitem__(self, folder: Path) -> NDArray[np.float32]:
        if folder not in self._folders:
            raise KeyError(folder)
        array: NDArray[np.float32] = np.load(folder / self._name, mmap_mode="r")
        return array

    def __iter__(self) -> Iterator[Path]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def inter_backbone(model: Any) -> nn.Module | None:
    """Return the module behind `model.inter`, None for a model without inter branch."""
    if hasattr(model, "inter_branch"):  # of several modules
        return cast(nn.Module, model.inter_branch)
    backbones = (getattr(model, name, None) for name in _INTER_BACKBONES)
    return next((module for module in backbones if module is not None), None)


def statistics_stem(backbone: Any) -> Stem | None:
    """Return what turns normalised pixels into statistics, None for a backbone that sees the pixels."""
    return cast(Stem, backbone.statistics) if getattr(backbone, "has_statistics", False) else None


def batch_maker(
    model: Any,
    videos: Sequence[CachedVideo],
    config: TrainConfig,
    *,
    device: torch.device,
    workers: Workers,
) -> BatchMaker:
    """Return what cuts batches out of `videos`, once all that can be computed beforehand is.

    Raises:
        ConfigurationError: the settings do not fit the videos.
        OutputError: the cache cannot be written.
    """
    sampling, backbone = videos[0].config.sampling, inter_backbone(model)
    num_segments = 0 if backbone is None else config.train_segments or sampling.num_segments
    if num_segments > sampling.num_segments:
        raise ConfigurationError(
            f"train_segments must be <= num_segments={sampling.num_segments}, got {num_segments}"
        )
    settings: dict[str, Any] = {"flip": config.flip, "seed": config.seed, "device": device}

    def shared(compute: Callable[..., Kept], part: Any, **options: Any) -> Kept:
        """Return what `compute` makes of all videos, each worker having done its share."""
        of = functools.partial(compute, part, **settings, **options)
        workers.gather(len(of(videos[workers.rank :: workers.size])))
        return of(videos)

    features = statistics = None
    if backbone is not None and config.inter == "cached":
        # Without a guardian map nothing but the direction tells one draw from another.
        most = config.num_feature_draws if sampling.guardian_amplitude else 1 + config.flip
        options = {"num_draws": min(config.num_feature_draws, most), "precision": config.precision}
        features = shared(cached_features, backbone, **options)
    if config.num_statistics_draws:
        stem, motion = (
            statistics_stem(part) for part in (getattr(model, "fragments_backbone", None), backbone)
        )
        if stem is not None:
            statistics = shared(cached_statistics, stem, num_draws=config.num_statistics_draws)
        if motion is not None and config.inter == "trained":
            features = shared(cached_motion, motion, num_draws=config.num_statistics_draws)
    return BatchMaker(
        flip=config.flip,
        num_segments=num_segments,
        features=features,
        statistics=statistics,
        differences=Differences.of(videos) if config.difference_weight else None,
    )


def cached_features(
    backbone: nn.Module,
    videos: Sequence[CachedVideo],
    *,
    num_draws: int,
    flip: bool,
    seed: int,
    device: torch.device,
    precision: Precision,
) -> Kept:
    """Return the features of a frozen inter branch by cache folder.

    Args:
        backbone: on `device`; its weights are part of what is remembered.
        videos: cached with an inter branch.
        num_draws: guardian maps of each video; at least 2 with `flip`.
        flip: mirror the frames of odd draws.
        seed: decides the guardian maps.
        device: where to compute.
        precision: of the backbone's arithmetic.

    Returns:
        (num_draws, num_segments, channels) float32 for each folder, mapped.

    Raises:
        ConfigurationError: `num_draws` leaves one of the two directions without any.
        OutputError: the cache cannot be written.
    """
    _require_draws("num_feature_draws", num_draws, flip=flip)
    state = backbone.state_dict()
    amplitude = videos[0].config.sampling.guardian_amplitude
    digest = hashlib.sha256(repr((num_draws, flip, seed, precision, amplitude)).encode())
    digest.update(getattr(backbone, "kind", "").encode())
    for name in sorted(state):
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())

    def of_segment(x: Tensor) -> Tensor:
        features: Tensor = backbone(x.contiguous(memory_format=torch.channels_last_3d))
        return features

    def compute(video: CachedVideo) -> NDArray[np.float32]:
        rng = step_rng("features", seed, int(video.content_sha256[:16], 16))
        return _of_segments(
            of_segment, video, rng, num_draws=num_draws, flip=flip, device=device, precision=precision
        )

    return _kept(f"features-{digest.hexdigest()[:16]}.npy", videos, compute)


def cached_motion(
    stem: Stem,
    videos: Sequence[CachedVideo],
    *,
    num_draws: int,
    flip: bool,
    seed: int,
    device: torch.device,
) -> Kept:
    """Return the statistics of every segment by cache folder.

    Args:
        stem: normalised segments (n, 3, t, h, w) -> (n, s, t).
        videos: cached with an inter branch.
        num_draws: guardian maps of each video; at least 2 with `flip`.
        flip: mirror the frames of odd draws.
        seed: decides the guardian maps.
        device: where to compute.

    Returns:
        (num_draws, num_segments, s, t) float32 for each folder, mapped.

    Raises:
        ConfigurationError: `num_draws` leaves one of the two directions without any.
        OutputError: the cache cannot be written.
    """
    _require_draws("num_statistics_draws", num_draws, flip=flip)
    sampling = videos[0].config.sampling
    probe = _probe(stem, (1, 3, sampling.segment_frames, sampling.segment_side, sampling.segment_side))
    digest = hashlib.sha256(repr((num_draws, flip, seed, sampling.guardian_amplitude)).encode() + probe)

    def compute(video: CachedVideo) -> NDArray[np.float32]:
        rng = step_rng("motion", seed, int(video.content_sha256[:16], 16))
        return _of_segments(
            stem, video, rng, num_draws=num_draws, flip=flip, device=device, precision="float32"
        )

    return _kept(f"motion-{digest.hexdigest()[:16]}.npy", videos, compute)


def cached_statistics(
    stem: Stem,
    videos: Sequence[CachedVideo],
    *,
    num_draws: int,
    flip: bool,
    seed: int,
    device: torch.device,
) -> Kept:
    """Return the statistics of every cached clip by cache folder.

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
    _require_draws("num_statistics_draws", num_draws, flip=flip)
    sampling = videos[0].config.sampling
    side, amplitude = sampling.fragment_side, sampling.guardian_amplitude
    probe = _probe(stem, (1, 3, 2, side, side))
    digest = hashlib.sha256(repr((num_draws, flip, seed, amplitude)).encode() + probe)

    def compute(video: CachedVideo) -> NDArray[np.float32]:
        rng = step_rng("statistics", seed, int(video.content_sha256[:16], 16))
        of_draws = []
        for draw in range(num_draws):
            fragments = mirrored(video.fragments(), flip and draw % 2 == 1)
            guarded = np.array(add_guardian_map(fragments, rng, amplitude=amplitude))
            with torch.no_grad():
                one = stem(normalise(torch.from_numpy(guarded).flatten(0, 1).to(device)))
            of_draws.append(one.view(*fragments.shape[:2], *one.shape[1:]).cpu().numpy())
        return np.stack(of_draws)

    return _kept(f"statistics-{digest.hexdigest()[:16]}.npy", videos, compute)


def _require_draws(name: str, num_draws: int, *, flip: bool) -> None:
    if num_draws < 1 + flip:
        raise ConfigurationError(f"{name} must be >= 2 where clips are flipped, got {num_draws}")


def _probe(stem: Stem, shape: tuple[int, ...]) -> bytes:
    """Return what the stem makes of one picture: it stands for its code, so that none of another is used."""
    size = int(np.prod(shape))
    with torch.no_grad():
        return stem(torch.linspace(-2, 2, size).sin().view(shape)).numpy().tobytes()


def _of_segments(
    branch: Stem,
    video: CachedVideo,
    rng: np.random.Generator,
    *,
    num_draws: int,
    flip: bool,
    device: torch.device,
    precision: Precision,
) -> NDArray[np.float32]:
    """Return (num_draws, num_segments, ...), what `branch` makes of each segment under each guardian map."""
    amplitude, segments = video.config.sampling.guardian_amplitude, video.segments()
    draws = [
        segment_features(
            branch,
            mirrored(video.frames(), flip and draw % 2 == 1),
            segments,
            rng,
            amplitude=amplitude,
            device=device,
            precision=precision,
        )
        for draw in range(num_draws)
    ]
    return np.stack(draws)


def _kept(
    name: str, videos: Sequence[CachedVideo], compute: Callable[[CachedVideo], NDArray[np.float32]]
) -> Kept:
    """Return the array `name` of every cache folder, computed where it is not there yet."""
    for video in videos:
        path = video.folder / name
        if not path.exists():
            save_array(path, compute(video))
    return Kept(name, (video.folder for video in videos))
