"""Owns labels: which column holds them, what scale they are on, and that column as numbers on 0..100."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from operators.schema import REPORT
from operators.storage import redact
from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ManifestError

__all__ = [
    "LABEL_COLUMNS",
    "has_label_column",
    "label_column",
    "labels_of",
    "require_not_own",
    "row_numbers",
    "scale_doubt",
    "settled_scale",
]

LABEL_COLUMNS = ("mos", "label")  # looked for where none is named
_LEAST_SPAN = 10.0  # points of 100 that labels of a data set cover; less is another scale, more likely
_USUAL = ((0, 1), (1, 5), (0, 5), (0, 10), (0, 100))  # scales that people rate on, the narrowest first


def label_column(names: Sequence[str], asked_for: str | None, *, late: Sequence[str] | None = None) -> str:
    """Return the name of the column that holds the labels.

    Where none is named it is the one of `LABEL_COLUMNS` that is there, or is there but for its case.

    Args:
        names: of the columns that there are.
        asked_for: the name that was given.
        late: columns of labels that came later, which go first; None: there are none.

    Raises:
        ManifestError: it is not there, or none was named and there is none, or more than one.
    """
    shown = names if late is None else late
    if asked_for is not None:
        if asked_for not in {*names, *shown}:
            raise ManifestError(f"there is no label column {asked_for!r}, only {', '.join(shown)}")
        return asked_for
    candidates = _candidates(shown) or _candidates(names)
    if len(candidates) != 1:
        raise ManifestError(
            f"--label-column must be given unless one of {' and '.join(LABEL_COLUMNS)} is there, "
            f"got {', '.join(candidates or shown)}"
        )
    return candidates[0]


def has_label_column(names: Sequence[str]) -> bool:
    """Tell whether a column holds labels that nobody has to name."""
    return bool(_candidates(names))


def _candidates(names: Sequence[str]) -> list[str]:
    exact = [name for name in LABEL_COLUMNS if name in names]
    return exact or [name for name in names if name.lower() in LABEL_COLUMNS]


def require_not_own(asked_for: str | None) -> None:
    """Refuse a label column that a report has for itself: scores would be held against themselves.

    Raises:
        ManifestError: it is one.
    """
    if asked_for in REPORT.names:
        raise ManifestError(
            f"--label-column must not be one that every report has, got {asked_for!r}: rename it"
        )


def row_numbers(table: pa.Table) -> dict[str, int]:
    """Return which row of a table each video_id is in, numbered from 1: messages say it, whatever is kept."""
    videos: list[Any] = table["video_id"].to_pylist()
    return {video: row for row, video in enumerate(videos, start=1)}


def labels_of(
    table: pa.Table, column: str, scale: LabelRange, *, rows: Mapping[str, int] | None = None
) -> list[float | None]:
    """Return the labels of a table's rows on 0..100, None where there is none (null, or empty text).

    Args:
        table: with the labels.
        column: that holds them.
        scale: that they are on.
        rows: video_id -> row of the file that a person wrote; None: unknown.

    Raises:
        ManifestError: a label is no number or out of range; its row and its video are named.
    """
    points = []
    for place, value in enumerate(_values(table, column, rows)):
        if value is not None and not scale.low <= value <= scale.high:
            where = f"{_place(table, place, rows)}: column {column!r}"
            wanted = f"must be in {scale.low:g}..{scale.high:g}, got {value:g}"
            raise ManifestError(f"{where} {wanted}: --label-range LOW HIGH says what labels are on")
        points.append(None if value is None else scale.to_points(value))
    return points


def _values(table: pa.Table, column: str, rows: Mapping[str, int] | None) -> list[float | None]:
    """Return the labels on their own scale, None where there is none."""
    values: list[float | None] = []
    for place, value in enumerate(table[column].to_pylist()):
        try:
            values.append(None if value is None or value == "" else _number(value))
        except ValueError as error:
            raise ManifestError(f"{_place(table, place, rows)}: column {column!r} {error}") from error
    return values


def _place(table: pa.Table, place: int, rows: Mapping[str, int] | None) -> str:
    """Return what a person calls a row: where it stands in the file, as far as is known, and its video."""
    if "uri" not in table.column_names:
        return f"row {place + 1}"
    video = repr(redact(str(table["uri"][place].as_py())))
    return (
        f"video {video}" if rows is None else f"row {rows[table['video_id'][place].as_py()]}, video {video}"
    )


def settled_scale(
    table: pa.Table,
    column: str,
    given: LabelRange | None,
    *,
    rows: Mapping[str, int] | None = None,
    tell: Callable[[str], None],
) -> LabelRange:
    """Return the scale of the labels: the one that was given, else the narrowest usual one that holds them.

    Fewer than two labels that differ tell nothing, and are on 0..100.

    Args:
        table: with the labels.
        column: that holds them.
        given: the scale, where it is known.
        rows: as `labels_of` takes them.
        tell: is told which scale was guessed, and what is doubtful about one that was given.

    Raises:
        ManifestError: a label is no number, or out of the scale; or no usual scale holds them all.
    """
    if given is not None:
        if (doubt := scale_doubt(labels_of(table, column, given, rows=rows), given)) is not None:
            tell(doubt)
        return given
    values = _values(table, column, rows)
    known = sorted({value for value in values if value is not None})
    if not known:
        return LabelRange()
    fitting = (0, 100) if len(known) == 1 and 0 <= known[0] <= 100 else None
    fitting = fitting or next((ends for ends in _USUAL if ends[0] <= known[0] and known[-1] <= ends[1]), None)
    span = f"labels of column {column!r} span {known[0]:g}..{known[-1]:g}"
    if fitting is None:
        raise ManifestError(f"{span}, which no usual scale holds: say --label-range LOW HIGH")
    scale = LabelRange(low=fitting[0], high=fitting[1])
    tell(f"{span}: taken to be on {scale.low:g}..{scale.high:g}; --label-range LOW HIGH says otherwise")
    return scale


def scale_doubt(labels: Sequence[float | None], scale: LabelRange) -> str | None:
    """Return what to tell a person where labels cover so little of a scale that it is likely another one.

    Args:
        labels: on 0..100, from `labels_of`; None where there is none.
        scale: that they were read on.
    """
    known = [label for label in labels if label is not None]
    if len(known) < 2 or max(known) - min(known) >= _LEAST_SPAN:
        return None
    size = (scale.high - scale.low) / 100
    low, high = (scale.low + end * size for end in (min(known), max(known)))
    likely = next((pair for pair in _USUAL if pair[0] <= low and high <= pair[1] < scale.high), None)
    said = f"labels span {low:g}..{high:g} of {scale.low:g}..{scale.high:g}"
    if likely is None:
        return said
    return f"{said}: if they are on {likely[0]}..{likely[1]}, say --label-range {likely[0]} {likely[1]}"


def _number(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be a number, got {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"must be finite, got {number:g}")
    return number
