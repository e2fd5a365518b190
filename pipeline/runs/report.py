"""Owns the report: exactly one row per manifest row, in the manifest's order, whatever happened."""

from __future__ import annotations

import datetime
import uuid
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.schema import CALL, ROW_KEY, Row, texts
from operators.stage import FAILED
from pipeline.runs.copies import NearCopies
from pipeline.runs.generations import write_report_file
from pipeline.runs.key_index import KeyIndex
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.spool import Spool
from securevqa_core.scoring import Thresholds, verdict

__all__ = [
    "PENDING",
    "ROWS_PER_FILE",
    "STAGE_SECONDS",
    "Summary",
    "write_report",
]

PENDING = "pending"  # status of a video that no run has begun yet
ROWS_PER_FILE = 10_000  # which memory holds
BYTES_PER_FILE = 256 << 20  # of embeddings
STAGE_SECONDS = {"fetch": "fetch_seconds", "decode": "decode_seconds", "model": "model_seconds"}


@dataclass(slots=True)
class Summary:
    """What a report holds, counted while it is written."""

    rows: int = 0
    files: list[dict[str, Any]] = field(default_factory=list)  # name, size_bytes and sha256 of each
    by_status: Counter[str] = field(default_factory=Counter)
    by_verdict: Counter[str] = field(default_factory=Counter)
    by_error: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, table: pa.Table, file: dict[str, Any]) -> None:
        """Count the rows of one file."""
        self.rows += table.num_rows
        self.files.append(file)
        self.by_status.update(_counts(table["status"]))
        self.by_verdict.update(_counts(table["verdict"]))
        self.by_error.update(_counts(table["error_code"]))
        for stage, column in STAGE_SECONDS.items():
            self.seconds[stage] += pc.sum(table[column]).as_py() or 0.0  # type: ignore[assignment]


def _counts(column: pa.ChunkedArray[Any]) -> dict[str, int]:
    """Count the values that are not null."""
    counts: list[Any] = (
        pa.Table.from_arrays([column], names=["value"])
        .group_by("value")
        .aggregate([("value", "count")])
        .to_pylist()
    )
    return {one["value"]: one["value_count"] for one in counts if one["value_count"]}


def write_report(
    directory: RunDirectory,
    manifest: pa.Table | Spool,
    *,
    provenance: Row,
    state: RunDirectory | None = None,
    pending: Container[str] = (),
    thresholds: Thresholds | None = None,
    generation: int = 1,
    writer: str | None = None,
    index: KeyIndex | None = None,
    copies: NearCopies | None = None,
) -> Summary:
    """Join the manifest with the committed rows and write the report's files, beside those that are there.

    Args:
        directory: the run directory.
        manifest: row_key, video_id, uri, then the columns that pass through.
        provenance: what rows that never came back are given.
        state: where the committed rows are, if elsewhere.
        pending: row keys that a budget left for another run.
        thresholds: of verdicts now; None: they stay those of when the rows were committed.
        generation: number of this report.
        writer: what no other writer of this generation is called; None: a new name.
        index: of the manifest's row keys, where there is one.
        copies: what is known of near copies; None: they are not looked for.

    Returns:
        The counts; its `rows` equals `manifest.num_rows`.
    """
    summary = Summary()
    writer = writer or uuid.uuid4().hex[:12]
    state = state or directory
    report = pa.schema([field for field in state.outcome if field.name not in (ROW_KEY, CALL)])
    rows_per_file = _rows_per_file(report)
    if index is None:
        index = KeyIndex(manifest.row_keys() if isinstance(manifest, Spool) else manifest[ROW_KEY])
    groups = _groups_of_files(state, index, rows_per_file)
    for number, start in enumerate(range(0, manifest.num_rows, rows_per_file)):
        part = manifest.slice(start, rows_per_file)
        outcomes = _outcomes(state, part, provenance, pending, groups=groups.get(number, []))
        table = outcomes.select(report.names).cast(report)
        if thresholds is not None:
            table = _judged(table, thresholds)
        if copies is not None:
            table = copies.fill(table)
        for name in part.column_names:
            if name not in (ROW_KEY, *report.names):
                table = table.append_column(part.schema.field(name), part[name])
        file = write_report_file(directory, table, number, generation=generation, writer=writer)
        summary.add(table, file)
    return summary


def _rows_per_file(report: pa.Schema) -> int:
    """Return fewer than `ROWS_PER_FILE` where embeddings make rows large: a file is held in memory."""
    row_bytes = sum(_fixed_bytes(field.type) for field in report if pa.types.is_fixed_size_list(field.type))
    return max(1, min(ROWS_PER_FILE, BYTES_PER_FILE // max(row_bytes, 1)))


def _fixed_bytes(kind: Any) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _fixed_bytes(kind.value_type)
    return int(kind.byte_width)


def _groups_of_files(state: RunDirectory, index: KeyIndex, rows_per_file: int) -> dict[int, list[list[str]]]:
    """Return for every file of a report, by number, which groups of committed files hold rows of it."""
    found: dict[int, list[list[str]]] = {}
    for group in state.committed_groups():
        for part in state.committed_parts([], groups=[group]):
            places = index.places(part[ROW_KEY])
            for number in np.unique(places[places >= 0] // rows_per_file).tolist():
                found.setdefault(number, []).append(group)
    return found


def _outcomes(
    state: RunDirectory,
    manifest: pa.Table,
    provenance: Row,
    pending: Container[str],
    *,
    groups: list[list[str]],
) -> pa.Table:
    """Return one OUTCOME row per manifest row, in the same order, of what a few groups of files hold."""
    keys = texts(manifest, ROW_KEY)
    names = state.outcome.names
    committed = state.committed_rows(names, keys=keys, groups=groups).select(names)
    lost = manifest.filter(pc.is_null(_positions(manifest, committed)))
    if lost.num_rows:
        rows = [
            row | provenance | (_pending() if row[ROW_KEY] in pending else _lost())
            for row in lost.select([ROW_KEY, "video_id", "uri"]).to_pylist()
        ]
        committed = pa.concat_tables([committed, pa.Table.from_pylist(rows, schema=state.outcome)])
    return committed.take(_positions(manifest, committed))


def _judged(table: pa.Table, thresholds: Thresholds) -> pa.Table:
    """Return the rows with the verdicts of these thresholds."""
    names = ("score_lower", "checkpoint_status", "decode_warnings")
    scored = zip(*(table[name].to_pylist() for name in names), strict=True)
    verdicts = [
        verdict(lower, checkpoint_status=str(status), thresholds=thresholds, warnings=warnings)
        for lower, status, warnings in scored
    ]
    place = table.schema.get_field_index("verdict")
    return table.set_column(place, table.schema.field("verdict"), pa.array(verdicts, pa.string()))


def _positions(manifest: pa.Table, committed: pa.Table) -> Any:
    """Return where each row of the manifest is among the committed ones, null where it is not."""
    positions: Any = pc.index_in(manifest[ROW_KEY], value_set=committed[ROW_KEY].combine_chunks())
    return positions


def _lost() -> dict[str, Any]:
    return {
        "status": FAILED,
        "stage": "score",
        "error_code": "worker_lost",
        "error_message": "no worker returned this row; run the same command again to try once more",
        "verdict": "review",
        "scored_at": datetime.datetime.now(datetime.UTC),
    }


def _pending() -> dict[str, Any]:
    """Return what is said of a video that a budget left for another run: nothing failed, nothing is known."""
    return {"status": PENDING, "verdict": "review"}
