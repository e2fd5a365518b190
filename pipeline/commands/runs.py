"""Owns `securevqa runs` and `securevqa compare`: which runs there are, and what changed between two."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich.table import Table

from pipeline.commands.terminal import console, print_json, say
from pipeline.runs.changes import Changes, changes
from pipeline.runs.history import RunEntry, find_runs
from pipeline.runs.rundir import RunDirectory
from pipeline.text import literal
from securevqa_core.errors import ConfigurationError

__all__ = ["compare_command", "runs_command"]

_CHANGES_NAME = "changes.parquet"


def runs_command(
    location: Annotated[str, typer.Argument(help="Run directory, or a folder of them; local or s3://.")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list, for programs.")] = False,
) -> None:
    """List the runs in LOCATION with their counts, earlier reports included."""
    entries = find_runs(location)
    if as_json:
        print_json([asdict(one) for one in entries])
        return
    table = Table()
    for name in ("run", "report", "finished", "videos", "verdicts"):
        table.add_column(name, overflow="fold")
    for one in entries:
        table.add_row(*(literal(cell, console) for cell in _cells(one)))
    console.print(table)


def _cells(one: RunEntry) -> list[str]:
    if one.state == "unfinished":
        return [one.uri, one.state, "", "", ""]
    counts = [f"{count} {name}" for name, count in sorted(one.status.items(), reverse=True)]
    if one.num_left:
        counts.append(f"{one.num_left} left by the budget")
    verdicts = [f"{count} {name}" for name, count in sorted(one.verdict.items())]
    finished = (one.finished_at or "")[:16].replace("T", " ")
    videos = f"{one.rows}: {', '.join(counts)}"
    return [one.uri, f"{one.generation} {one.state}", finished, videos, ", ".join(verdicts)]


def compare_command(
    a: Annotated[str, typer.Argument(help="Run directory, the earlier one; local or s3://.")],
    b: Annotated[str, typer.Argument(help="Run directory to compare with it.")],
    at_least: Annotated[float, typer.Option(help="Points a score must have moved to be listed.")] = 1.0,
    rows: Annotated[int, typer.Option(help="Most changed videos to print.")] = 20,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help=f"Folder for all changed videos, {_CHANGES_NAME}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The counts as one JSON object.")] = False,
) -> None:
    """Show what changed in score and verdict between the finished runs A and B, of any checkpoints."""
    if rows < 0:
        raise ConfigurationError(f"rows must be >= 0, got {rows}")
    differences = changes(RunDirectory(a), RunDirectory(b), least_points=at_least)
    changed = differences.videos.filter(differences.videos["is_changed"])
    if output is not None:
        _write(RunDirectory(output), changed)
    if as_json:
        print_json(differences.record)
    else:
        _show(differences, changed, rows)


def _write(directory: RunDirectory, changed: pa.Table) -> None:
    directory.require_writable()
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink, compression="zstd")
    directory.write_file(sink.getvalue().to_pybytes(), _CHANGES_NAME)


def _show(differences: Changes, changed: pa.Table, num_rows: int) -> None:
    record = differences.record
    for name, (one, other) in record["differs_in"].items():
        say(f"{name}: {one} -> {other}")
    counts = record["videos"]
    say(
        f"{counts['in_both']} videos in both, {counts['only_in_a']} only in a, "
        f"{counts['only_in_b']} only in b, {counts['changed']} changed"
    )
    for kind in ("verdicts", "statuses"):
        for one in record[kind]:
            if one["a"] != one["b"]:
                say(f"{one['videos']} went from {one['a']} to {one['b']}")
    score = record["score"]
    if score["videos"]:
        summary = ", ".join(
            f"{name} {_number(score[name])}" for name in ("mean", "sd", "median", "largest", "srcc")
        )
        say(f"score b - a over {score['videos']} videos: {summary}")
    if changed.num_rows and num_rows:
        console.print(_table(changed, num_rows))


def _table(changed: pa.Table, num_rows: int) -> Table:
    size: Any = pc.abs(changed["difference"])
    size = pc.fill_null(size, float("inf"))
    ordered = changed.append_column("size", size).sort_by([("size", "descending"), ("video_id", "ascending")])
    table = Table()
    for name in ("video_id", "a", "b", "difference"):
        table.add_column(name, overflow="fold", justify="right" if name == "difference" else "left")
    for row in ordered.slice(0, num_rows).to_pylist():
        moved = "" if row["difference"] is None else f"{row['difference']:+.1f}"
        cells = (row["video_id"], _side(row, "a"), _side(row, "b"), moved)
        table.add_row(*(literal(cell, console) for cell in cells))
    return table


def _side(row: dict[str, Any], suffix: str) -> str:
    if not row[f"in_{suffix}"]:
        return "not there"
    score = row[f"score_{suffix}"]
    outcome = row[f"error_code_{suffix}"] or row[f"status_{suffix}"] if score is None else f"{score:.1f}"
    return f"{outcome} {row[f'verdict_{suffix}']}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"
