"""Owns the list of all videos on a page: what each is called, and the rows that its script sorts and filters.

    named_rows -> listed_rows ─┬─> the first PAGE_ROWS as HTML: all that a browser without scripts shows
                               └─> all of them as JSON, of which the script makes rows like the first

A row is a list of what its cells hold; FIELDS says which is where. No value is ever read as HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from operators.schema import Row
from operators.storage import redact
from pipeline.tables import readable, row_names, short_ids
from pipeline.text import BLANK, printable
from securevqa_core.doubts import doubts

__all__ = ["FIELDS", "MAX_LISTED", "PAGE_ROWS", "group_names", "listed_kinds", "listed_rows", "named_rows"]

MAX_LISTED = 100_000  # rows that a browser sorts at once: 20 MB
PAGE_ROWS = 50  # that are shown at a time
# Where values stand in a row, by what the template and the script call them.
FIELDS = {
    name: place
    for place, name in enumerate(
        (
            "name",
            "id",
            "folder",  # what the address has before the name, "" where the name is the whole of it
            "in_doubt",
            "lower",
            "score",
            "verdict",
            "outcome",  # scored, pending or the error
            "warnings",
            "size",
            "seconds",
            "group",
        )
    )
}


def named_rows(report: pa.Table) -> list[Row]:
    """Return the rows of a report, each with `name`, `short_id` and `address` for people.

    A name is as short as no other row has one, and a row without a URI is named by its number, so rows are in
    the manifest's order. These three replace columns of the report with their names.
    """
    ids, uris = (
        ["" if one is None else str(one) for one in report[name].to_pylist()] for name in ("video_id", "uri")
    )
    columns = {name: readable(report[name]) for name in report.column_names}
    columns |= {
        "name": row_names(uris),
        "short_id": short_ids(ids),
        "address": [redact(uri) for uri in uris],
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def group_names(report: pa.Table, column: str | None) -> list[str | None]:
    """Return the value of a column in words for every row, without secrets; None where it is missing."""
    values = [None] * report.num_rows if column is None else readable(report[column])
    in_words = redact if column == "uri" else str
    return [None if value is None else in_words(value) or BLANK for value in values]


def listed_rows(rows: Sequence[Row], groups: Sequence[str | None]) -> list[list[Any]]:
    """Return what the list shows of named rows, `MAX_LISTED` of them at most.

    Args:
        rows: of the report.
        groups: of each, as `group_names` has them.
    """
    return [_listed(row, group) for row, group in zip(rows[:MAX_LISTED], groups[:MAX_LISTED], strict=True)]


def listed_kinds(rows: Sequence[Sequence[Any]]) -> dict[str, list[str]]:
    """Return which outcomes and kinds of warnings there are in listed rows, to choose from."""
    outcomes = {row[FIELDS["outcome"]] for row in rows}
    warnings = {one.partition(":")[0] for row in rows for one in row[FIELDS["warnings"]]}
    return {"outcomes": sorted(outcomes), "warnings": sorted(warnings)}


def _listed(row: Row, group: str | None) -> list[Any]:
    name, address = str(row["name"]), str(row["address"])
    warnings = row["decode_warnings"] or ()
    size = f"{row['width']} x {row['height']}" if row["width"] and row["height"] else ""
    return [
        printable(name),
        printable(row["short_id"]),
        printable(address.removesuffix(name)) if address != name else "",
        bool(doubts(warnings)),
        _rounded(row["score_lower"]),
        _rounded(row["score"]),
        printable(row["verdict"] or ""),
        printable(row["error_code"] or row["status"] or ""),
        [printable(one) for one in warnings],
        size,
        _rounded(row["duration_seconds"]),
        None if group is None else printable(group),
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 1)
