"""Owns what an attack did: change of scores, verdicts flipped, distortion spent, R of Eq. 16."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from securevqa_core.bootstrap import Estimate, Resamples, Rows, estimate
from securevqa_core.errors import UndefinedError
from securevqa_core.scoring import Thresholds

__all__ = ["Distortion", "ScoreChange", "distortion", "robustness", "score_change", "ssim"]

_PEAK = 255.0
_LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, of R, G, B
# Wang et al. (2004): the standard deviation of the window in pixels, its reach, and K1 and K2.
_WINDOW_SD, _WINDOW_REACH, _K1, _K2 = 1.5, 5, 0.01, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """How far a perturbed video is from the original, over all frames."""

    l2: float  # root mean square over all values, 8-bit levels
    linf: float  # largest change of a value, 8-bit levels
    psnr: float | None  # dB, of all values; None where nothing changed
    ssim: float  # mean over frames, of luma


def distortion(clean: NDArray[np.uint8], attacked: NDArray[np.uint8]) -> Distortion:
    """Compare two videos (t, h, w, 3), uint8, sides >= 11.

    Raises:
        UndefinedError: their shapes differ: a frame is left out, say.
    """
    if clean.shape != attacked.shape:
        raise UndefinedError(f"distortion is of videos of one shape, got {clean.shape} and {attacked.shape}")
    change = attacked.astype(np.float64) - clean
    square = float((change**2).mean())
    return Distortion(
        l2=square**0.5,
        linf=float(np.abs(change).max()),
        psnr=10 * math.log10(_PEAK**2 / square) if square else None,
        ssim=float(np.mean([ssim(*pair) for pair in zip(clean, attacked, strict=True)])),
    )


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the structural similarity of the luma of two pictures (h, w, 3), Wang et al. (2004).

    Over windows that lie inside the picture; no downsampling first.
    """
    x, y = a @ _LUMA, b @ _LUMA
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x, var_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    both = _windowed(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * _PEAK) ** 2, (_K2 * _PEAK) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def robustness(
    clean: ArrayLike,
    attacked: ArrayLike,
    targets: ArrayLike,
    *,
    log: Callable[[float], float] = math.log,
) -> float:
    """Return R of Eq. 16: mean log of the change that was wanted by the change that was had.

    Args:
        clean: scores before.
        attacked: scores after.
        targets: what the attacker wanted each score to be.
        log: `math.log`, as Eq. 16 prints it, or `math.log10`.

    Raises:
        UndefinedError: no scores, a score that did not change, or a target that is the score.
    """
    rows = [np.asarray(one, dtype=np.float64).ravel() for one in (clean, attacked, targets)]
    before, after, wanted = np.broadcast_arrays(*rows)
    if not len(before):
        raise UndefinedError("R needs at least 1 score, got 0")
    for name, other in (("changed", after), ("targeted", wanted)):
        (same,) = np.nonzero(before == other)
        if len(same):
            raise UndefinedError(f"R is undefined: score {before[same[0]]:g} of row {same[0]} is not {name}")
    return float(np.mean([log(one) for one in np.abs(before - wanted) / np.abs(before - after)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """What an attack, or chance alone, did to the scores of several videos, each with its interval."""

    num_videos: int
    signed: Estimate  # mean change, points of 100
    absolute: Estimate  # mean size of the change
    inflation: Estimate  # mean of what scores rose by, 0 for those that fell
    deflation: Estimate  # mean of what scores fell by, 0 for those that rose
    flipped: Estimate  # share whose verdict is another one
    flipped_to_pass: Estimate  # share of those that did not pass before which pass after
    rejected_to_pass: Estimate  # share of those that were rejected before which pass after
    r: Estimate  # R of Eq. 16, natural logarithm
    r_log10: Estimate  # the same, logarithm to base 10


def score_change(
    clean: ArrayLike,
    changed: ArrayLike,
    *,
    target: ArrayLike,
    resamples: Resamples,
    thresholds: Thresholds | None = None,
) -> ScoreChange:
    """Compare the scores (n,) of n videos before and after, points of 100.

    Args:
        clean: before.
        changed: after an attack; or a second clean scoring with other draws, for the noise floor.
        target: what the attacker wants scores to be: 100 to inflate, 0 to deflate, or one of each video.
        resamples: of n rows.
        thresholds: where verdicts change; of the score, not of its lower bound.
    """
    before, after = (np.asarray(one, dtype=np.float64) for one in (clean, changed))
    wanted = np.broadcast_to(np.asarray(target, dtype=np.float64), before.shape)
    change, limits = after - before, thresholds or Thresholds()
    edges = (limits.reject_below, limits.pass_at)
    verdicts = np.digitize(before, edges), np.digitize(after, edges)

    def mean_of(values: NDArray[np.float64]) -> Estimate:
        return estimate(lambda rows: float(values[rows].mean()), resamples)

    def passing(below: float) -> Estimate:
        def share(rows: Rows) -> float:
            failed = rows[before[rows] < below]
            if not len(failed):
                raise UndefinedError(f"a share of flips needs a score below {below:g}, got none")
            return float((after[failed] >= limits.pass_at).mean())

        return estimate(share, resamples)

    def r_in(log: Callable[[float], float]) -> Estimate:
        return estimate(lambda rows: robustness(before[rows], after[rows], wanted[rows], log=log), resamples)

    return ScoreChange(
        num_videos=len(before),
        signed=mean_of(change),
        absolute=mean_of(np.abs(change)),
        inflation=mean_of(change.clip(min=0)),
        deflation=mean_of((-change).clip(min=0)),
        flipped=mean_of((verdicts[0] != verdicts[1]).astype(np.float64)),
        flipped_to_pass=passing(limits.pass_at),
        rejected_to_pass=passing(limits.reject_below),
        r=r_in(math.log),
        r_log10=r_in(math.log10),
    )


def _windowed(y: NDArray[np.float64]) -> NDArray[np.float64]:
    weighted = ndimage.gaussian_filter(y, _WINDOW_SD, radius=_WINDOW_REACH)
    inside: NDArray[np.float64] = weighted[_WINDOW_REACH:-_WINDOW_REACH, _WINDOW_REACH:-_WINDOW_REACH]
    return inside
