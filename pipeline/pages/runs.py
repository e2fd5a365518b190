"""Owns runs, and what changed between two of them, as tables: on a terminal and for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console, RenderableType
from rich.table import Table

from operators.stage import FAILED
from pipeline.runs.changes import Changes
from pipeline.runs.history import COUNTED, VERDICTS, RunEntry
from pipeline.tables import Heading, file_names, fitted, json_text, short_ids
from pipeline.text import counted

__all__ = ["change_lines", "changed_first", "entry_table", "run_lines"]


def run_lines(entries: Sequence[RunEntry], location: str, console: Console) -> list[RenderableType]:
    """Return runs below a folder for people, in `console`'s width."""
    numbers = {"videos": [one.rows for one in entries]}
    numbers["failed"] = [one.status.get(FAILED, 0) for one in entries]  # neither failed nor left: scored
    numbers |= {"left": [one.num_left for one in entries]} if any(one.num_left for one in entries) else {}
    numbers |= {name: [one.verdict.get(name, 0) for one in entries] for name in VERDICTS}
    checkpoints = list(dict.fromkeys(one.checkpoint_id for one in entries if one.checkpoint_id))
    marks = {one: f"#{number}" for number, one in enumerate(checkpoints, start=1)}  # ids leave no room
    has_marks = len(checkpoints) > 1
    headings = [
        *(Heading(name=name, is_wrapped=name != "report") for name in ("run", "report", "finished")),
        *(Heading(name=name, is_number=True) for name in numbers),
        *([Heading(name="by")] if has_marks else []),
    ]
    rows = [
        [
            *_about(one, location),
            *([_count(counts[place], one)] for counts in numbers.values()),
            *([[marks.get(one.checkpoint_id or "", "")]] if has_marks else []),
        ]
        for place, one in enumerate(entries)
    ]
    shared = f", all of {checkpoints[0]}" if len(checkpoints) == 1 else ""
    lines: list[RenderableType] = [f"runs in {location}{shared}", fitted(headings, rows, console)]
    lines += [f"by {mark}: {name}" for name, mark in marks.items() if has_marks]
    if any(one.state == "unfinished" for one in entries):
        lines.append("unfinished: what was committed so far; the same command again finishes it")
    return lines


def _about(one: RunEntry, location: str) -> list[list[str]]:
    name = one.uri.removeprefix(location).strip("/") or one.uri.rstrip("/").rpartition("/")[2]
    report = [] if one.generation is None else [str(one.generation)]
    finished = [(one.finished_at or "")[:16].replace("T", " ")]
    if one.state == "unfinished":
        finished = ["unfinished"]
    return [[name], report, [*finished, "archived"] if one.state == "archived" else finished]


def _count(count: int | None, one: RunEntry) -> str:
    return "" if one.rows is None else str(count or 0)


def entry_table(entries: Sequence[RunEntry]) -> pa.Table:
    """Return the entries as a table, whose columns are the same whatever they counted."""
    rows = []
    for one in entries:
        row = asdict(one)
        counts = {name: row.pop(name) for name in COUNTED}
        for group, names in COUNTED.items():
            row |= {f"{group} {name}": counts[group].get(name) for name in names}
        rows.append(row | {"error_codes": json_text(counts["error_code"])})
    return pa.Table.from_pylist(rows)


def change_lines(differences: Changes, num_rows: int, console: Console) -> Iterator[RenderableType]:
    """Yield what changed for people, at most `num_rows` videos, in `console`'s width."""
    record = differences.record
    for side in ("a", "b"):
        yield f"{side}: {record[side]['uri']}, report {record[side]['generation']}"
    for name, (one, other) in record["differs_in"].items():
        yield f"{name}: {_setting(one)} -> {_setting(other)}"
    counts = record["videos"]
    yield (
        f"{counted(counts['in_both'], 'video')} in both, {counts['only_in_a']} only in a, "
        f"{counts['only_in_b']} only in b, {counts['changed']} changed"
    )
    for kind in ("verdicts", "statuses"):
        for one in record[kind]:
            if one["a"] != one["b"]:
                yield f"{one['videos']} went from {one['a']} to {one['b']}"
    score = record["score"]
    if score["videos"]:
        summary = ", ".join(
            f"{name} {_number(score[name])}" for name in ("mean", "sd", "median", "largest", "srcc")
        )
        yield f"score b - a over {counted(score['videos'], 'video')}: {summary}"
    changed = changed_first(differences)
    if changed.num_rows and num_rows:
        yield _table(changed.slice(0, num_rows), console)


def changed_first(differences: Changes) -> pa.Table:
    """Return the videos that changed: what is not scored any more, what has no difference, the largest."""
    changed = differences.videos.filter(differences.videos["is_changed"])
    rank = [
        0 if row["status_b"] == FAILED and row["status_a"] != FAILED else 1
        for row in changed.select(["status_a", "status_b"]).to_pylist()
    ]
    size: Any = pc.abs(changed["difference"])
    size = pc.fill_null(size, float("inf"))
    ranked = changed.append_column("rank", pa.array(rank, pa.int8())).append_column("size", size)
    keys = [("rank", "ascending"), ("size", "descending"), ("video_id", "ascending")]
    return ranked.sort_by(keys).drop_columns(["rank", "size"])  # type: ignore[arg-type]


def _table(changed: pa.Table, console: Console) -> Table:
    rows = changed.to_pylist()
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


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    return json_text(value) if isinstance(value, dict | list) else str(value)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"
