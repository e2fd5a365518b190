"""Owns `securevqa bench start` and `bench pipeline`: where whole runs spend their time, and other code's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.terminal import events
from pipeline.results import Result

__all__ = ["Against", "pipeline_command", "start_command"]

_Videos = Annotated[int, typer.Option(min=1, help="How many videos.")]
_ClipSeconds = Annotated[float, typer.Option("--seconds", min=0.5, help="Length of each, 540p H.264.")]
_Footage = Annotated[Path | None, typer.Option(help="Video to make them of; default: one is drawn.")]
Against = Annotated[
    list[Path] | None,
    typer.Option(help="Checkout of other code, of `git worktree add`, that runs in turns; default: none."),
]
_Repeats = Annotated[int, typer.Option(min=1, help="Runs of each; medians count.")]


def start_command(
    videos: _Videos = 15,
    seconds: _ClipSeconds = 4.0,
    footage: _Footage = None,
    against: Against = None,
    repeats: _Repeats = 1,
) -> Result:
    """Measure the start of a run on Ray and in one process: its steps, and which processes take what.

    Steps are of one run each, which keeps a timeline; processes are of others, which do not.
    """
    with events.doing("making the videos"):
        from pipeline.bench.run_results import starts  # noqa: PLC0415 - seconds of imports, as below

        return starts(
            videos,
            seconds=seconds,
            footage=footage,
            against=against or (),
            num_repeats=repeats,
            told=events.update,
        )


def pipeline_command(
    videos: _Videos = 200,
    seconds: _ClipSeconds = 4.0,
    footage: _Footage = None,
    address: Annotated[
        str, typer.Option(help="Where it runs; '' leaves that to the code: few videos need no Ray.")
    ] = "local",
    against: Against = None,
    repeats: _Repeats = 1,
) -> Result:
    """Measure a run of many short videos: how long it takes, and how full it keeps the processors."""
    with events.doing("making the videos"):
        from pipeline.bench.run_results import whole_runs  # noqa: PLC0415 - as above

        return whole_runs(
            videos,
            seconds=seconds,
            footage=footage,
            address=address,
            against=against or (),
            num_repeats=repeats,
            told=events.update,
        )
