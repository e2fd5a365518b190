"""Owns the measurement of a model's forward pass on a device: videos a second, share of its peak, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.scoring import Precision, keep_freed_memory, normalise

__all__ = ["Forward", "forwards", "peak_flops"]

_SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices whose product is the peak
_LEAST_SECONDS = 0.2  # that the peak is measured for
_CLEAR_PEAK = "5"  # what the kernel takes to forget how much memory a process held at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One model in one precision, so many clips at a time."""

    model: str
    precision: Precision
    batch: int  # clips, or segments, in one forward pass
    seconds: float  # of a video with all its draws: on a processor its own, on a GPU on the clock
    flops: float  # of a video, products and sums of matrices and convolutions
    peak_flops: float  # a second, in this precision
    memory_bytes: int  # on a processor of the process, on a GPU what was asked for
    points: float  # that the score differs from float32, of one video of noise

    @property
    def videos_per_second(self) -> float:
        """Of one thread or one GPU."""
        return 1 / self.seconds

    @property
    def share_of_peak(self) -> float:
        """Of the device's own product of matrices."""
        return self.flops / self.seconds / self.peak_flops


def forwards(
    models: tuple[str, ...],
    precisions: tuple[Precision, ...],
    batches: tuple[int, ...],
    *,
    device: str,
    num_repeats: int = 1,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[Forward]:
    """Measure both branches and the head on noise of each model's own sampling, in turn.

    Args:
        models: of the zoo; weights that ship, else untrained ones, which take as long.
        precisions: of the arithmetic.
        batches: clips, or segments, in one forward pass.
        device: cpu, of which one thread counts, or cuda.
        num_repeats: times each is measured; the best counts.
        told: is told what is being done.

    Raises:
        ConfigurationError: no such model or device, or a model that sees whole frames as they are decoded.
    """
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(f"device must be one that is here, got {device!r} and no GPU")
    for name in models:
        zoo.require_pixels(name, purpose="to be measured alone")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # as before a video is scored
    try:
        peaks = {precision: peak_flops(place, precision) for precision in precisions}
        for name in models:
            checkpoint = _checkpoint(name)
            model = weights.build(checkpoint).to(place)
            video = _Video(zoo.spec(name), place)
            exact = video.score(model, checkpoint, "float32", 1)
            flops = video.flops(model)
            for precision in precisions:
                for batch in batches:
                    told(f"{name}, {precision}, {batch}")
                    _forget_peak(place)
                    seconds, score = min(
                        (_timed(lambda: video.score(model, checkpoint, precision, batch), place))  # noqa: B023
                        for _ in range(num_repeats)
                    )
                    yield Forward(
                        model=name,
                        precision=precision,
                        batch=batch,
                        seconds=seconds,
                        flops=flops,
                        peak_flops=peaks[precision],
                        memory_bytes=_peak_memory(place),
                        points=abs(score - exact),
                    )
    finally:
        torch.set_num_threads(before)


def peak_flops(device: torch.device, precision: Precision) -> float:
    """Return operations a second of the device's own product of two large square matrices."""
    side, kind = _SIDES[device.type], getattr(torch, precision)
    a, b = (torch.full((side, side), 0.5, dtype=kind, device=device) for _ in range(2))
    best, used = float("inf"), 0.0
    while used < _LEAST_SECONDS:
        seconds, _ = _timed(lambda: torch.mm(a, b), device)
        best, used = min(best, seconds), used + seconds
    return 2 * side**3 / best


class _Video:
    """Noise in the place of a video's pixels, on the device."""

    def __init__(self, spec: zoo.ModelSpec, device: torch.device) -> None:
        self._sampling, self._num_draws = spec.sampling, spec.num_draws
        sampling = self._sampling
        rng = np.random.default_rng(0)
        side = sampling.fragment_side
        num_clips = self._num_draws * sampling.num_clips
        self._clips = _noise(rng, (num_clips, sampling.clip_frames, side, side, 3), device)
        side = sampling.segment_side
        num_segments = self._num_draws * sampling.num_segments
        self._segments = _noise(rng, (num_segments, sampling.segment_frames, side, side, 3), device)

    def score(self, model: Any, checkpoint: weights.Checkpoint, precision: Precision, batch: int) -> float:
        """Return the score, of 100."""
        sampling = self._sampling
        intra = _in_batches(model.intra, self._clips, precision, batch)
        features = None
        if sampling.num_segments:
            features = _in_batches(model.inter, self._segments, precision, batch)
            features = features.view(self._num_draws, sampling.num_segments, -1)
            features = features.repeat_interleave(sampling.num_clips, dim=0)
        with torch.inference_mode():
            raw: float = model.head(intra, features).double().mean().item()
        return checkpoint.calibration.to_score(raw)

    def flops(self, model: Any) -> float:
        """Count the operations of a video."""
        counted = 0.0
        for branch, pixels in ((getattr(model, "inter", None), self._segments), (model.intra, self._clips)):
            if len(pixels) and branch is not None:
                with FlopCounterMode(display=False) as counter:
                    _in_batches(branch, pixels[:1], "float32", 1)
                counted += len(pixels) * counter.get_total_flops()
        return counted


def _in_batches(branch: Any, pixels: torch.Tensor, precision: Precision, batch: int) -> torch.Tensor:
    is_half = precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(pixels.device.type, torch.bfloat16, enabled=is_half):
        return torch.cat([branch(normalise(part)).float() for part in torch.split(pixels, batch)])


def _noise(rng: np.random.Generator, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)).to(device)


def _checkpoint(name: str) -> weights.Checkpoint:
    return weights.default(name) if name in weights.shipped_names() else weights.seeded(name)


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds of some work, and what it returned: its processor's own, or on a GPU the clock's."""
    if device.type == "cpu":
        started = time.process_time()
        made = work()
        return time.process_time() - started, made
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    made = work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started, made


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
