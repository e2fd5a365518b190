"""Owns reading a finished run: run.json first, then the files of the report that it names, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from operators.schema import REPORT
from operators.storage import storage_error
from pipeline.runs.generations import read_report_files
from pipeline.runs.history import unfinished_run
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import parquet_table
from pipeline.text import counted
from securevqa_core.errors import AbsentRunError, ConfigurationError, OutputError

__all__ = ["finished_directory", "no_run", "read_finished_run", "worst_first"]

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


Columns = Sequence[str] | Callable[[list[str]], list[str]] | None


def finished_directory(uri: str) -> RunDirectory:
    """Return the run directory that people name, by itself or by the folder of rows in it.

    finished_directory("scored"), finished_directory("scored/report") -> that of "scored"
    """
    given = RunDirectory(uri)
    parent, _, name = uri.rstrip("/").rpartition("/")
    if name != "report" or given.read_run() is not None:
        return given
    above = RunDirectory(parent or ("/" if uri.startswith("/") else "."))
    return given if above.read_run() is None else above


def no_run(directory: RunDirectory) -> str:
    """Say what a place without a report is, and what makes it one."""
    holds = f"{directory.shown()!r} holds no run.json"
    begun = None
    with contextlib.suppress(OutputError):  # of a server that lists no files
        begun = unfinished_run(directory)
    if begun is None:
        return f"{holds}: not a run, or not a finished one"
    done = "" if begun.rows is None else f", {counted(begun.rows, 'video')} so far"
    return f"{holds}: a run that is not finished{done}; the same command again finishes it"


def read_finished_run(
    directory: RunDirectory, *, columns: Columns = _COLUMNS_AT_A_GLANCE
) -> tuple[dict[str, Any], pa.Table]:
    """Return run.json and columns of the report: those that people look at first; all of them for None.

    Columns may be chosen by a function of the names there are, whose ConfigurationError comes before the
    second file is read.

    Raises:
        AbsentRunError: there is no run.json.
        OutputError: the files it names are missing, changed or not a report.
    """
    try:
        run = directory.read_run()
        report = None if run is None else _read_report(directory, run, columns)
    except (ConfigurationError, OutputError):
        raise
    except Exception as error:
        reason = storage_error(error)
        raise OutputError(f"report of {directory.shown()!r} cannot be read: {reason}") from error
    if run is None or report is None:
        raise AbsentRunError(no_run(directory))
    if run.get("rows", report.num_rows) != report.num_rows:
        found = f"{counted(report.num_rows, 'row')} and its run.json says {run['rows']}"
        raise OutputError(f"report of {directory.shown()!r} has {found}")
    return run, report


def worst_first(report: pa.Table) -> pa.Table:
    """Return the scored rows from the lowest score_lower up, then the failed ones by error_code."""
    return report.sort_by([("score_lower", "ascending"), ("error_code", "ascending"), ("uri", "ascending")])


def _read_report(directory: RunDirectory, run: dict[str, Any], columns: Columns) -> pa.Table:
    def chosen(content: bytes) -> Sequence[str] | None:
        return columns(pq.read_schema(pa.BufferReader(content)).names) if callable(columns) else columns

    parts = [parquet_table(one, chosen(one)) for one in read_report_files(directory, run)]
    if not parts:
        return REPORT.empty_table().select(
            columns(REPORT.names) if callable(columns) else columns or REPORT.names
        )
    return pa.concat_tables(parts)
