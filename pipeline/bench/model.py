"""Owns the measurement of a model's forward pass on a device: videos a second, share of its peak, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.bench import forward
from pipeline.bench.forward import NoiseVideo, timed
from pipeline.bench.processes import environment_of
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.scoring import Precision, keep_freed_memory

__all__ = ["Forward", "forwards", "in_turns", "peak_flops"]

# What runs a file by itself, with the modules of the folder that it is run in before those beside it.
_ALONE = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
_TIMEOUT_SECONDS = 3600.0
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
            video = NoiseVideo(zoo.spec(name), place)
            exact = video.score(model, checkpoint, "float32", 1)
            flops = _flops(video, model)
            for precision in precisions:
                for batch in batches:
                    told(f"{name}, {precision}, {batch}")
                    _forget_peak(place)
                    seconds, score = min(
                        timed(lambda: video.score(model, checkpoint, precision, batch), place)  # noqa: B023
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


def in_turns(name: str, codes: Mapping[str, Path], *, num_repeats: int) -> dict[str, list[float]]:
    """Return processor seconds of a video in float32, a clip at a time, by each checkout's code, in turns.

    Args:
        name: of the model, with seeded weights, which take as long.
        codes: a checkout by its name in a table.
        num_repeats: processes of each, every one of which tells the best of three passes.

    Raises:
        RunError: a code fails, or has no such model.
    """
    seconds: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(num_repeats):
        for code, checkout in codes.items():
            command = [sys.executable, "-c", _ALONE, forward.__file__, name]
            done = subprocess.run(  # noqa: S603 - a file of this package
                command,
                cwd=checkout,
                env=environment_of(checkout),
                check=False,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
            )
            if done.returncode:
                words = done.stderr.strip().rpartition("\n")[2]
                raise RunError(f"{code} cannot run {name}: {words}")
            seconds[code].append(json.loads(done.stdout))
    return seconds


def peak_flops(device: torch.device, precision: Precision) -> float:
    """Return operations a second of the device's own product of two large square matrices."""
    side, kind = _SIDES[device.type], getattr(torch, precision)
    a, b = (torch.full((side, side), 0.5, dtype=kind, device=device) for _ in range(2))
    best, used = float("inf"), 0.0
    while used < _LEAST_SECONDS:
        seconds, _ = timed(lambda: torch.mm(a, b), device)
        best, used = min(best, seconds), used + seconds
    return 2 * side**3 / best


def _flops(video: NoiseVideo, model: Any) -> float:
    """Count the operations of a video."""
    counted = 0.0
    for branch, pixels in ((getattr(model, "inter", None), video.segments), (model.intra, video.clips)):
        if len(pixels) and branch is not None:
            with FlopCounterMode(display=False) as counter:
                video.in_batches(branch, pixels[:1], "float32", 1)
            counted += len(pixels) * counter.get_total_flops()
    return counted


def _checkpoint(name: str) -> weights.Checkpoint:
    return weights.default(name) if name in weights.shipped_names() else weights.seeded(name)


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
