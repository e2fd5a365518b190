"""Owns the arithmetic from sampled pixels to a score, a spread and a verdict."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.calibration import Calibration
from securevqa_core.doubts import doubts
from securevqa_core.errors import ScoreError
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import generator
from securevqa_core.suspicion import CleanDrops, Noticed
from securevqa_core.types import Precision, SamplingConfig, Thresholds

__all__ = [
    "Precision",
    "Score",
    "Thresholds",
    "Verdict",
    "VideoSegments",
    "ahead",
    "all_inter_features",
    "branch_outputs",
    "inter_features",
    "keep_freed_memory",
    "normalise",
    "raw_scores",
    "segment_features",
    "summarise",
    "verdict",
]

T = TypeVar("T")
Verdict = Literal["pass", "review", "reject"]

# Of both branches, on 0..255 RGB.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_SD = (58.395, 57.12, 57.375)

# Clips or segments that a GPU sees at once. A processor sees one at a time: its caches hold what a network
# makes of one, more of them take longer for each, and no bit of a score depends on what else is scored.
GPU_BATCH = 32
_END = object()
_KEPT_BYTES = 31 << 20

# Student's quantiles at 0.95, one-sided, by degrees of freedom from 1: what `scipy.special.stdtrit` returns,
# whose import takes a fifth of the time that a short video does.
LOWER_CONFIDENCE = 0.95  # one-sided
STUDENT_95 = (
    6.313751514675037,
    2.9199855803537242,
    2.3533634348018233,
    2.1318467863266495,
    2.0150483733330233,
    1.9431802805153042,
    1.8945786050900062,
    1.8595480375308973,
    1.833112932656237,
    1.8124611228116756,
    1.7958848187040433,
    1.782287555649319,
    1.7709333959868725,
    1.761310135774891,
    1.753050355692572,
)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Turn uint8 (n, t, h, w, 3) RGB into normalised float32 (n, 3, t, h, w)."""
    mean, sd = (
        torch.tensor(values, device=pixels.device).view(3, 1, 1, 1) for values in (PIXEL_MEAN, PIXEL_SD)
    )
    moved = pixels.permute(0, 4, 1, 2, 3).contiguous()  # as bytes: a quarter of what they are as numbers
    return moved.float().sub_(mean).div_(sd)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoSegments:
    """What the inter branch is given of one video."""

    frames: NDArray[np.uint8]  # (k, side, side, 3) RGB
    segments: NDArray[np.int64]  # (num_segments, segment_frames) indices into `frames`
    seeds: Sequence[bytes]  # one 32-byte guardian seed a draw


def all_inter_features(
    branch: Callable[[torch.Tensor], torch.Tensor],
    videos: Sequence[VideoSegments],
    *,
    sampling: SamplingConfig,
    device: torch.device,
    precision: Precision,
) -> list[NDArray[np.float32]]:
    """Run the inter branch on several videos, on a GPU in batches that hold segments of more than one.

    Other arguments are those of `inter_features`.

    Returns:
        For each video, in order, what `inter_features` returns.
    """
    clips = (
        clip
        for video in videos
        for seed in video.seeds
        for clip in _guarded(video.frames, video.segments, generator(seed), sampling.guardian_amplitude)
    )
    outputs = _outputs(branch, clips, device=device, precision=precision)
    made = []
    for video in videos:
        shape = (len(video.seeds), len(video.segments))
        features = torch.cat(list(itertools.islice(outputs, shape[0] * shape[1]))).cpu()
        made.append(features.view(*shape, *features.shape[1:]).numpy())
    return made


def inter_features(
    branch: Callable[[torch.Tensor], torch.Tensor],
    frames: NDArray[np.uint8],
    segments: NDArray[np.int64],
    seeds: list[bytes],
    *,
    sampling: SamplingConfig,
    device: torch.device,
    precision: Precision,
) -> NDArray[np.float32]:
    """Run the inter branch (Eqs. 9 and 10) with a fresh guardian map per draw, segment and frame.

    Args:
        branch: `model.inter` of a model in eval mode, or the first part of it.
        frames: (k, side, side, 3) uint8, RGB.
        segments: (num_segments, segment_frames) indices into `frames`.
        seeds: one 32-byte guardian seed a draw.
        sampling: its guardian amplitude.
        device: where `branch` is.
        precision: of the backbone's arithmetic.

    Returns:
        (draws, num_segments, ...) float32: what `branch` makes of each segment.
    """
    video = VideoSegments(frames=frames, segments=segments, seeds=seeds)
    (features,) = all_inter_features(branch, [video], sampling=sampling, device=device, precision=precision)
    return features


