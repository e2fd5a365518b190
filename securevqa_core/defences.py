"""Owns defences as plug-ins: each changes one thing about how any model of the zoo looks at frames.

`defended(model, sampling, ["guardian=2", "jpeg=75", "median"])` is what an attacker of that model meets.
They are applied in the order given. Where a defence has no gradient, an attacker's passes straight through,
so that no row of a table is strong because a gradient was missing.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import ArrayLike
from scipy import special
from torch import Tensor, nn

from securevqa_core.attacks.codecs import Frames, through_h264, through_jpeg, through_rendition
from securevqa_core.attacks.differentiable import Cap, FrameScorer, Pooling, Transform
from securevqa_core.attacks.names import DEFENCES
from securevqa_core.errors import ConfigurationError
from securevqa_core.models.motion_pathway import MotionPathway
from securevqa_core.randomness import VideoDraw, generator
from securevqa_core.rendition import Rendition
from securevqa_core.suspicion import clean_drops
from securevqa_core.types import SamplingConfig, require_range
from securevqa_core.weights import Checkpoint

__all__ = ["DEFENCES", "certified_range", "defended", "noise_sd"]

_MAX_SPLICED = 32  # patches a side
_MAX_CELL = 64  # pixels a side
_KNOTS = 1024  # of a cap as a function of raw scores
_FLAT = 0.001  # share of a scale's ends where it hardly rises, and that no knot is in
_STEPS = 4096  # of the integral over the clean sample; each adds 1/4096 to a risk at most


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setup:
    model: nn.Module
    sampling: SamplingConfig
    transforms: tuple[Transform, ...] = ()
    samples_alike: bool = False
    motion: Tensor | None = None
    pooling: Pooling = "mean"
    cell_side: int = 1
    cap: Cap | None = None
    checkpoint: Checkpoint | None = None

    def after(self, apply: Callable[[Tensor, VideoDraw], Tensor], *, is_random: bool = False) -> _Setup:
        """Return the set-up with one more transform."""
        return replace(self, transforms=(*self.transforms, Transform(apply=apply, is_random=is_random)))


def defended(
    model: nn.Module,
    sampling: SamplingConfig,
    defences: Sequence[str],
    *,
    checkpoint: Checkpoint | None = None,
) -> FrameScorer:
    """Return a model behind defences.

    Args:
        model: of the zoo, in eval mode.
        sampling: how it samples without them.
        defences: `name=value` of `DEFENCES`, or `name` where there is no value.
        checkpoint: the model's, whose scale and clean videos `cap` needs.

    Raises:
        ConfigurationError: no such defence, a value out of range, or a model that it does not suit.
        CheckpointError: what the checkpoint knows of clean videos is not valid.
    """
    setup = _Setup(model=model, sampling=sampling, checkpoint=checkpoint)
    for text in defences:
        name, _, value = text.partition("=")
        if name not in _PLUG_INS or (not value) != (name == "median"):
            known = ", ".join(one if one == "median" else f"{one}=VALUE" for one in DEFENCES)
            raise ConfigurationError(f"defence must be one of {known}, got {text!r}")
        setup = _PLUG_INS[name](setup, value)
    return FrameScorer(
        setup.model,
        setup.sampling,
        transforms=setup.transforms,
        samples_alike=setup.samples_alike,
        motion=setup.motion,
        pooling=setup.pooling,
        cell_side=setup.cell_side,
        cap=setup.cap,
    )


def noise_sd(defences: Sequence[str]) -> float | None:
    """Return the standard deviation of the noise before a median, None where that is not the defence.

    Only where noise comes first does a certificate hold: what follows is then a function of noisy frames.
    """
    if len(defences) < 2 or not defences[0].startswith("noise=") or "median" not in defences:
        return None
    return float(defences[0].partition("=")[2])


def certified_range(
    scores: ArrayLike, *, noise_sd: float, radius_l2: float, num_scorings: int = 1, confidence: float = 0.95
) -> tuple[float | None, float | None]:
    """Return between what the median of as many fresh draws stays under any perturbation.

    Median smoothing (Chiang et al., 2020) bounds the median of all draws there are. A score is the median of
    a few, which scatters around that one; this bounds the few, over both samples, the clean one and theirs.

    Args:
        scores: one a draw of Gaussian noise on the clean video.
        noise_sd: its standard deviation on every value.
        radius_l2: the perturbation's L2 norm over all values of the video, not its root mean square.
        num_scorings: medians that have to stay in the range, all of them: an attacker who may keep the best
            of several files makes as many.
        confidence: of each end of the range.

    Returns:
        Low and high; None where so few draws certify nothing.

    Raises:
        ConfigurationError: no scores, or another argument is out of range.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    count = len(ordered)
    require_range("number of scores", count, low=1, high=1_000_000)
    require_range("noise_sd", noise_sd, low=1e-6, high=1e6)
    require_range("radius_l2", radius_l2, low=0, high=1e12)
    require_range("num_scorings", num_scorings, low=1, high=1_000_000_000)
    require_range("confidence", confidence, low=0.5, high=1 - 1e-9)

    def risk(rank: int) -> float:
        """Of a median below the `rank`-th smallest score: at least half of its draws are.

        The share of clean draws below that score is Beta(rank, count - rank + 1); a perturbation moves its
        normal quantile by radius / sd at most (Neyman-Pearson). Right ends of the steps: never too small.
        """
        share = special.betaincinv(rank, count - rank + 1, np.arange(1, _STEPS + 1) / _STEPS)
        moved = special.ndtr(special.ndtri(share) + radius_l2 / noise_sd)
        stays = special.bdtr((count + 1) // 2 - 1, count, moved)
        return float(-np.expm1(num_scorings * np.log(np.maximum(stays, 1e-300))).mean())

    num_sure = bisect.bisect_right(range(1, count + 1), 1 - confidence, key=risk)
    return (float(ordered[num_sure - 1]), float(ordered[-num_sure])) if num_sure else (None, None)


def _grid(setup: _Setup, value: str) -> _Setup:
    if value not in {"random", "fixed"}:
        raise ConfigurationError(f"grid must be random or fixed, got {value!r}")
    return replace(setup, samples_alike=value == "fixed")


def _splice(setup: _Setup, value: str) -> _Setup:
    """Spatial grid sampling in front of a model that has none, as in the paper's Tables V and VI."""
    size = int(_number("splice", value, low=1, high=_MAX_SPLICED, whole=True))

    def apply(frames: Tensor, draw: VideoDraw) -> Tensor:
        clip = SamplingConfig(
            num_clips=1,
            clip_frames=len(frames),
            frame_interval=1,
            grid_size=size,
            num_segments=0,
            guardian_amplitude=0,
        )
        return FrameScorer(nn.Identity().eval(), clip).fragments(frames, draw)[0]

    return setup.after(apply, is_random=True)


def _guardian(setup: _Setup, value: str) -> _Setup:
    amplitude = int(_number("guardian", value, high=127, whole=True))
    return replace(setup, sampling=replace(setup.sampling, guardian_amplitude=amplitude))


def _cells(setup: _Setup, value: str) -> _Setup:
    return replace(setup, cell_side=int(_number("cells", value, low=1, high=_MAX_CELL, whole=True)))


def _temporal(setup: _Setup, value: str) -> _Setup:
    if value not in {"on", "off"}:
        raise ConfigurationError(f"temporal must be on or off, got {value!r}")
    return replace(setup, motion=_average_motion(setup) if value == "off" else None)


def _average_motion(setup: _Setup) -> Tensor:
    branch = getattr(setup.model, "inter_backbone", None)
    if not isinstance(branch, MotionPathway):
        raise ConfigurationError(
            f"temporal=off needs an inter branch with statistics of motion, got {type(branch).__name__}"
        )
    mean = branch.standardise.running_mean
    assert mean is not None
    with torch.no_grad():
        return branch.from_statistics(mean[None, :, None].expand(-1, -1, setup.sampling.segment_frames))[0]


def _resize(setup: _Setup, value: str) -> _Setup:
    factor = _number("resize", value, low=1, high=16)

    def apply(frames: Tensor, _draw: VideoDraw) -> Tensor:
        planes = frames.permute(0, 3, 1, 2)
        height, width = planes.shape[2:]
        small = (max(1, round(height / factor)), max(1, round(width / factor)))
        for size in (small, (height, width)):
            planes = F.interpolate(planes, size, mode="bilinear", antialias=True)
        return _straight(planes.permute(0, 2, 3, 1), lambda pixels: pixels)

    return setup.after(apply)


def _jpeg(setup: _Setup, value: str) -> _Setup:
    quality = int(_number("jpeg", value, low=1, high=100, whole=True))
    return setup.after(
        lambda frames, _draw: _straight(frames, lambda one: through_jpeg(one, quality=quality))
    )


def _h264(setup: _Setup, value: str) -> _Setup:
    crf = int(_number("h264", value, high=51, whole=True))
    return setup.after(lambda frames, _draw: _straight(frames, lambda one: through_h264(one, crf=crf)))


def _delivered(setup: _Setup, value: str) -> _Setup:
    rendition = Rendition.parse(value)
    return setup.after(lambda frames, _draw: _straight(frames, lambda one: through_rendition(one, rendition)))


def _cap(setup: _Setup, value: str) -> _Setup:
    """What `score --cap` does, as a function of raw scores that gradients pass through."""
    rendition, checkpoint = Rendition.parse(value, name="cap"), setup.checkpoint
    if checkpoint is None:
        raise ConfigurationError("cap needs a checkpoint that was fitted to clean videos, got none")
    clean = clean_drops(checkpoint.card, rendition, num_draws=None, name=checkpoint.checkpoint_id, use="cap")
    scale = checkpoint.calibration
    margin = _FLAT * (scale.high - scale.low)
    raws = np.linspace(scale.to_raw(scale.low + margin), scale.to_raw(scale.high - margin), _KNOTS)
    scores = np.asarray(scale.to_score(raws))
    table = torch.from_numpy(np.interp([clean.cap(one) for one in scores], scores, raws)).float()

    def highest(raw: Tensor) -> Tensor:
        place = ((raw - raws[0]) * ((_KNOTS - 1) / (raws[-1] - raws[0]))).clamp(0, _KNOTS - 1)
        below = place.detach().floor().clamp_max(_KNOTS - 2)
        knots = table.to(raw.device)
        return torch.lerp(knots[below.long()], knots[below.long() + 1], place - below)

    def encode(frames: Tensor) -> Tensor:
        return _straight(frames, lambda one: through_rendition(one, rendition))

    return replace(setup, cap=Cap(encode=encode, highest=highest))


def _noise(setup: _Setup, value: str) -> _Setup:
    sd = _number("noise", value, high=255)

    def apply(frames: Tensor, draw: VideoDraw) -> Tensor:
        seed = hashlib.sha256(b"noise" + draw.guardian_intra).digest()
        noise = sd * generator(seed).standard_normal(tuple(frames.shape), dtype=np.float32)
        return _straight(frames + torch.from_numpy(noise).to(frames.device), lambda pixels: pixels)

    return setup.after(apply, is_random=True)


def _median(setup: _Setup, _value: str) -> _Setup:
    return replace(setup, pooling="median")


def _straight(frames: Tensor, change: Callable[[Frames], Frames]) -> Tensor:
    """Return what becomes of frames as whole levels; the gradient is that of the identity."""
    whole = frames.detach().round().clamp(0, 255)
    changed = torch.from_numpy(change(whole.to(torch.uint8).cpu().numpy())).to(frames)
    return frames + (changed - frames.detach())


def _number(name: str, value: str, *, low: float = 0, high: float, whole: bool = False) -> float:
    try:
        number = int(value) if whole else float(value)
    except ValueError as error:
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{name} must be {kind}, got {value!r}") from error
    require_range(name, number, low=low, high=high)
    return number


_PLUG_INS: dict[str, Callable[[_Setup, str], _Setup]] = {
    "grid": _grid,
    "splice": _splice,
    "guardian": _guardian,
    "cells": _cells,
    "temporal": _temporal,
    "resize": _resize,
    "jpeg": _jpeg,
    "h264": _h264,
    "delivered": _delivered,
    "cap": _cap,
    "noise": _noise,
    "median": _median,
}
