"""Owns local files that are there as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from securevqa_core.files import whole_file

__all__ = ["write_json", "write_rows", "write_whole"]


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make the file: see `securevqa_core.files.whole_file`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        write(part)


def write_json(path: Path, content: Any) -> None:
    """Write what JSON can hold, for people to read."""
    write_whole(path, lambda part: part.write_text(json.dumps(content, indent=2) + "\n"))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as Parquet; a column that a row lacks is null in it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    write_whole(path, lambda part: pq.write_table(table, part))
