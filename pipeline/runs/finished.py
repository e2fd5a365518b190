"""Owns reading a finished run: run.json first, then the files of the report that it names, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from operators.schema import REPORT
from operators.storage import storage_error
from pipeline.runs.generations import read_report_files
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import parquet_table
from securevqa_core.errors import OutputError

__all__ = ["read_finished_run", "worst_first"]

_COLUMNS_AT_A_GLANCE = (
    "uri",
    "status",
    "error_code",
    "score",
    "score_lower",
    "verdict",
    "width",
    "height",
    "num_frames",
    "decode_warnings",
    "checkpoint_status",
)


def read_finished_run(
    directory: RunDirectory, *, columns: Sequence[str] | None = _COLUMNS_AT_A_GLANCE
) -> tuple[dict[str, Any], pa.Table]:
    """Return run.json and columns of the report: those that people look at first; all of them for None.

    Raises:
        OutputError: there is no run.json, or the files it names are missing, changed or not a report.
    """
    try:
        run = directory.read_run()
        report = None if run is None else _read_report(directory, run, columns)
    except OutputError:
        raise
    except Exception as error:
        reason = storage_error(error)
        raise OutputError(f"report of {directory.shown()!r} cannot be read: {reason}") from error
    if run is None or report is None:
        raise OutputError(f"{directory.shown()!r} holds no run.json: not a run, or not a finished one")
    if run.get("rows", report.num_rows) != report.num_rows:
        counted = f"{report.num_rows} rows and its run.json says {run['rows']}"
        raise OutputError(f"report of {directory.shown()!r} has {counted}")
    return run, report


def worst_first(report: pa.Table) -> pa.Table:
    """Return the scored rows from the lowest score_lower up, then the failed ones by error_code."""
    return report.sort_by([("score_lower", "ascending"), ("error_code", "ascending"), ("uri", "ascending")])


def _read_report(directory: RunDirectory, run: dict[str, Any], columns: Sequence[str] | None) -> pa.Table:
    parts = [parquet_table(one, columns) for one in read_report_files(directory, run)]
    if not parts:
        return REPORT.empty_table().select(columns or REPORT.names)
    return pa.concat_tables(parts)
