"""Owns what `securevqa bench` tells: measurements side by side for people, each by its name for programs."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from rich.table import Table

from pipeline.bench.memory import HEIGHTS, LIMIT_BYTES, MINUTES, peak_memory
from pipeline.bench.model import forwards, in_turns
from pipeline.bench.peers import CLIPS as PEER_CLIPS
from pipeline.bench.peers import PEERS, compare_peers
from pipeline.bench.processes import machine
from pipeline.bench.runs import checkouts
from pipeline.results import Result
from securevqa_core import zoo
from securevqa_core.decoding.bench_config import CLIPS, BenchConfig
from securevqa_core.decoding.benchmark import Timing, benchmark
from securevqa_core.errors import ConfigurationError
from securevqa_core.guesses import count_draws
from securevqa_core.scoring import Precision

__all__ = ["decoding", "draws", "memory", "passes", "peers"]

_Told = Callable[[str], None]
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
_SHARES = ("share", "share_both", "share_most", "share_scored")  # of a `Timing`, by FFmpeg's speed
_RATIOS = ("by_decord", "by_decord_both", "by_decord_windows")

_LENGTHS = (1, 15, 31, 32, 50, 100, 255, 264, 300, 600, 1800)  # frames
_SIZES = ((224, 224), (240, 320), (360, 640), (540, 960), (1080, 1920))  # height, width


def decoding(
    *, footage: Path | None, seconds: float, num_repeats: int, max_height: int, told: _Told
) -> Result:
    """Measure every way of reading every clip; milliseconds of a processor a frame.

    Raises:
        ConfigurationError: a setting is out of range.
        DatasetError: FFmpeg is missing or fails.
    """
    default = zoo.spec(zoo.DEFAULT_MODEL)
    config = BenchConfig(
        footage=footage,
        clip_seconds=seconds,
        num_repeats=num_repeats,
        scored=default.sampling,
        num_draws=default.num_draws,
    )
    timings = []
    with tempfile.TemporaryDirectory() as folder:
        for clip in (one for one in CLIPS if one.height <= max_height):
            told(f"decoding {clip.name}")
            timings.append(benchmark(clip, config, Path(folder)))
    table = Table("processor time a frame", *(timing.name for timing in timings))
    for name, form, cell in _ROWS:
        values = [cell(timing) for timing in timings]
        table.add_row(name, *("cannot" if value is None else form.format(value) for value in values))
    source = "a drawn picture" if footage is None else footage.name
    clips = [asdict(one) | {name: getattr(one, name) for name in (*_SHARES, *_RATIOS)} for one in timings]
    record = {"clips": clips, "seconds": seconds, "source": source, "repeats": num_repeats}
    words = f"{seconds:g} s of {source}, best of {num_repeats}; {machine()}"
    return Result(record=record | {"machine": _machine()}, shown=[table, words])


def peers(
    names: Sequence[str], *, footage: Path | None, num_repeats: int, max_height: int, told: _Told
) -> Result:
    """Let models, and FFmpeg's VMAF, score the same clips; `names`: of them, none for the usual ones.

    Raises:
        ConfigurationError: there is no such model.
        RunError: one of them fails.
    """
    chosen = tuple(names or PEERS)
    clips = tuple(clip for clip in PEER_CLIPS if clip.height <= max_height)
    with tempfile.TemporaryDirectory() as folder:
        costs = compare_peers(
            clips, chosen, Path(folder), footage=footage, num_repeats=num_repeats, told=told
        )
    rows = [
        {
            "model": name,
            "clip": clip.name,
            **asdict(costs[name, clip.name]),
            "times_the_first": (
                costs[name, clip.name].processor_seconds / costs[chosen[0], clip.name].processor_seconds
            ),
            "largest_bytes": costs[name, clip.name].largest_bytes,
        }
        for name in chosen
        for clip in clips
    ]
    table = Table("", *(f"{clip.name}: {what}" for clip in clips for what in ("s", "x", "MB")))
    for name in chosen:
        cells = [
            (
                f"{row['processor_seconds']:.1f}",
                f"{row['times_the_first']:.1f}",
                _megabytes(row["largest_bytes"]),
            )
            for row in rows
            if row["model"] == name
        ]
        table.add_row(name, *(cell for three in cells for cell in three))
    words = (
        f"s: processor seconds; x: by those of {chosen[0]}; MB: of the largest process; "
        f"best of {num_repeats}; {machine()}"
    )
    record = {"measured": rows, "repeats": num_repeats, "machine": _machine()}
    return Result(record=record, shown=[table, words])


def passes(
    models: Sequence[str],
    *,
    device: str,
    precisions: Sequence[str],
    batches: Sequence[int],
    num_repeats: int,
    against: Sequence[Path],
    told: _Told,
) -> Result:
    """Measure forward passes on noise; none of `models`, `precisions` or `batches` stands for the usual ones.

    Raises:
        ConfigurationError: there is no such model, precision or device, or `against` is no checkout.
        RunError: the code of a checkout has no such model.
    """
    if against:
        return _passes_in_turns(models or [zoo.DEFAULT_MODEL], against, num_repeats=num_repeats, told=told)
    rows = list(
        forwards(
            tuple(models or (zoo.DEFAULT_MODEL, "secure-vqa")),
            _precisions(precisions),
            tuple(batches or ((1, 4) if device == "cpu" else (1, 4, 16, 64))),
            device=device,
            num_repeats=num_repeats,
            told=told,
        )
    )
    table = Table("model", "precision", "batch", "videos/s", "x", "of peak", "MB", "points from float32")
    for row in rows:
        first = next(one for one in rows if one.model == row.model)
        table.add_row(
            *(row.model, row.precision, f"{row.batch}", f"{row.videos_per_second:.3g}"),
            f"{first.seconds / row.seconds:.2f}",
            f"{row.share_of_peak:.2f}",
            _megabytes(row.memory_bytes),
            f"{row.points:.3f}",
        )
    peaks = {row.precision: row.peak_flops for row in rows}
    told_peaks = ", ".join(f"{name} {flops / 1e9:.0f} Gflop/s" for name, flops in peaks.items())
    words = f"{device}, best of {num_repeats}; x: by the first of the model; peak: {told_peaks}; {machine()}"
    measured = [
        asdict(one) | {"videos_per_second": one.videos_per_second, "share_of_peak": one.share_of_peak}
        for one in rows
    ]
    record = {"measured": measured, "device": device, "repeats": num_repeats, "machine": _machine()}
    return Result(record=record, shown=[table, words])


def _passes_in_turns(
    models: Sequence[str], against: Sequence[Path], *, num_repeats: int, told: _Told
) -> Result:
    """Measure the forward pass of each model by this code and by others', side by side."""
    codes, measured = checkouts(against), {}
    others = [code for code in codes if code != "this"]
    table = Table("model", *(f"{code}, s" for code in codes), *(f"this, by {code}" for code in others))
    for name in models:
        zoo.require_pixels(name, purpose="to be measured alone")
        told(f"{name}, in turns")
        found = in_turns(name, codes, num_repeats=num_repeats)
        seconds = {code: statistics.median(one) for code, one in found.items()}
        ratios = [f"{seconds['this'] / seconds[code]:.2f}" for code in others]
        table.add_row(name, *(f"{one:.3f}" for one in seconds.values()), *ratios)
        measured[name] = found
    words = f"processor seconds of a video in float32, clip by clip, medians of {num_repeats}; {machine()}"
    return Result(record={"in_turns": measured, "machine": _machine()}, shown=[table, words])


