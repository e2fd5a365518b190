"""Owns the generations of a report: files that never change, and how one takes the place of another.

                      report/              run.json   generations/0001/
generation 1          1                    1
archived              1                    1          a copy of 1, its run.json last
written               1 and parts of 2     1          1
published             1 and 2              2          1
cleared               2                    2          1

A writer may be killed between any two of these: run.json names a generation that is there as a whole. No
file is ever written twice: names hold the generation and the writer.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError

__all__ = ["archive_report", "clear_report", "last_generation", "read_report_files", "write_report_file"]


def write_report_file(
    directory: RunDirectory, table: pa.Table, number: int, *, generation: int, writer: str
) -> dict[str, Any]:
    """Write one file of a report.

    Args:
        directory: the run directory.
        table: its rows.
        number: of the file, in the report's order.
        generation: of the report.
        writer: what no other call that writes this generation is called.

    Returns:
        What run.json says of it: `name` below the run directory, `size_bytes`, `sha256`.
    """
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue()
    name = f"report/report-{generation:04d}-{writer}-{number:05d}.parquet"
    directory.write_file(content, name)
    return {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def read_report_files(directory: RunDirectory, run: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the content of every file that run.json names, as it was written.

    Where the next generation has taken its place meanwhile, it is in the archive.

    Raises:
        OutputError: a file is in neither place, or it is not the one that was written.
    """
    for one in run["files"]:
        file = {"name": one} if isinstance(one, str) else one  # the first versions knew no more of them
        content = directory.read_file(file["name"])
        if content is None:
            content = directory.read_file(_home(run), file["name"])
        shown = directory.shown(file["name"])
        if content is None:
            raise OutputError(f"report file {shown!r} is named by run.json and is not there")
        if len(content) != file.get("size_bytes", len(content)):
            written = f"{file['size_bytes']} bytes were written, {len(content)} are there"
            raise OutputError(f"report file {shown!r} is not the one that run.json names: {written}")
        if (wanted := file.get("sha256")) and hashlib.sha256(content).hexdigest() != wanted:
            raise OutputError(f"report file {shown!r} is not the one that run.json names: its digest differs")
        yield content


def file_names(run: Mapping[str, Any]) -> list[str]:
    """Return the names of a report's files below its run directory."""
    return [one if isinstance(one, str) else one["name"] for one in run["files"]]


def last_generation(directory: RunDirectory, run: Mapping[str, Any] | None) -> int:
    """Return the number of the latest report, current or archived; 0 where there is none."""
    archived = [int(name) for name in directory.folders("generations") if name.isdigit()]
    return max([*archived, run["generation"] if run else 0], default=0)


def archive_report(directory: RunDirectory, run: Mapping[str, Any]) -> None:
    """Copy the current report to generations/, safe to repeat after an interruption."""
    if _is_archived(directory, run):  # which somebody may be reading
        return
    for name in file_names(run):
        directory.copy_file(name, f"{_home(run)}/{name}")
    directory.write_json(dict(run), _home(run), "run.json")


def clear_report(directory: RunDirectory, run: Mapping[str, Any]) -> None:
    """Remove from report/ what run.json does not name: the last generation, and what killed writers left."""
    named = set(file_names(run))
    for name in directory.files("report"):
        if f"report/{name}" not in named:
            directory.remove_file("report", name)


def _is_archived(directory: RunDirectory, run: Mapping[str, Any]) -> bool:
    content = directory.read_file(_home(run), "run.json")
    return content is not None and json.loads(content) == run


def _home(run: Mapping[str, Any]) -> str:
    return f"generations/{run['generation']:04d}"
