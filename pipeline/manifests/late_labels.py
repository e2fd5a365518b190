"""Owns labels that come later than the scores: a table of them is joined to the rows of a report.

a row of the table names its video by video_id, by uri or by a name    the row of the report
clips/c1.mp4                                                           file:///data/clips/c1.mp4
c1.mp4, c1                                                             the same, if no other is called so
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from operators.schema import REPORT, ROW_KEY
from operators.storage import StorageError, read_bytes, redact
from pipeline.manifests.formats import as_numbers, decode_table, number_types, suffix_of
from pipeline.manifests.label_files import (
    VIDEO_NAMES,
    VIDEO_SUFFIXES,
    format_hint,
    read_label_rows,
    require_table,
)
from pipeline.text import counted
from securevqa_core.errors import ManifestError

__all__ = ["joined_labels", "read_late_labels"]

READ_SECONDS = 600.0
NAMED_AT_MOST = 3
_OWN = {ROW_KEY, *REPORT.names}


def read_late_labels(location: str, *, label_format: str | None, uri_column: str) -> pa.Table:
    """Return a table of labels as it is; no video of it needs to be there.

    Args:
        location: Parquet, CSV or JSON lines with a label column and one of `video_id`, `uri_column` and
            `label_files.VIDEO_NAMES`; or a label file.
        label_format: of a label file; None: a table.
        uri_column: of a table; becomes `uri`.

    Raises:
        ConfigurationError: no such label format, or a column besides one.
        ManifestError: it cannot be read, or names no videos.
    """
    require_table(uri_column, label_format)
    if label_format is not None:
        return read_label_rows(location, label_format=label_format)
    try:
        table = decode_table(read_bytes(location, timeout_seconds=READ_SECONDS), location)
    except StorageError as error:
        raise ManifestError(f"labels {redact(location)!r} cannot be read: {error}") from error
    except ManifestError as error:
        raise ManifestError(f"{error}{format_hint(location)}") from error
    if uri_column in table.column_names:
        names = ["uri" if name == uri_column else name for name in table.column_names]
        table = table.rename_columns(names)
    if not _keys(table.column_names):
        known = ", ".join(("video_id", uri_column, *VIDEO_NAMES))
        raise ManifestError(
            f"labels {redact(location)!r} must name their videos in one of the columns {known}, "
            f"got {', '.join(table.column_names)}{format_hint(location)}"
        )
    if suffix_of(location) == ".csv":
        table = as_numbers(table, number_types([table], texts=_keys(table.column_names)))
    return table


def joined_labels(
    report: pa.Table, labels: pa.Table, *, tell: Callable[[str], None]
) -> tuple[pa.Table, dict[str, int]]:
    """Return the report with the columns of the labels, and by video_id which row of those it has, from 1.

    A row of a video that has no label has nulls.

    A column of the labels stands in place of the report's of that name; those that every report has stay.

    Args:
        report: with video_id and uri; a row that repeats an earlier one gets no label.
        labels: of `read_late_labels`.
        tell: is told how many videos got a label, and of labels that fit no video.

    Raises:
        ManifestError: no label fits a video, or one fits several, or a video gets two that differ.
    """
    finder = _Finder(report)
    found: dict[int, int] = {}  # row of the report -> row of the labels
    missed: list[str] = []
    keys = _keys(labels.column_names)
    for row, values in enumerate(labels.select(keys).to_pylist()):
        place = finder.place(values)
        called = str(next((value for value in values.values() if value), "")) or "(no name)"
        if place is None:
            missed.append(called)
        elif place in found:
            if labels.slice(row, 1).equals(labels.slice(found[place], 1)):
                continue
            raise ManifestError(f"labels, rows {found[place] + 1} and {row + 1}: both of {redact(called)!r}")
        else:
            found[place] = row
    if not found:
        raise ManifestError(
            f"the run has no video for {counted(len(missed), 'label')}, of {_named(missed)}; "
            f"its videos are {_named(finder.names)}"
        )
    what = (
        f"{len(found)} of {counted(report.num_rows, 'video')} {'has' if len(found) == 1 else 'have'} a label"
    )
    lost = f"; no video for {counted(len(missed), 'label')}, of {_named(missed)}" if missed else ""
    tell(f"{what}{lost}")
    indices = pa.array([found.get(row) for row in range(report.num_rows)], pa.int64())
    for name in labels.column_names:
        if name in _OWN:
            continue
        column = labels[name].take(indices)
        if name in report.column_names:
            report = report.set_column(report.column_names.index(name), name, column)
        else:
            report = report.append_column(name, column)
    videos: list[Any] = report["video_id"].to_pylist()
    return report, {videos[place]: row + 1 for place, row in found.items()}


def _keys(names: Sequence[str]) -> list[str]:
    """Return the columns that name videos, the surest first."""
    return [name for name in ("video_id", "uri", *VIDEO_NAMES) if name in names]


class _Finder:
    """Finds the row of a report that a row of labels is of."""

    def __init__(self, report: pa.Table) -> None:
        self._uris = [redact(str(uri)).partition("?")[0] for uri in report["uri"].to_pylist()]
        self._by_id = {one: row for row, one in enumerate(report["video_id"].to_pylist())}
        codes = report["error_code"].to_pylist() if "error_code" in report.column_names else []
        repeated = {row for row, code in enumerate(codes) if code == "row_repeated"}
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        self.names = [PurePosixPath(uri).name for uri in self._uris]
        for row, name in enumerate(self.names):
            if row in repeated:
                continue
            self._by_name[name].append(row)
            self._by_stem[PurePosixPath(name).stem].append(row)

    def place(self, values: Mapping[str, Any]) -> int | None:
        """Return the row, None where there is none.

        Raises:
            ManifestError: there are several.
        """
        for key, value in values.items():
            if value is None or value == "":
                continue
            place = self._by_id.get(str(value)) if key == "video_id" else None
            place = self._named(str(value)) if place is None else place
            if place is not None:
                return place
        return None

    def _named(self, text: str) -> int | None:
        path = PurePosixPath(redact(text).partition("?")[0])
        rows = self._by_name.get(path.name, [])
        if not rows and path.suffix.lower() not in VIDEO_SUFFIXES:
            rows = self._by_stem.get(path.name, [])
        if len(rows) > 1:  # as much of the path as is given decides; another folder is another file
            shared = {row: self._num_shared(row, path) for row in rows}
            most = max(shared.values())
            is_elsewhere = most == 1 < len(path.parts)
            rows = [] if is_elsewhere else [row for row in rows if shared[row] == most]
        if len(rows) > 1:
            shown = _named([self._uris[row] for row in rows])
            raise ManifestError(f"label of {redact(text)!r} fits {len(rows)} videos, {shown}")
        return rows[0] if rows else None

    def _num_shared(self, row: int, path: PurePosixPath) -> int:
        """Return how many parts of a path, from its end, are those of a video's of that name."""
        folders = zip(PurePosixPath(self._uris[row]).parts[-2::-1], path.parts[-2::-1], strict=False)
        return 1 + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], folders))


def _named(names: Sequence[str]) -> str:
    rest = len(names) - NAMED_AT_MOST
    shown = ", ".join(repr(redact(name)) for name in names[:NAMED_AT_MOST])
    return f"{shown} and {rest} more" if rest > 0 else shown
