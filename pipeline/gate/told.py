"""Owns what people are told of a gate's decisions: counts, shares, broken limits, and reasons by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.gate.what_if_table import measured, share
from pipeline.tables import file_names, plain
from pipeline.text import counted, printable

__all__ = ["gate_lines"]

SHOWN_REASONS = 20  # of each list, in a dry run


def gate_lines(about: dict[str, Any], lists: Iterable[pa.Table]) -> Iterator[RenderableType]:
    """Yield what was decided, and of a dry run why; `about`: of gate.json."""
    num_rows = about["rows"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(counted(num_rows, "video"), overflow="fold")
    for name in ("count", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in ("decisions", "rules", "withheld"):
        for name, count in about[group].items():
            what = Text(printable(f"{_LABELS[group]} {name}"))
            table.add_row(what, str(count), share(count, num_rows))
    table.add_row("rule (none holds)", str(about["by_default"]), share(about["by_default"], num_rows))
    yield table
    if about["dry_run"]:
        yield from _reasons([plain(table.slice(0, SHOWN_REASONS)).to_pylist() for table in lists])
    for one in about["broken_limits"]:
        found = measured(one["found"])
        yield f"limit {one['limit']} = {one['wanted']:g} is broken: {found}; nothing is published"
    done = "dry run, nothing written" if about["dry_run"] else f"written: {about['output']}"
    yield done


_LABELS = {"decisions": "decision", "rules": "rule", "withheld": "withheld"}


def _reasons(lists: Iterable[list[dict[str, Any]]]) -> Iterator[str]:
    rows = [row for one in lists for row in one]
    for name, row in zip(file_names([row["uri"] for row in rows]), rows, strict=True):
        yield f"{row['decision']} {name or 'of no URI'} ({row['video_id']}): {row['reason']}"
