"""Owns `securevqa bench`: how fast this machine works, in how much memory, and what is left to guess."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.bench_runs import Against, pipeline_command, start_command
from pipeline.commands.options import complete_models
from pipeline.commands.terminal import events
from pipeline.results import Result
from securevqa_core.decoding.bench_config import BenchConfig

__all__ = ["bench_app"]

_DEFAULTS = BenchConfig()

bench_app = typer.Typer(no_args_is_help=True)
bench_app.command("start")(start_command)
bench_app.command("pipeline")(pipeline_command)


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
) -> Result:
    """Measure decoding: FFmpeg to null and each backend, processor time of one thread, side by side.

    Fragments and resized frames are those of the paper's model, which reads about every frame of a short
    video; those of the default model are a row of their own.
    """
    with events.doing("loading", is_logged=False):
        from pipeline.bench.results import decoding  # noqa: PLC0415 - seconds of imports, as below

        return decoding(
            footage=footage,
            seconds=seconds,
            num_repeats=repeats,
            max_height=max_height,
            told=events.update,
        )


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
) -> Result:
    """Compare the default with other models and with FFmpeg's VMAF: processor seconds and memory, one run.

    Each scores a clip in a process of its own, from its start to its end, on one thread; VMAF compares the
    clip with itself. Models that do not ship have untrained weights, which take as long.
    """
    with events.doing("making the clips"):
        from pipeline.bench import results  # noqa: PLC0415 - as above

        return results.peers(
            peers or [], footage=footage, num_repeats=repeats, max_height=max_height, told=events.update
        )


@bench_app.command("model")
def model_command(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models; else the default and secure-vqa.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, of which one thread counts, or cuda.")] = "cpu",
    precision: Annotated[list[str] | None, typer.Option(help="float32 or bfloat16; default: both.")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Clips in a pass; default: several.")] = None,
    against: Against = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Times each is measured; the best counts, --against the median.")
    ] = 1,
) -> Result:
    """Measure the forward pass of a video with all its draws, on noise: speed, share of the peak, memory.

    The peak is what the device does in a product of two large matrices in the same precision. With --against
    processor seconds alone are told, by this code and by others.
    """
    with events.doing("loading", is_logged=False):
        from pipeline.bench.results import passes  # noqa: PLC0415 - as above

        return passes(
            models or [],
            device=device,
            precisions=precision or [],
            batches=batch or [],
            num_repeats=repeats,
            against=against or [],
            told=events.update,
        )


@bench_app.command("memory")
def memory_command(
    model: Annotated[
        str | None,
        typer.Option(autocompletion=complete_models, help="Model that scores; default: secure-vqa-compact."),
    ] = None,
    minutes: Annotated[
        list[float] | None, typer.Option(help="Lengths of the videos; default: several.")
    ] = None,
    footage: Annotated[
        Path | None, typer.Option(help="Video to make them of; default: one is drawn.")
    ] = None,
    max_height: Annotated[int, typer.Option(help="Leave out larger videos.")] = 2160,
    with_ray: Annotated[bool, typer.Option("--ray", help="Measure a run on Ray, started here, too.")] = False,
) -> Result:
    """Measure the peak memory of every process that scores a video, large and long ones too, MB.

    Counted is what the kernel calls resident: shared libraries, and what a process has in common with the one
    it was forked from, count for each.
    """
    with events.doing("making the clips"):
        from pipeline.bench.results import memory  # noqa: PLC0415 - as above

        return memory(
            model,
            minutes=minutes or [],
            footage=footage,
            max_height=max_height,
            with_ray=with_ray,
            told=events.update,
        )


@bench_app.command("draws")
def draws_command(
    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_models,
            help="Model whose sampling is counted; default: secure-vqa-compact.",
        ),
    ] = None,
) -> Result:
    """Count in how many ways one draw of a key can turn out, by a video's length and size, in bits."""
    with events.doing("loading", is_logged=False):
        from pipeline.bench.results import draws  # noqa: PLC0415 - as above

        return draws(model)
