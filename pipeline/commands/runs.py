"""Owns `securevqa runs` and `securevqa compare`: which runs there are, and what changed between two."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from operators.uris import absolute_uri
from pipeline.commands.places import require_output
from pipeline.commands.terminal import console, events, print_json, show, write_csv
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError

__all__ = ["compare_command", "runs_command"]

_CHANGES_NAME = "changes.parquet"


def runs_command(
    location: Annotated[str, typer.Argument(help="Run directory, or a folder of them; local or s3://.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, for programs.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, for spreadsheets.")] = False,
) -> None:
    """List the runs in LOCATION with their counts, earlier reports and unfinished runs included."""
    _require_one_form(as_json=as_json, as_csv=as_csv)
    with events.doing("looking for runs", is_logged=False):
        from pipeline.pages.runs import entry_table, run_lines  # noqa: PLC0415
        from pipeline.runs.history import find_runs  # noqa: PLC0415 - imports that help need not wait for
        from pipeline.runs.rundir import RunDirectory  # noqa: PLC0415

        place = absolute_uri(location)  # so that names are relative to it, whatever it was called
        entries = find_runs(place)
    record = [asdict(one) for one in entries]
    if as_csv:
        write_csv(entry_table(entries))
    elif as_json:
        print_json(record)
    else:
        show(Result(record=record, shown=run_lines(entries, RunDirectory(place).shown(), console)))


def _require_one_form(*, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise ConfigurationError("--json and --csv exclude each other")


def compare_command(
    a: Annotated[str, typer.Argument(help="Run directory, the earlier one; local or s3://.")],
    b: Annotated[str, typer.Argument(help="Run directory to compare with it.")],
    at_least: Annotated[float, typer.Option(help="Points a score must have moved to be listed.")] = 1.0,
    rows: Annotated[int, typer.Option(help="Most changed videos to print.")] = 20,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help=f"Folder for all changed videos, {_CHANGES_NAME}; default: none."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as one JSON object.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All changed videos as CSV.")] = False,
) -> None:
    """Show what changed in score and verdict between the finished runs A and B, of any checkpoints."""
    _require_one_form(as_json=as_json, as_csv=as_csv)
    if rows < 0:
        raise ConfigurationError(f"rows must be >= 0, got {rows}")
    with events.doing("comparing", is_logged=False):
        from pipeline.pages.runs import change_lines, changed_first  # noqa: PLC0415
        from pipeline.runs.changes import changes  # noqa: PLC0415 - as above
        from pipeline.runs.finished import finished_directory  # noqa: PLC0415
        from pipeline.runs.rundir import RunDirectory  # noqa: PLC0415

        if output is not None:
            require_output("output", output)
            RunDirectory(output).require_writable()
        differences = changes(*map(finished_directory, (a, b)), least_points=at_least)
    if output is not None:
        changed = differences.videos.filter(differences.videos["is_changed"])
        from pipeline.tables import parquet_bytes  # noqa: PLC0415 - as above

        RunDirectory(output).write_file(parquet_bytes(changed), _CHANGES_NAME)
    if as_csv:
        write_csv(changed_first(differences))
    elif as_json:
        print_json(differences.record)
    else:
        lines = list(change_lines(differences, rows, console))
        show(Result(record=differences.record, shown=lines))
