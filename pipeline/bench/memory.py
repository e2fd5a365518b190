"""Owns the measurement of memory: the peak of every process that scores a video, large and long ones too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.bench.processes import Cost, measured, securevqa_command
from securevqa_core.decoding.bench_config import BenchClip, BenchConfig
from securevqa_core.decoding.benchmark import make_clip

__all__ = ["HEIGHTS", "LIMIT_BYTES", "MINUTES", "peak_memory"]

HEIGHTS = {1080: 1920, 2160: 3840}  # pixels, and the width that goes with each
MINUTES = (1.0, 20.0)
LIMIT_BYTES = 1.5e9  # that no process of the default exceeds
_TIMEOUT_SECONDS = 3600.0


def peak_memory(
    height: int,
    minutes: float,
    folder: Path,
    *,
    model: str,
    with_ray: bool = False,
    footage: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Cost:
    """Score one H.264 video and return what each process took.

    Args:
        height: of `HEIGHTS`.
        minutes: length of the video: two seconds, again and again.
        folder: where the video, which is removed, and the report are written.
        model: that ships, or else with untrained weights.
        with_ray: run the pipeline on Ray, started here, in place of one process.
        footage: what the video is made from; None: what FFmpeg draws.
        told: is told what is being done.

    Raises:
        DatasetError: FFmpeg is missing or fails.
        RunError: the command fails.
    """
    name = f"{height}p, {minutes:g} min"
    told(f"making {name}")
    clip = BenchClip(height=height, width=HEIGHTS[height], codec="h264")
    path = make_clip(clip, BenchConfig(footage=footage, clip_seconds=60 * minutes), folder)
    output = folder / f"{path.stem}_report"
    told(f"scoring {name}")
    on_ray = ("--output", str(output), "--address", "local") if with_ray else ()
    command = ("score", str(path), "--model", model, "--seed", "0", "--decode-timeout", str(_TIMEOUT_SECONDS))
    try:
        return measured(securevqa_command(*command, *on_ray), timeout_seconds=_TIMEOUT_SECONDS)
    finally:
        path.unlink()
