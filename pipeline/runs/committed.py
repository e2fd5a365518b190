"""Owns tables of committed rows: which is the newest of a row key, and which files memory holds together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from operators.schema import CALL, ROW_KEY

__all__ = ["fit", "grouped", "in_order", "newest_rows", "of_equal_columns"]

FILES_AT_ONCE = 100  # of which the footers are held, 150 kB each
pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type


def grouped(
    commits: dict[str, list[str]], sizes: Mapping[str, int], *, max_bytes: int
) -> Iterator[dict[str, list[str]]]:
    """Yield groups of commits, each of `FILES_AT_ONCE` or `max_bytes`, whichever is reached first."""
    group: dict[str, list[str]] = {}
    for name, paths in commits.items():
        group[name] = paths
        files = [path for paths in group.values() for path in paths]
        if len(files) >= FILES_AT_ONCE or sum(sizes[path] for path in files) >= max_bytes:
            yield group
            group = {}
    if group:
        yield group


def of_equal_columns(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables, those of equal names and types of columns in one."""
    groups: dict[str, list[pa.Table]] = {}
    for table in tables:
        groups.setdefault(repr([(field.name, str(field.type)) for field in table.schema]), []).append(table)
    for group in groups.values():
        yield pa.concat_tables(group)


def fit(own: pa.Schema, wanted: Sequence[pa.Field[Any]]) -> bool:
    """Tell whether a file's columns are of the types that are wanted, or absent."""
    return all(own.field(one.name).type == one.type for one in wanted if one.name in own.names)


def in_order(rows: pa.Table) -> pa.Table:
    """Return rows oldest first: by the call that brought them, within one by the workers' clocks.

    Those of before calls had numbers come first, by the clocks alone.
    """
    calls = pc.fill_null(rows[CALL], 0).to_numpy()
    times = pc.fill_null(rows["scored_at"].cast(pa.int64()), 0).to_numpy()
    return rows.take(np.lexsort((times, calls)))


def newest_rows(rows: pa.Table) -> pa.Table:
    """Return the last row of every row key, of rows oldest first, in their order: the one that counts."""
    numbered = rows.select([ROW_KEY]).append_column("number", pa.array(np.arange(rows.num_rows)))
    newest = numbered.group_by(ROW_KEY).aggregate([("number", "max")])
    return rows.take(newest.sort_by("number_max")["number_max"])
