"""Owns `securevqa score`: videos in; out comes a report, or what a person wants to read of a few."""

from __future__ import annotations

import dataclasses
import functools
import json as json_module
import shlex
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.nightly import NightlyOptions
from pipeline.commands.options import spread
from pipeline.commands.places import require_scratch
from pipeline.commands.terminal import console, events, interrupted, resumable, say
from pipeline.text import counted
from securevqa_core.errors import may_pass

if TYPE_CHECKING:
    from pipeline.manifests.given import Given
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
    cap: Annotated[
        str | None,
        typer.Option(
            metavar="CODEC:QUALITY",
            help="Hold scores to those of clean videos with such a rendition, x264:28 say; default: to none.",
        ),
    ] = None,
    *,
    options: NightlyOptions,
) -> None:
    """Score videos: printed, or with --output a report, one row each, whatever is in the files."""

    def config() -> ScoreConfig:
        from securevqa_core.randomness import Key  # noqa: PLC0415 - no command's help needs it

        of_all = options.config(
            manifest=videos[0],
            output=output or "",
            key=Key.ephemeral(),  # until all else is known to be right
            model=options.model,
            checkpoint=options.checkpoint,
        )
        return dataclasses.replace(of_all, notice=notice, cap=cap, more_videos=tuple(videos[1:]))

    if output is None:
        options.require_no_run()
        if options.scratch is not None:
            require_scratch(options.scratch, is_on_nodes=False)  # whatever cluster RAY_ADDRESS names
        with resumable("interrupted"):
            with events.doing("looking for videos", is_logged=False):
                wanted = config()
                options.require_manifest(videos)
                wanted = dataclasses.replace(wanted, key=options.key())
                given = _given(videos, options)
            with events.doing("loading the model"), _started_sandbox() as sandbox:
                _print_scores(given, wanted, sandbox, as_json=json)
        return
    with resumable(functools.partial(interrupted, output)):
        options.require_places(output)
        options.require_manifest(videos)
        with events.doing("loading", is_logged=False):
            wanted = dataclasses.replace(config(), key=options.key())
        with events.doing("loading"):
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


def _given(videos: list[str], options: NightlyOptions) -> Given:
    """Return the videos before the seconds of imports that a model takes; say what is none."""
    from operators.schema import REPORT, ROW_KEY  # noqa: PLC0415 - no command's help needs it
    from pipeline.manifests.given import given_rows  # noqa: PLC0415
    from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES  # noqa: PLC0415
    from pipeline.scoring.shown import say_left_out, say_likely_lists  # noqa: PLC0415

    say_likely_lists(videos, events)
    schemes = frozenset(options.allow_scheme or DEFAULT_ALLOW_SCHEMES)
    given = given_rows(
        videos,
        uri_column=options.uri_column,
        allow_schemes=schemes,
        reserved_columns=frozenset((ROW_KEY, *REPORT.names)),
        is_strict=options.strict,
    )
    say_left_out(given.others, events)
    return given


def _print_scores(given: Given, config: ScoreConfig, sandbox: DecodeSandbox, *, as_json: bool) -> None:
    """Score in this process, and print each video as it is finished."""
    # Seconds of imports, and none of Ray.
    from operators.schema import REPORT  # noqa: PLC0415
    from pipeline.scoring.here import failed_row, has_gpu, outcome_rows  # noqa: PLC0415
    from pipeline.scoring.shown import (  # noqa: PLC0415
        GaugeHere,
        say_ephemeral,
        say_no_gpu,
        shown_progress,
    )

    say_ephemeral(config.key, events)
    say_no_gpu(config.gpus_per_actor, events, is_there=has_gpu())
    checkpoint = config.load_checkpoint()
    config = config.settled(checkpoint)
    provenance = config.provenance(checkpoint)
    if checkpoint.status == "untrained":
        events.note("checkpoint_status = untrained: these scores mean nothing")
    names = _names([row["uri"] for row in given.rows])
    begun: deque[str] = deque()  # and not finished, the oldest first: it is in the model

    def begin(row: dict[str, Any]) -> None:
        begun.append(names[row["uri"]])
        events.update(f"scoring {begun[0]}")

    scored = outcome_rows(
        [row for place, row in enumerate(given.rows) if place not in given.refused],
        config,
        checkpoint=checkpoint,
        sandbox=sandbox,
        begin=begin,
    )
    gauge, total = GaugeHere(total=len(given.rows), is_told=False), len(given.rows)
    progress: AbstractContextManager[None] = nullcontext()
    if not events.is_shown_live:  # where `begin` says it
        progress = shown_progress(gauge, run_id=uuid.uuid4().hex[:12], total=total, events=events)
    with progress:
        for place, asked in enumerate(given.rows):
            refusal = given.refused.get(place)
            row = failed_row(asked, refusal, provenance) if refusal else _next(scored, begun)
            gauge.rows.append(row)
            if as_json:
                say(json_module.dumps({name: row.get(name) for name in REPORT.names}, default=_iso))
            else:
                _print_score(row, names[row["uri"]] or f"row {place + 1}")
    for _ in scored:  # ends the decoding process
        pass


def _next(scored: Iterator[dict[str, Any]], begun: deque[str]) -> dict[str, Any]:
    """Return the next video's row, and show which one is in the model from now on."""
    row = next(scored)
    begun.popleft()
    if begun:
        events.update(f"scoring {begun[0]}")
    return row


def _print_score(row: dict[str, Any], name: str) -> None:
    if row.get("score") is None:
        say(f"{name}: not scored, {row['error_code']}: {row['error_message']}")
    else:
        spread_of = (
            ""
            if row["score_sd"] is None
            else f" sd {row['score_sd']:.1f}, at least {row['score_lower']:.1f},"
        )
        untrained = " untrained," if row["checkpoint_status"] == "untrained" else ""
        say(f"{name}: {row['score']:.1f} of 100,{spread_of}{untrained} {row['verdict']}")
    for line in (*(row.get("decode_warnings") or ()), *(row.get("suspicion_reasons") or ())):
        say(f"  {line}")


def _names(uris: list[str]) -> dict[str, str]:
    """Return what each video is called among the others."""
    from pipeline.tables import file_names  # noqa: PLC0415 - imported by now

    distinct = list(dict.fromkeys(uris))
    return dict(zip(distinct, file_names(distinct), strict=True))


def _iso(moment: Any) -> str:
    return str(moment.isoformat())


def show_outcome(outcome: Outcome) -> None:
    """Print what a run came to, and what to do next."""
    from rich.table import Table  # noqa: PLC0415

    run = outcome.run
    table = Table(title=f"generation {run['generation']}: {counted(run['rows'], 'video')}")
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
        them = "it" if retryable == 1 else "them"
        console.print(f"{retryable} failed in a way that may pass: --retry-failed tries {them} again")
    if run.get("num_left"):
        console.print(f"{run['num_left']} left by the budget: run the same command again to go on")
    done = f"{run['num_worked_on_now']} worked on now" if outcome.is_new else "finished before, nothing to do"
    say(f"run {run['run_id']}: {done}; rows: {outcome.run_uri.rstrip('/')}/report")
    say(f"securevqa report {shlex.quote(outcome.run_uri)}")
