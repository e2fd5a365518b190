"""Owns `securevqa score`: a manifest in, a report out, and its counts on the terminal."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from pipeline.commands.nightly import NightlyOptions
from pipeline.commands.options import spread
from pipeline.commands.terminal import console, resumable
from pipeline.scoring.score import Outcome, score
from securevqa_core.errors import ERROR_CODES

__all__ = ["score_command", "show_outcome"]


@spread(NightlyOptions)
def score_command(
    manifest: Annotated[str, typer.Argument(help="Parquet, CSV, JSON lines, directory or glob; any URI.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Run directory, local or s3://.")],
    model: Annotated[str | None, typer.Option(help="Architecture from the zoo.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint file, local or remote.")] = None,
    *,
    options: NightlyOptions,
) -> None:
    """Score every video of MANIFEST: one report row each, whatever is in the files."""
    config = options.config(
        manifest=manifest, output=output, key=options.key(), model=model, checkpoint=checkpoint
    )
    with resumable():
        show_outcome(score(config, console=console))


def show_outcome(outcome: Outcome) -> None:
    """Print what a run came to, and what to do next."""
    run = outcome.run
    table = Table(title=f"generation {run['generation']}: {run['rows']} videos")
    table.add_column("what")
    table.add_column("count", justify="right")
    for group in ("status", "verdict", "error_code"):
        for name, count in sorted(run["counts"][group].items()):
            table.add_row(f"{group} {name}", str(count))
    console.print(table)
    slowest = run["slowest_stage"]
    console.print(f"slowest stage: {slowest}, {run['stage_seconds'][slowest]:.1f} s summed over videos")
    if run["provenance"]["checkpoint_status"] == "untrained":
        console.print("checkpoint_status = untrained: these scores mean nothing, and every verdict is review")
    retryable = sum(
        count for code, count in run["counts"]["error_code"].items() if ERROR_CODES[code].retryable
    )
    if retryable:
        console.print(f"{retryable} failed in a way that may pass: --retry-failed tries them again")
    if run.get("num_left"):
        console.print(f"{run['num_left']} left by the budget: run the same command again to go on")
    done = f"{run['num_scored_now']} worked on now" if outcome.is_new else "finished before, nothing to do"
    console.print(
        f"run {run['run_id']}: {done}; report: {outcome.report_uri}", soft_wrap=True, highlight=False
    )
