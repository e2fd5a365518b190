"""Owns `securevqa runs` and `securevqa compare`: which runs there are, and what changed between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich.table import Table

from operators.stage import FAILED
from pipeline.commands.terminal import console, print_json, say, write_csv
from pipeline.runs.changes import Changes, changes
from pipeline.runs.history import RunEntry, find_runs
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import Heading, file_names, fitted, short_ids
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
    entries = find_runs(location)
    if as_json:
        print_json([asdict(one) for one in entries])
    elif as_csv:
        write_csv(_entry_table(entries))
    else:
        _show_runs(entries, RunDirectory(location).shown())


def _show_runs(entries: Sequence[RunEntry], location: str) -> None:
    numbers = {"videos": [one.rows for one in entries]}
    numbers["failed"] = [one.status.get(FAILED, 0) for one in entries]  # neither failed nor left: scored
    numbers |= {"left": [one.num_left for one in entries]} if any(one.num_left for one in entries) else {}
    numbers |= {name: [one.verdict.get(name, 0) for one in entries] for name in _VERDICTS}
    headings = [
        Heading(name="run", is_wrapped=True),
        Heading(name="report"),
        Heading(name="finished"),
        *(Heading(name=name, is_number=True) for name in numbers),
    ]
    say(f"runs in {location}")
    rows = [
        [*_about(one, location), *([_count(counts[place], one)] for counts in numbers.values())]
        for place, one in enumerate(entries)
    ]
    console.print(fitted(headings, rows, console))
    if any(one.state == "unfinished" for one in entries):
        say("unfinished: what was committed so far; the same command again finishes it")


_VERDICTS = ("pass", "review", "reject")  # `securevqa_core.scoring` has them, and takes seconds to import


def _about(one: RunEntry, location: str) -> list[list[str]]:
    name = one.uri.removeprefix(location).strip("/") or one.uri.rstrip("/").rpartition("/")[2]
    report = [] if one.generation is None else [str(one.generation)]
    report += [one.state] if one.state == "archived" else []
    finished = (one.finished_at or "")[:16].split("T")
    if one.state == "unfinished":
        finished = ["unfinished"]
    return [[name], report, finished]


def _count(count: int | None, one: RunEntry) -> str:
    return "" if one.rows is None else str(count or 0)


def _entry_table(entries: Sequence[RunEntry]) -> pa.Table:
    """Return the entries as a table: a column for every count that one of them has."""
    groups = ("status", "verdict", "error_code")
    names = {group: sorted({name for one in entries for name in getattr(one, group)}) for group in groups}
    rows = []
    for one in entries:
        row = {name: value for name, value in asdict(one).items() if name not in groups}
        for group in groups:
            row |= {f"{group} {name}": getattr(one, group).get(name, 0) for name in names[group]}
        rows.append(row)
    return pa.Table.from_pylist(rows)


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
    if output is not None:
        RunDirectory(output).require_writable()
    differences = changes(RunDirectory(a), RunDirectory(b), least_points=at_least)
    changed = differences.videos.filter(differences.videos["is_changed"])
    if output is not None:
        _write(RunDirectory(output), changed)
    if as_json:
        print_json(differences.record)
    elif as_csv:
        write_csv(_ordered(changed))
    else:
        _show(differences, changed, rows)


def _write(directory: RunDirectory, changed: pa.Table) -> None:
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


def _ordered(changed: pa.Table) -> pa.Table:
    """Return what is not scored any more first, then what else has no difference, then the largest first."""
    rank = [
        0 if row["status_b"] == FAILED and row["status_a"] != FAILED else 1
        for row in changed.select(["status_a", "status_b"]).to_pylist()
    ]
    size: Any = pc.abs(changed["difference"])
    size = pc.fill_null(size, float("inf"))
    ranked = changed.append_column("rank", pa.array(rank, pa.int8())).append_column("size", size)
    keys = [("rank", "ascending"), ("size", "descending"), ("video_id", "ascending")]
    return ranked.sort_by(keys).drop_columns(["rank", "size"])  # type: ignore[arg-type]


def _table(changed: pa.Table, num_rows: int) -> Table:
    rows = _ordered(changed).slice(0, num_rows).to_pylist()
    headings = (
        Heading(name="video", is_wrapped=True),
        Heading(name="id"),
        Heading(name="a"),
        Heading(name="b"),
        Heading(name="difference", is_number=True),
    )
    ids = short_ids([row["video_id"] for row in rows])
    names = file_names([row["uri_b"] or row["uri_a"] or "" for row in rows])
    cells = []
    for name, one, row in zip(names, ids, rows, strict=True):
        moved = "" if row["difference"] is None else f"{row['difference']:+.1f}"
        cells.append(([name], [one], _side(row, "a"), _side(row, "b"), [moved]))
    return fitted(headings, cells, console)


def _side(row: dict[str, Any], suffix: str) -> list[str]:
    if not row[f"in_{suffix}"]:
        return ["not there"]
    score, verdict = row[f"score_{suffix}"], row[f"verdict_{suffix}"]
    if score is None:  # error codes are long: the verdict stands below
        return [row[f"error_code_{suffix}"] or row[f"status_{suffix}"], verdict]
    return [f"{score:.1f} {verdict}"]


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"
