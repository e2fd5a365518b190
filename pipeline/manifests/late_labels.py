"""Owns labels that come later than the scores: a table of them is joined to the rows of a report.

a row of the table names its video by video_id, by uri or by a name    the row of the report
clips/c1.mp4                                                           file:///data/clips/c1.mp4
c1.mp4, c1                                                             the same, if no other is called so
day/c1.mp4                                                             the same, if no label has its folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from operators.schema import REPORT, ROW_KEY
from operators.storage import StorageError, read_bytes, redact
from pipeline.manifests.formats import as_numbers, decode_table, number_types, suffix_of
from pipeline.manifests.label_files import (
    VIDEO_NAMES,
    column_key,
    read_label_rows,
    require_table,
    shown_format,
)
from pipeline.manifests.label_videos import named_videos, videos_of
from pipeline.manifests.labels import has_label_column
from pipeline.text import counted
from securevqa_core.errors import ManifestError

__all__ = ["joined_labels", "read_late_labels"]

READ_SECONDS = 600.0
_TOLD = b"securevqa.told"  # key of what there is to say of a table once it is used
_OWN = {ROW_KEY, *REPORT.names}


def read_late_labels(location: str, *, label_format: str | None, uri_column: str) -> pa.Table:
    """Return a table of labels as it is; no video of it needs to be there.

    Args:
        location: Parquet, CSV or JSON lines with a label column and one of `video_id`, `uri_column` and
            `label_files.VIDEO_NAMES`; or a label file.
        label_format: of a label file; None: a table, or a label file by its content.
        uri_column: of a table; becomes `uri`.

    Raises:
        ConfigurationError: no such label format, or a column besides one.
        ManifestError: it cannot be read, or names no videos.
    """
    require_table(uri_column, label_format)
    if label_format is not None:
        return read_label_rows(location, label_format=label_format)
    try:
        table = _table(location, uri_column)
    except ManifestError:
        if (rows := _shown_rows(location, uri_column)) is None:
            raise
        return rows
    if not has_label_column(table.column_names):  # as MOSFull is none of a table
        rows = _shown_rows(location, uri_column)
        if rows is not None and rows.num_rows == table.num_rows:
            table = table.append_column("mos", rows["mos"]).replace_schema_metadata(rows.schema.metadata)
    return table


def _shown_rows(location: str, uri_column: str) -> pa.Table | None:
    """Return the rows of what is a label file by its content, None where it is none."""
    if uri_column != "uri" or (shown := shown_format(location)) is None:
        return None
    told = f"{redact(location)!r} is read as a label file, as with --labels-format {shown}"
    return read_label_rows(location, label_format=shown).replace_schema_metadata({_TOLD: told})


def _table(location: str, uri_column: str) -> pa.Table:
    try:
        table = decode_table(read_bytes(location, timeout_seconds=READ_SECONDS), location)
    except StorageError as error:
        raise ManifestError(f"labels {redact(location)!r} cannot be read: {error}") from error
    if uri_column in table.column_names:
        names = ["uri" if name == uri_column else name for name in table.column_names]
        table = table.rename_columns(names)
    if not _keys(table.column_names):
        known = ", ".join(dict.fromkeys(("video_id", uri_column, *VIDEO_NAMES)))
        raise ManifestError(
            f"labels {redact(location)!r} must name their videos in one of the columns {known}, "
            f"got {', '.join(table.column_names)}"
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
        tell: is told of a label file that was given as a table, how many videos got a label, and of labels
            that fit no video.

    Raises:
        ManifestError: no label fits a video, or one fits several, or a video gets two that differ.
    """
    finder = _Finder(report)
    found: dict[int, int] = {}  # row of the report -> row of the labels
    missed: list[str] = []
    if told := (labels.schema.metadata or {}).get(_TOLD):
        tell(told.decode())
    keys = labels.select(_keys(labels.column_names))
    others = labels.drop_columns(keys.column_names)
    for row, (values, place) in enumerate(zip(keys.to_pylist(), finder.places(keys), strict=True)):
        called = str(next((value for value in values.values() if value), "")) or "(no name)"
        if place is None:
            missed.append(called)
        elif place in found:
            if others.slice(row, 1).equals(others.slice(found[place], 1)):
                continue
            raise ManifestError(f"labels, rows {found[place] + 1} and {row + 1}: both of {redact(called)!r}")
        else:
            found[place] = row
    if not found:
        raise ManifestError(
            f"the run has no video for {counted(len(missed), 'label')}, of {named_videos(missed)}; "
            f"its videos are {named_videos(finder.names)}"
        )
    what = (
        f"{len(found)} of {counted(report.num_rows, 'video')} {'has' if len(found) == 1 else 'have'} a label"
    )
    lost = f"; no video for {counted(len(missed), 'label')}, of {named_videos(missed)}" if missed else ""
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
    """Return the columns that name videos, the surest first; in another spelling where there is none."""
    known = dict.fromkeys(("video_id", "uri", *VIDEO_NAMES))
    exact = [name for name in known if name in names]
    return exact or [name for key in map(column_key, known) for name in names if column_key(name) == key]


class _Finder:
    """Finds the rows of a report that rows of labels are of."""

    def __init__(self, report: pa.Table) -> None:
        uris = [redact(str(uri)).partition("?")[0] for uri in report["uri"].to_pylist()]
        self._by_id = {one: row for row, one in enumerate(report["video_id"].to_pylist())}
        codes = report["error_code"].to_pylist() if "error_code" in report.column_names else []
        repeated = {row for row, code in enumerate(codes) if code == "row_repeated"}
        self._rows = [row for row in range(len(uris)) if row not in repeated]
        self._uris = [uris[row] for row in self._rows]
        self.names = [PurePosixPath(uri).name for uri in uris]

    def places(self, keys: pa.Table) -> list[int | None]:
        """Return the row of each label, by the first of its keys that tells, None where there is none.

        Raises:
            ManifestError: there are several.
        """
        found: list[int | None] = [None] * keys.num_rows
        for key in keys.column_names:
            values = enumerate(keys[key].to_pylist())
            texts = {
                row: str(value) for row, value in values if found[row] is None and value not in {None, ""}
            }
            by_id = self._by_id if column_key(key) == "videoid" else {}
            named = {row: text for row, text in texts.items() if text not in by_id}
            places = dict(zip(named, self._named(named.values()), strict=True))
            for row, text in texts.items():
                found[row] = by_id[text] if text in by_id else places[row]
        return found

    def _named(self, texts: Iterable[str]) -> list[int | None]:
        names = [redact(text).partition("?")[0] for text in texts]
        places = videos_of(names, self._uris, where="labels", any_suffix=False)
        return [None if place is None else self._rows[place] for place in places]
