"""Owns the arithmetic from sampled pixels to a score, a spread and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.calibration import Calibration
from securevqa_core.doubts import doubts
from securevqa_core.errors import ScoreError
from securevqa_core.guardian import add_guardian_map
from securevqa_core.randomness import generator
from securevqa_core.types import SamplingConfig, require_range

__all__ = [
    "Precision",
    "Score",
    "Thresholds",
    "Verdict",
    "branch_outputs",
    "inter_features",
    "normalise",
    "raw_scores",
    "segment_features",
    "summarise",
    "verdict",
]

Precision = Literal["float32", "bfloat16"]
Verdict = Literal["pass", "review", "reject"]

# Of both branches, on 0..255 RGB.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_SD = (58.395, 57.12, 57.375)

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
    mean = torch.tensor(PIXEL_MEAN, device=pixels.device)
    sd = torch.tensor(PIXEL_SD, device=pixels.device)
    return ((pixels.float() - mean) / sd).permute(0, 4, 1, 2, 3).contiguous()


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
    features = [
        segment_features(
            branch,
            frames,
            segments,
            generator(seed),
            amplitude=sampling.guardian_amplitude,
            device=device,
            precision=precision,
        )
        for seed in seeds
    ]
    return np.stack(features)


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
    features = []
    for segment in segments:  # one at a time: a segment is 5 MB here and 200 MB inside the backbone
        guarded = add_guardian_map(frames[segment], rng, amplitude=amplitude)
        features.append(_forward(branch, guarded[None], device=device, precision=precision)[0])
    return torch.stack(features).cpu().numpy()


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
    for draw, clip in np.ndindex(*fragments.shape[:2]):
        intra = _forward(model.intra, fragments[draw, clip][None], device=device, precision=precision)
        inter = None if features is None else torch.from_numpy(features[draw].copy())[None].to(device)
        yield intra, inter


def _forward(
    branch: Any, pixels: NDArray[np.uint8], *, device: torch.device, precision: Precision
) -> torch.Tensor:
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output: torch.Tensor = branch(normalise(torch.from_numpy(np.array(pixels)).to(device)))
    return output.float()


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of one video, on the calibrated range unless said otherwise."""

    score: float  # mean over draws
    score_sd: float | None  # standard deviation over draws; None for one draw
    score_lower: float  # one-sided 95% lower confidence bound of the mean; `score` itself for one draw
    raw_score: float  # mean over draws and clips, before calibration
    clip_scores: list[float]  # draw after draw, clip after clip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where verdicts change, on the calibrated range; compared with `score_lower`.

    Raises:
        ConfigurationError: out of 0..100, or reject_below above pass_at.
    """

    pass_at: float = 60.0  # pass from here up
    reject_below: float = 40.0  # reject below here

    def __post_init__(self) -> None:
        require_range("pass_at", self.pass_at, low=0, high=100)
        require_range("reject_below", self.reject_below, low=0, high=self.pass_at)


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
