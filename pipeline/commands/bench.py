"""Owns `securevqa bench`: how fast this machine does the work, beside the best that is known."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.commands.terminal import console
from securevqa_core.decoding.benchmark import CLIPS, BenchConfig, Timing, benchmark

__all__ = ["bench_app"]

_DEFAULTS = BenchConfig()
_Cell = Callable[[Timing], float | None]
_ROWS: tuple[tuple[str, str, _Cell], ...] = (
    ("FFmpeg to null", "{:.2f} ms", lambda timing: timing.ffmpeg),
    ("PyAV, decoding alone", "{:.2f} ms", lambda timing: timing.pyav),
    ("PyAV, with fragments", "{:.2f} ms", lambda timing: timing.pyav_fragments),
    ("PyAV, with fragments and resized frames", "{:.2f} ms", lambda timing: timing.pyav_both),
    ("decord, every full frame once", "{:.2f} ms", lambda timing: timing.decord),
    ("decord, with fragments", "{:.2f} ms", lambda timing: timing.decord_fragments),
    ("decord, get_batch over the same windows", "{:.2f} ms", lambda timing: timing.decord_windows),
    ("of FFmpeg's speed, with fragments", "{:.2f}", lambda timing: timing.share),
    ("of FFmpeg's speed, with resized frames too", "{:.2f}", lambda timing: timing.share_both),
    ("times decord's full frames, with fragments", "{:.1f}", lambda timing: timing.by_decord),
    ("times decord's full frames, with resized frames too", "{:.1f}", lambda timing: timing.by_decord_both),
    ("times decord's get_batch, with resized frames too", "{:.1f}", lambda timing: timing.by_decord_windows),
)

bench_app = typer.Typer(no_args_is_help=True)


@bench_app.callback()
def _about() -> None:
    """Measure this machine."""


@bench_app.command("decode")
def decode_command(
    footage: Annotated[
        Path | None, typer.Argument(help="Video to scale and encode; else one is drawn.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of each clip.")] = _DEFAULTS.clip_seconds,
    repeats: Annotated[int, typer.Option(help="Times each is measured; the best counts.")] = (
        _DEFAULTS.num_repeats
    ),
    max_height: Annotated[int, typer.Option(help="Leave out larger clips.")] = 2160,
) -> None:
    """Measure decoding: FFmpeg to null and each backend, processor time of one thread, side by side."""
    config = BenchConfig(footage=footage, clip_seconds=seconds, num_repeats=repeats)
    with tempfile.TemporaryDirectory() as folder:
        timings = [benchmark(clip, config, Path(folder)) for clip in CLIPS if clip.height <= max_height]
    table = Table("processor time a frame", *(timing.name for timing in timings))
    for name, form, cell in _ROWS:
        values = [cell(timing) for timing in timings]
        table.add_row(name, *("cannot" if value is None else form.format(value) for value in values))
    console.print(table)
    source = "a drawn picture" if footage is None else footage.name
    machine = f"{os.cpu_count()} processors, load over 15 minutes {os.getloadavg()[2]:.1f}"
    console.print(f"{seconds:g} s of {source}, best of {repeats}; {machine}")
