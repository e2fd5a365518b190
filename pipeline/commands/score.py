"""Owns `securevqa score`: videos in; out comes a report, or what a person wants to read of a few."""

from __future__ import annotations

import dataclasses
import json as json_module
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.nightly import NightlyOptions
from pipeline.commands.options import spread
from pipeline.commands.terminal import console, events, resumable, say
from securevqa_core.errors import may_pass

if TYPE_CHECKING:
    from pipeline.scoring.config import ScoreConfig
    from pipeline.scoring.score import Outcome
    from securevqa_core.decoding.sandbox import DecodeSandbox

__all__ = ["score_command", "show_outcome"]


@spread(NightlyOptions)
def score_command(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO_OR_MANIFEST",
            help="Videos, folders, globs, or manifests (Parquet, CSV, JSON lines); any URI.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Run directory, local or s3://; default: scores are printed, and not kept.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a video, or of the run.")
    ] = False,
    notice: Annotated[
        str | None,
        typer.Option(
            metavar="CODEC:QUALITY",
            help="Notice attacks: score a rendition besides, x264:23 say; default: no suspicion.",
        ),
    ] = None,
    *,
    options: NightlyOptions,
) -> None:
    """Score videos: printed, or with --output a report, one row each, whatever is in the files."""

    def config() -> ScoreConfig:
        of_all = options.config(
            manifest=videos[0],
            output=output or "",
            key=options.key(),
            model=options.model,
            checkpoint=options.checkpoint,
        )
        return dataclasses.replace(of_all, notice=notice, more_videos=tuple(videos[1:]))

    if output is None:
        options.require_no_run()
        with resumable("interrupted"), events.doing("loading the model"), _started_sandbox() as sandbox:
            _print_scores(config(), sandbox, as_json=json)
        return
    with resumable():
        with events.doing("loading"):
            wanted = config()
            from pipeline.scoring.score import score  # noqa: PLC0415 - seconds of imports

        outcome = score(wanted, events=events)
    if json:
        say(json_module.dumps(outcome.run))
    else:
        show_outcome(outcome)


def _started_sandbox() -> DecodeSandbox:
    """Start the decoding process: it imports what it needs while this process does."""
    from securevqa_core.decoding.sandbox import DecodeSandbox  # noqa: PLC0415 - no command's help needs it
    from securevqa_core.types import DecodeLimits  # noqa: PLC0415

    sandbox = DecodeSandbox(DecodeLimits())
    sandbox.start()
    return sandbox


def _print_scores(config: ScoreConfig, sandbox: DecodeSandbox, *, as_json: bool) -> None:
    """Score in this process, and print each video as it is finished."""
    # Seconds of imports, and none of Ray.
    from operators.schema import REPORT  # noqa: PLC0415
    from pipeline.manifests.given import given_videos  # noqa: PLC0415
    from pipeline.scoring.here import outcome_rows  # noqa: PLC0415

    rows = given_videos(
        [config.manifest, *config.more_videos],
        uri_column=config.uri_column,
        allow_schemes=config.allow_schemes,
    )
    checkpoint = config.load_checkpoint()
    config = config.settled(checkpoint)
    if checkpoint.status == "untrained":
        events.note("checkpoint_status = untrained: these scores mean nothing")
    scored = outcome_rows(
        rows,
        config,
        checkpoint=checkpoint,
        sandbox=sandbox,
        begin=lambda row: events.update(f"scoring {_name(row)}"),
    )
    for row in scored:
        if as_json:
            say(json_module.dumps({name: row.get(name) for name in REPORT.names}, default=_iso))
        else:
            _print_score(row)


def _print_score(row: dict[str, Any]) -> None:
    if row.get("score") is None:
        say(f"{_name(row)}: not scored, {row['error_code']}: {row['error_message']}")
    else:
        spread_of = (
            ""
            if row["score_sd"] is None
            else f" sd {row['score_sd']:.1f}, at least {row['score_lower']:.1f},"
        )
        say(f"{_name(row)}: {row['score']:.1f} of 100,{spread_of} {row['verdict']}")
    for line in (*(row.get("decode_warnings") or ()), *(row.get("suspicion_reasons") or ())):
        say(f"  {line}")


def _iso(moment: Any) -> str:
    return str(moment.isoformat())


def _name(row: dict[str, Any]) -> str:
    from operators.storage import redact  # noqa: PLC0415 - imported by now

    return redact(row["uri"]).rpartition("/")[2] or redact(row["uri"])


def show_outcome(outcome: Outcome) -> None:
    """Print what a run came to, and what to do next."""
    from rich.table import Table  # noqa: PLC0415

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
    retryable = sum(count for code, count in run["counts"]["error_code"].items() if may_pass(code))
    if retryable:
        console.print(f"{retryable} failed in a way that may pass: --retry-failed tries them again")
    if run.get("num_left"):
        console.print(f"{run['num_left']} left by the budget: run the same command again to go on")
    done = f"{run['num_scored_now']} worked on now" if outcome.is_new else "finished before, nothing to do"
    say(f"run {run['run_id']}: {done}; rows: {outcome.run_uri.rstrip('/')}/report")
    say(f"securevqa report {shlex.quote(outcome.run_uri)}")
