"""Owns `securevqa bench`: how fast this machine works, in how much memory, and what is left to guess."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from pipeline.bench.memory import HEIGHTS, LIMIT_BYTES, MINUTES, peak_memory
from pipeline.bench.model import forwards
from pipeline.bench.peers import CLIPS as PEER_CLIPS
from pipeline.bench.peers import PEERS, compare_peers
from pipeline.commands.terminal import console, events
from securevqa_core import zoo
from securevqa_core.decoding.benchmark import CLIPS, BenchConfig, Timing, benchmark
from securevqa_core.errors import ConfigurationError
from securevqa_core.guesses import count_draws
from securevqa_core.scoring import Precision

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
    console.print(f"{seconds:g} s of {source}, best of {repeats}; {_machine()}")


@bench_app.command("peers")
def peers_command(
    peers: Annotated[
        list[str] | None,
        typer.Argument(help="Models to compare, and libvmaf; the first is what others are by."),
    ] = None,
    footage: Annotated[
        Path | None, typer.Option(help="Video to make the clips of; default: one is drawn.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Times each is measured, in turn; the best counts.")
    ] = 1,
    max_height: Annotated[int, typer.Option(help="Leave out larger clips.")] = 2160,
) -> None:
    """Compare the default with other models and with FFmpeg's VMAF: processor seconds and memory, one run.

    Each scores a clip in a process of its own, from its start to its end, on one thread; VMAF compares the
    clip with itself. Models that do not ship have untrained weights, which take as long.
    """
    names = tuple(peers or PEERS)
    clips = tuple(clip for clip in PEER_CLIPS if clip.height <= max_height)
    with tempfile.TemporaryDirectory() as folder, events.doing("making the clips"):
        costs = compare_peers(
            clips, names, Path(folder), footage=footage, num_repeats=repeats, told=events.update
        )
    table = Table("", *(f"{clip.name}: {what}" for clip in clips for what in ("s", "x", "MB")))
    for name in names:
        cells = []
        for clip in clips:
            cost, first = costs[name, clip.name], costs[names[0], clip.name]
            times = cost.processor_seconds / first.processor_seconds
            cells += [f"{cost.processor_seconds:.1f}", f"{times:.1f}", f"{cost.largest_bytes / 1e6:.0f}"]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"s: processor seconds; x: by those of {names[0]}; MB: of the largest process; best of {repeats}; "
        f"{_machine()}"
    )


@bench_app.command("model")
def model_command(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models; else the default and secure-vqa.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, of which one thread counts, or cuda.")] = "cpu",
    precision: Annotated[list[str] | None, typer.Option(help="float32 or bfloat16; default: both.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Clips in a pass; default: several.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each is measured; the best counts.")] = 1,
) -> None:
    """Measure the forward pass of a video with all its draws, on noise: speed, share of the peak, memory.

    The peak is what the device does in a product of two large matrices in the same precision.
    """
    names = tuple(models or (zoo.DEFAULT_MODEL, "secure-vqa"))
    precisions = _precisions(precision)
    batches = tuple(batch or ((1, 4) if device == "cpu" else (1, 4, 16, 64)))
    with console.status("") as status:
        rows = list(
            forwards(names, precisions, batches, device=device, num_repeats=repeats, told=status.update)
        )
    table = Table("model", "precision", "batch", "videos/s", "x", "of peak", "MB", "points from float32")
    for row in rows:
        first = next(one for one in rows if one.model == row.model)
        table.add_row(
            *(row.model, row.precision, f"{row.batch}", f"{row.videos_per_second:.3g}"),
            f"{first.seconds / row.seconds:.2f}",
            f"{row.share_of_peak:.2f}",
            f"{row.memory_bytes / 1e6:.0f}",
            f"{row.points:.3f}",
        )
    console.print(table)
    peaks = {row.precision: row.peak_flops for row in rows}
    told = ", ".join(f"{name} {flops / 1e9:.0f} Gflop/s" for name, flops in peaks.items())
    console.print(f"{device}, best of {repeats}; x: by the first of the model; peak: {told}; {_machine()}")


@bench_app.command("memory")
def memory_command(
    model: Annotated[str, typer.Option(help="Model that scores.")] = zoo.DEFAULT_MODEL,
    minutes: Annotated[
        list[float] | None, typer.Option(help="Lengths of the videos; default: several.")
    ] = None,
    footage: Annotated[
        Path | None, typer.Option(help="Video to make them of; default: one is drawn.")
    ] = None,
    max_height: Annotated[int, typer.Option(help="Leave out larger videos.")] = 2160,
    with_ray: Annotated[bool, typer.Option("--ray", help="Measure a run on Ray, started here, too.")] = False,
) -> None:
    """Measure the peak memory of every process that scores a video, large and long ones too, MB.

    Counted is what the kernel calls resident: shared libraries, and what a process has in common with the one
    it was forked from, count for each.
    """
    videos = [(height, length) for height in HEIGHTS if height <= max_height for length in minutes or MINUTES]
    ways = (False, True) if with_ray else (False,)
    peaks: dict[str, dict[tuple[int, float], int]] = {}
    with tempfile.TemporaryDirectory() as folder, events.doing("making the clips"):
        for height, length in videos:
            for on_ray in ways:
                cost = peak_memory(
                    *(height, length, Path(folder)),
                    model=model,
                    with_ray=on_ray,
                    footage=footage,
                    told=events.update,
                )
                for kind, peak in cost.peak_bytes.items():
                    way = "Ray" if on_ray else "one process"
                    peaks.setdefault(f"{way}: {kind}", {})[height, length] = peak
    table = Table(model, *(f"{height}p, {length:g} min" for height, length in videos))
    for name, by_video in peaks.items():
        found = (by_video.get(video) for video in videos)
        table.add_row(name, *("" if peak is None else f"{peak / 1e6:.0f}" for peak in found))
    console.print(table)
    largest = max(peak for by_video in peaks.values() for peak in by_video.values())
    side = "no more than" if largest <= LIMIT_BYTES else "more than"
    console.print(f"the largest held {largest / 1e6:.0f} MB, {side} {LIMIT_BYTES / 1e6:.0f}; {_machine()}")


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


def _precisions(given: list[str] | None) -> tuple[Precision, ...]:
    """Return the precisions that were asked for.

    Raises:
        ConfigurationError: there is no such one.
    """
    known = get_args(Precision)
    for name in given or ():
        if name not in known:
            raise ConfigurationError(f"precision must be one of {', '.join(known)}, got {name!r}")
    return tuple(name for name in known if name in (given or known))


def _machine() -> str:
    return f"{os.cpu_count()} processors, load over 15 minutes {os.getloadavg()[2]:.1f}"
