"""Owns what a folder says of itself: that a run has begun there, or that runs share the rows that it holds.

OUTPUT/begun.json    from the moment a run has something to do until its report is published
STATE/state.json     which columns the rows committed there have had, and the key they were drawn with
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow as pa

from operators.schema import Row
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError

__all__ = [
    "BEGUN_NAME",
    "STATE_NAME",
    "committed_keys",
    "mark_begun",
    "mark_shared",
    "shared_key",
    "unmark_begun",
]

BEGUN_NAME = "begun.json"
STATE_NAME = "state.json"
_OF_A_KEY = ("key_id", "randomness")
LAYOUT = 1  # of a state folder; one of a later version of this software is not written to


def mark_begun(directory: RunDirectory, state: RunDirectory, *, run_id: str) -> None:
    """Say that a run is at work here, which commits its rows in `state`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    directory.write_json({"run_id": run_id, "begun_at": now, "rows": state.shown()}, BEGUN_NAME)


def unmark_begun(directory: RunDirectory) -> None:
    """Say that it is done."""
    directory.remove_file(BEGUN_NAME)


def shared_key(state: RunDirectory) -> Row | None:
    """Return key_id and randomness of the rows that runs share, None where there are none yet.

    Raises:
        OutputError: the record is not ours, or of a layout that this version does not know.
    """
    content = state.read_file(STATE_NAME)
    record = {} if content is None else _record(content, state.shown(STATE_NAME))
    if "key" in record:
        return dict(record["key"])
    # Of before there was a record of it, when there could be several: the last one counts.
    keys = committed_keys(state)
    return keys[-1] if keys else None


def committed_keys(directory: RunDirectory) -> list[Row]:
    """Return key_id and randomness of the rows that were committed here, the key of the latest row last."""
    if not directory.has_commits():
        return []
    rows = directory.committed_rows(list(_OF_A_KEY)).select(list(_OF_A_KEY))
    numbered = rows.append_column("number", pa.array(range(rows.num_rows), pa.int64()))
    latest = numbered.group_by(list(_OF_A_KEY)).aggregate([("number", "max")]).sort_by("number_max")
    return [row for row in latest.select(list(_OF_A_KEY)).to_pylist() if row["key_id"] is not None]


def mark_shared(state: RunDirectory, *, provenance: Row) -> None:
    """Record that runs share these rows, their key, and which columns theirs have beside those of others.

    Raises:
        OutputError: the record is not ours, or of a layout that this version does not know.
    """
    content = state.read_file(STATE_NAME)
    record = {} if content is None else _record(content, state.shown(STATE_NAME))
    known = dict(record.get("columns", {}))
    key = {name: provenance[name] for name in _OF_A_KEY}
    columns = {name: list(types) for name, types in known.items()}
    for field in state.outcome:
        types = columns.setdefault(field.name, [])
        if str(field.type) not in types:
            types.append(str(field.type))
    if columns != known or key != record.get("key"):
        state.write_json({"layout": LAYOUT, "columns": columns, "key": key}, STATE_NAME)


def _record(content: bytes, shown: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(content)
        layout, _ = int(record["layout"]), dict(record["columns"])
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{shown!r} is not the state.json of rows that runs share") from error
    if layout > LAYOUT:
        raise OutputError(f"{shown!r} has layout {layout}, of a later version; this one knows {LAYOUT}")
    return record
