"""Owns the report: exactly one row per manifest row, in the manifest's order, whatever happened."""

from __future__ import annotations

import datetime
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.schema import OUTCOME, REPORT, ROW_KEY, Row, texts
from operators.stage import FAILED
from pipeline.rundir import RunDirectory
from securevqa_core.errors import ManifestError

__all__ = ["ROWS_PER_FILE", "STAGE_SECONDS", "Summary", "require_parquet", "write_report"]

ROWS_PER_FILE = 100_000
STAGE_SECONDS = {"fetch": "fetch_seconds", "decode": "decode_seconds", "model": "model_seconds"}


@dataclass(slots=True)
class Summary:
    """What a report holds, counted while it is written."""

    rows: int = 0
    files: list[str] = field(default_factory=list)
    by_status: Counter[str] = field(default_factory=Counter)
    by_verdict: Counter[str] = field(default_factory=Counter)
    by_error: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def add(self, table: pa.Table, name: str) -> None:
        """Count the rows of one file."""
        self.rows += table.num_rows
        self.files.append(name)
        self.by_status.update(texts(table, "status"))
        self.by_verdict.update(texts(table, "verdict"))
        self.by_error.update(texts(table, "error_code"))
        for stage, column in STAGE_SECONDS.items():
            self.seconds[stage] += sum(value or 0.0 for value in table[column].to_pylist())  # type: ignore[assignment]


def require_parquet(manifest: pa.Table) -> None:
    """Refuse columns that no report could hold, before anything is scored.

    Raises:
        ManifestError: Parquet has no place for a column's type.
    """
    try:
        pq.write_table(manifest.slice(0, 0), io.BytesIO())
    except pa.ArrowException as error:
        raise ManifestError(f"a column of the manifest cannot be written to the report: {error}") from error


def write_report(directory: RunDirectory, manifest: pa.Table, *, provenance: Row) -> Summary:
    """Join the manifest with the committed rows and write the report's files.

    Args:
        directory: the run directory.
        manifest: row_key, video_id, uri, then the columns that pass through.
        provenance: what rows that never came back are given.

    Returns:
        The counts; its `rows` equals `manifest.num_rows`.
    """
    summary = Summary()
    directory.clear_report()
    for number, start in enumerate(range(0, manifest.num_rows, ROWS_PER_FILE)):
        part = manifest.slice(start, ROWS_PER_FILE)
        outcomes = _outcomes(directory, part, provenance)
        table = outcomes.select(REPORT.names).cast(REPORT)
        for name in part.column_names:
            if name not in (ROW_KEY, *REPORT.names):
                table = table.append_column(part.schema.field(name), part[name])
        summary.add(table, directory.write_report_file(table, number))
    return summary


def _outcomes(directory: RunDirectory, manifest: pa.Table, provenance: Row) -> pa.Table:
    """Return one OUTCOME row per manifest row, in the same order."""
    keys = texts(manifest, ROW_KEY)
    committed = directory.committed_rows(OUTCOME.names, keys=keys).select(OUTCOME.names)
    position = {key: index for index, key in enumerate(committed[ROW_KEY].to_pylist())}
    identity = manifest.select([ROW_KEY, "video_id", "uri"]).to_pylist()
    lost = [row for row in identity if row[ROW_KEY] not in position]
    if lost:
        position |= {row[ROW_KEY]: committed.num_rows + index for index, row in enumerate(lost)}
        rows = [row | provenance | _lost() for row in lost]
        committed = pa.concat_tables([committed, pa.Table.from_pylist(rows, schema=OUTCOME)])
    return committed.take([position[key] for key in keys])


def _lost() -> dict[str, Any]:
    return {
        "status": FAILED,
        "stage": "score",
        "error_code": "worker_lost",
        "error_message": "no worker returned this row; run the same command again to try once more",
        "verdict": "review",
        "scored_at": datetime.datetime.now(datetime.UTC),
    }