def segment_features(
    branch: Callable[[torch.Tensor], torch.Tensor],
    frames: NDArray[np.uint8],
    segments: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    amplitude: int,
    device: torch.device,
    precision: Precision,
) -> NDArray[np.float32]:
    """Return (num_segments, ...), what `branch` makes of each segment under a fresh guardian map.

    Args:
        branch: takes normalised pixels, in eval mode.
        frames: (k, side, side, 3) uint8, RGB.
        segments: (num_segments, segment_frames) indices into `frames`.
        rng: decides the guardian maps.
        amplitude: of the guardian map, 8-bit levels.
        device: where `branch` is.
        precision: of the branch's arithmetic.
    """
    clips = _guarded(frames, segments, rng, amplitude)
    return torch.cat(list(_outputs(branch, clips, device=device, precision=precision))).cpu().numpy()


def _guarded(
    frames: NDArray[np.uint8], segments: NDArray[np.int64], rng: np.random.Generator, amplitude: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield each segment (t, side, side, 3) under a guardian map of its own."""
    for segment in segments:  # as they are wanted: all of a video's draws would be large
        yield add_guardian_map(frames[segment], rng, amplitude=amplitude)


def raw_scores(
    model: Any,
    fragments: NDArray[np.uint8],
    features: NDArray[np.float32] | None,
    *,
    device: torch.device,
    precision: Precision,
) -> NDArray[np.float64]:
    """Run the intra branch and the head (Eqs. 6 and 11-15) on every clip of every draw.

    Args:
        model: of the zoo, in eval mode.
        fragments: (draws, clips, d, h, w, 3) uint8, RGB, guardian map added.
        features: (draws, num_segments, channels) float32, or None for a model without inter branch.
        device: where `model` is.
        precision: of the backbone's arithmetic.

    Returns:
        (draws, clips) float64: the mean over temporal positions, on the model's own scale.

    Raises:
        ScoreError: score_not_finite.
    """
    scores = np.empty(fragments.shape[:2])
    outputs = branch_outputs(model, fragments, features, device=device, precision=precision)
    for place, (intra, inter) in zip(np.ndindex(*scores.shape), outputs, strict=True):
        with torch.inference_mode():
            scores[place] = model.head(intra, inter).double().mean().item()
    if not np.isfinite(scores).all():
        raise ScoreError("score_not_finite", f"raw scores must be finite, got {scores.ravel().tolist()}")
    return scores


def branch_outputs(
    model: Any,
    fragments: NDArray[np.uint8],
    features: NDArray[np.float32] | None,
    *,
    device: torch.device,
    precision: Precision,
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Yield what the head is given of every clip, draw after draw: the arguments are those of `raw_scores`.

    Yields:
        The intra map (1, channels, t, h, w) and (1, num_segments, channels), None without inter branch.
    """
    places = list(np.ndindex(*fragments.shape[:2]))
    clips = (fragments[place] for place in places)
    outputs = _outputs(model.intra, clips, device=device, precision=precision)
    for (draw, _), intra in zip(places, outputs, strict=True):
        inter = None if features is None else torch.from_numpy(features[draw].copy())[None].to(device)
        yield intra, inter


def _outputs(
    branch: Any,
    clips: Iterable[NDArray[np.uint8]],
    *,
    device: torch.device,
    precision: Precision,
    batch_size: int | None = None,
) -> Iterator[torch.Tensor]:
    """Yield (1, ...) float32, what a branch makes of each clip (t, h, w, 3) uint8, in order.

        clips --stack, pin--> batch --while the last one is in the network--> device --> one output a clip

    `batch_size` is `GPU_BATCH`, or on a processor 1.
    """
    keep_freed_memory()
    size = batch_size or (1 if device.type == "cpu" else GPU_BATCH)
    is_half = precision == "bfloat16"
    batches = _batches(clips, size, is_pinned=device.type == "cuda")
    for batch in ahead(batches) if size > 1 else batches:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            output: torch.Tensor = branch(normalise(batch.to(device, non_blocking=True)))
        yield from torch.split(output.float(), 1)


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep what tensors free, up to twice `_KEPT_BYTES`, for those that come next.

    glibc gives memory back beyond twice the largest block that was freed, of at most 32 MB: this is one, of
    untouched pages. Once is enough for a process, and elsewhere it does nothing.
    """
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)


def _batches(clips: Iterable[NDArray[np.uint8]], size: int, *, is_pinned: bool) -> Iterator[torch.Tensor]:
    """Yield (up to size, t, h, w, 3), in memory that a GPU fetches from by itself if it is pinned."""
    remaining = iter(clips)
    while batch := list(itertools.islice(remaining, size)):
        stacked = torch.from_numpy(np.stack(batch))
        yield stacked.pin_memory() if is_pinned else stacked


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield items, each made by a thread while whoever took the one before works on it."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, iterator, _END)
            yield cast(T, item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of one video, on the calibrated range unless said otherwise."""

    score: float  # mean over draws
    score_sd: float | None  # standard deviation over draws; None for one draw
    score_lower: float  # one-sided 95% lower confidence bound of the mean; `score` itself for one draw
    raw_score: float  # mean over draws and clips, before calibration
    clip_scores: list[float]  # draw after draw, clip after clip

    def at_most(self, cap: float) -> Score:
        """Return it with a score of no more than `cap`, 0..100; the distance of its lower bound stays."""
        excess = max(0.0, self.score - cap)
        lower = min(self.score_lower, max(0.0, self.score_lower - excess))
        return replace(self, score=self.score - excess, score_lower=lower)

    def compared(self, rendition: Score, clean: CleanDrops, *, caps: bool) -> tuple[Score, Noticed]:
        """Return it, held by its rendition where `caps`, and what the rendition tells of it."""
        noticed = clean.judged(self.score, rendition.score, caps=caps)
        return self.at_most(clean.cap(rendition.score)) if caps else self, noticed


def summarise(raw: NDArray[np.float64], calibration: Calibration) -> Score:
    """Calibrate and pool raw scores.

    Args:
        raw: (draws, clips), finite.
        calibration: raw score -> declared range.

    Returns:
        The score; its lower bound is Student's, never below the declared range.
    """
    draws = np.asarray(calibration.to_score(raw.mean(axis=1)))
    mean, num_draws = float(draws.mean()), len(draws)
    sd = float(draws.std(ddof=1)) if num_draws > 1 else None
    lower = mean
    if sd is not None:
        margin = _student_95(num_draws - 1) * sd / num_draws**0.5
        lower = max(calibration.low, mean - margin)
    clips = np.asarray(calibration.to_score(raw.ravel()))
    return Score(
        score=mean,
        score_sd=sd,
        score_lower=lower,
        raw_score=float(raw.mean()),
        clip_scores=clips.tolist(),
    )


def _student_95(degrees: int) -> float:
    if degrees <= len(STUDENT_95):
        return STUDENT_95[degrees - 1]
    from scipy.special import stdtrit  # noqa: PLC0415 - as above

    return float(stdtrit(degrees, LOWER_CONFIDENCE))


def verdict(
    score_lower: float | None,
    *,
    checkpoint_status: str,
    thresholds: Thresholds,
    warnings: Iterable[str] | None = None,
) -> Verdict:
    """Judge a video by its lower bound.

    What was not scored by a trained model is always for review, and so is a picture of which there is doubt.
    """
    if score_lower is None or checkpoint_status == "untrained" or doubts(warnings):
        return "review"
    if score_lower >= thresholds.pass_at:
        return "pass"
    return "reject" if score_lower < thresholds.reject_below else "review"
