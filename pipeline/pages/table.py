"""Owns a finished run as a table on a terminal, the worst rows first."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from operators.schema import Row
from pipeline.runs.finished import read_finished_run, worst_first
from pipeline.runs.rundir import RunDirectory
from pipeline.text import file_names, literal
from securevqa_core.errors import ConfigurationError

__all__ = ["DEFAULT_ROWS", "show_report"]

DEFAULT_ROWS = 20
MAX_WIDTH = 140


def show_report(directory: RunDirectory, *, num_rows: int = DEFAULT_ROWS, console: Console) -> None:
    """Print the worst `num_rows` rows of a finished run, and how many rows there are of each kind.

    Raises:
        ConfigurationError: `num_rows` is below 1.
        OutputError: there is no finished run, or it cannot be read.
    """
    if num_rows < 1:
        raise ConfigurationError(f"rows must be >= 1, got {num_rows}")
    run, report = read_finished_run(directory)
    rows = worst_first(report).slice(0, num_rows).to_pylist()
    console.print(_table(rows, console))
    summary = f"{len(rows)} of {report.num_rows} videos shown, worst first"
    counts = ", ".join(f"{count} {kind}" for kind, count in _kinds(report))
    console.print(literal(f"{summary}: {counts}" if counts else summary, console))
    if "untrained" in report["checkpoint_status"].to_pylist():
        console.print("checkpoint_status = untrained: these scores mean nothing, and every verdict is review")
    source = f"report: {directory.shown('report')}, finished {run.get('finished_at')}"
    console.print(literal(source, console), soft_wrap=True)


def _kinds(report: pa.Table) -> list[tuple[str, int]]:
    """Count scored rows, then each error."""
    outcomes = zip(report["error_code"].to_pylist(), report["status"].to_pylist(), strict=True)
    kinds = Counter(str(code or status) for code, status in outcomes)
    return sorted(kinds.items(), key=lambda kind: (kind[0] != "scored", kind[0]))


def _table(rows: list[Row], console: Console) -> Table:
    width = min(console.width, MAX_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False, width=width)
    # Fixed widths, and what is left shared by two columns: rich would squeeze the last column away at 80.
    table.add_column("video", overflow="fold", ratio=5)
    table.add_column("score lower", justify="right", width=5)
    table.add_column("score", justify="right", width=5)
    table.add_column("verdict", width=7)
    table.add_column("checkpoint status", overflow="fold", width=10)
    table.add_column("frames, size", overflow="fold", width=13)
    table.add_column("status, decode warnings", overflow="fold", ratio=4)
    for name, row in zip(file_names([row["uri"] for row in rows]), rows, strict=True):
        cells = (
            name,
            _points(row["score_lower"]),
            _points(row["score"]),
            row["verdict"],
            row["checkpoint_status"],
            _size(row),
        )
        outcome = [row["error_code"] or row["status"], *(row["decode_warnings"] or [])]
        lines = Text("\n").join(literal(line, console) for line in outcome)
        table.add_row(*(literal(cell or "", console) for cell in cells), lines)
    return table


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _size(row: Row) -> str:
    if row["width"] is None:
        return ""
    return f"{row['num_frames']} {row['width']}x{row['height']}"