def memory(
    model: str | None,
    *,
    minutes: Sequence[float],
    footage: Path | None,
    max_height: int,
    with_ray: bool,
    told: _Told,
) -> Result:
    """Measure the peak memory of every process that scores a video; no `minutes`: the usual lengths.

    Raises:
        DatasetError: FFmpeg is missing or fails.
        RunError: a video cannot be scored.
    """
    scoring = model or zoo.DEFAULT_MODEL
    videos = [(height, length) for height in HEIGHTS if height <= max_height for length in minutes or MINUTES]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for height, length in videos:
            for on_ray in (False, True) if with_ray else (False,):
                cost = peak_memory(
                    *(height, length, Path(folder)),
                    model=scoring,
                    with_ray=on_ray,
                    footage=footage,
                    told=told,
                )
                way = "Ray" if on_ray else "one process"
                video = {"height": height, "minutes": length, "way": way}
                rows += [video | {"process": kind, "bytes": peak} for kind, peak in cost.peak_bytes.items()]
    table = Table(scoring, *(f"{height}p, {length:g} min" for height, length in videos))
    peaks: dict[str, dict[tuple[int, float], int]] = {}
    for row in rows:
        of_kind = peaks.setdefault(f"{row['way']}: {row['process']}", {})
        of_kind[row["height"], row["minutes"]] = row["bytes"]
    for name, by_video in peaks.items():
        found = (by_video.get(video) for video in videos)
        table.add_row(name, *("" if peak is None else _megabytes(peak) for peak in found))
    largest = max(row["bytes"] for row in rows)
    side = "no more than" if largest <= LIMIT_BYTES else "more than"
    words = f"the largest held {_megabytes(largest)} MB, {side} {LIMIT_BYTES / 1e6:.0f}; {machine()}"
    record = {"model": scoring, "measured": rows, "largest_bytes": largest, "limit_bytes": LIMIT_BYTES}
    return Result(record=record | {"machine": _machine()}, shown=[table, words])


def draws(model: str | None) -> Result:
    """Count the outcomes of one draw, in bits, by a video's length and by its size.

    Raises:
        ConfigurationError: there is no such model.
    """
    name = model or zoo.DEFAULT_MODEL
    sampling = zoo.spec(name).sampling
    by_length = {one: math.log2(count_draws(one, *_SIZES[0], sampling).frames) for one in _LENGTHS}
    by_size = {size: math.log2(count_draws(1, *size, sampling).patches) for size in _SIZES}
    frames = Table("frames of the video", *map(str, _LENGTHS))
    frames.add_row("bits to guess the frames", *(f"{bits:.0f}" for bits in by_length.values()))
    patches = Table("size of the video", *(f"{width} x {height}" for height, width in _SIZES))
    patches.add_row("bits to guess the patches", *(f"{bits:.0f}" for bits in by_size.values()))
    record = {
        "model": name,
        "frames": [{"num_frames": one, "bits": bits} for one, bits in by_length.items()],
        "patches": [{"height": one[0], "width": one[1], "bits": bits} for one, bits in by_size.items()],
    }
    return Result(record=record, shown=[f"{name}: 0 bits are the same for every key", frames, patches])


def _precisions(given: Sequence[str]) -> tuple[Precision, ...]:
    known = get_args(Precision)
    for name in given:
        if name not in known:
            raise ConfigurationError(f"precision must be one of {', '.join(known)}, got {name!r}")
    return tuple(name for name in known if name in (given or known))


def _megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:.0f}"


def _machine() -> dict[str, Any]:
    return {"processors": os.cpu_count(), "load_over_15_minutes": os.getloadavg()[2]}
