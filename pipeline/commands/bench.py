"""Owns `securevqa bench`: how fast this machine does the work, and how much of a draw there is to guess."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.commands.terminal import console
from securevqa_core import zoo
from securevqa_core.decoding.benchmark import CLIPS, BenchConfig, Timing, benchmark
from securevqa_core.guesses import count_draws

__all__ = ["bench_app"]

_DEFAULTS = BenchConfig()
_Cell = Callable[[Timing], float | None]
_ROWS: tuple[tuple[str, str, _Cell], ...] = (
    ("FFmpeg to null", "{:.2f} ms", lambda timing: timing.ffmpeg),
    ("PyAV, decoding alone", "{:.2f} ms", lambda timing: timing.pyav),
    ("PyAV, with fragments", "{:.2f} ms", lambda timing: timing.pyav_fragments),
    ("PyAV, with fragments and resized frames", "{:.2f} ms", lambda timing: timing.pyav_both),
    ("PyAV, the same frames decoded alone", "{:.2f} ms", lambda timing: timing.pyav_least),
    ("PyAV, all that the default model reads", "{:.2f} ms", lambda timing: timing.pyav_scored),
    ("decord, every full frame once", "{:.2f} ms", lambda timing: timing.decord),
    ("decord, with fragments", "{:.2f} ms", lambda timing: timing.decord_fragments),
    ("decord, get_batch over the same windows", "{:.2f} ms", lambda timing: timing.decord_windows),
    ("of FFmpeg's speed, with fragments", "{:.2f}", lambda timing: timing.share),
    ("of FFmpeg's speed, with resized frames too", "{:.2f}", lambda timing: timing.share_both),
    ("of FFmpeg's speed, were conversion free", "{:.2f}", lambda timing: timing.share_most),
    ("of FFmpeg's speed, for the default model", "{:.2f}", lambda timing: timing.share_scored),
    ("times decord's full frames, with fragments", "{:.1f}", lambda timing: timing.by_decord),
    ("times decord's full frames, with resized frames too", "{:.1f}", lambda timing: timing.by_decord_both),
    ("times decord's get_batch, with resized frames too", "{:.1f}", lambda timing: timing.by_decord_windows),
)

_LENGTHS = (1, 15, 31, 32, 50, 100, 255, 264, 300, 600, 1800)  # frames
_SIZES = ((224, 224), (240, 320), (360, 640), (540, 960), (1080, 1920))  # height, width

bench_app = typer.Typer(no_args_is_help=True)


@bench_app.callback()
def _about() -> None:
    """Measure this machine, and the key."""


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
    """Measure decoding: FFmpeg to null and each backend, processor time of one thread, side by side.

    Fragments and resized frames are those of the paper's model, which reads about every frame of a short
    video; those of the default model are a row of their own.
    """
    default = zoo.spec(zoo.DEFAULT_MODEL)
    config = BenchConfig(
        footage=footage,
        clip_seconds=seconds,
        num_repeats=repeats,
        scored=default.sampling,
        num_draws=default.num_draws,
    )
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


@bench_app.command("draws")
def draws_command(
    model: Annotated[str, typer.Option(help="Model whose sampling is counted.")] = zoo.DEFAULT_MODEL,
) -> None:
    """Count in how many ways one draw of a key can turn out, by a video's length and size, in bits."""
    sampling = zoo.spec(model).sampling
    frames = Table("frames of the video", *map(str, _LENGTHS))
    counts = [count_draws(length, *_SIZES[0], sampling).frames for length in _LENGTHS]
    frames.add_row("bits to guess the frames", *(f"{math.log2(count):.0f}" for count in counts))
    patches = Table("size of the video", *(f"{width} x {height}" for height, width in _SIZES))
    counts = [count_draws(1, *size, sampling).patches for size in _SIZES]
    patches.add_row("bits to guess the patches", *(f"{math.log2(count):.0f}" for count in counts))
    console.print(f"{model}: 0 bits are the same for every key")
    console.print(frames)
    console.print(patches)
