"""Owns labels: which column holds them, what scale they are on, and that column as numbers on 0..100."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pyarrow as pa

from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ManifestError

__all__ = [
    "LABEL_COLUMNS",
    "label_column",
    "labels_of",
    "scale_doubt",
    "settled_scale",
]

LABEL_COLUMNS = ("mos", "label")  # looked for where none is named
_LEAST_SPAN = 10.0  # points of 100 that labels of a data set cover; less is another scale, more likely
_USUAL = ((0, 1), (1, 5), (0, 5), (0, 10), (0, 100))  # scales that people rate on, the narrowest first


def label_column(names: Sequence[str], asked_for: str | None) -> str:
    """Return the name of the column that holds the labels.

    Raises:
        ManifestError: it is not there, or none was named and not exactly one of `LABEL_COLUMNS` is.
    """
    if asked_for is not None:
        if asked_for not in names:
            raise ManifestError(f"there is no label column {asked_for!r}, only {', '.join(names)}")
        return asked_for
    candidates = [name for name in LABEL_COLUMNS if name in names]
    if len(candidates) != 1:
        raise ManifestError(
            f"label_column must be named unless one of {' and '.join(LABEL_COLUMNS)} is there, "
            f"got {', '.join(candidates or names)}"
        )
    return candidates[0]


def labels_of(table: pa.Table, column: str, scale: LabelRange) -> list[float | None]:
    """Return the labels of a table's rows on 0..100, None where there is none (null, or empty text).

    Raises:
        ManifestError: a label is no number or out of range; rows are numbered from 1.
    """
    points = []
    for row, value in enumerate(_values(table, column), start=1):
        if value is not None and not scale.low <= value <= scale.high:
            where = f"row {row}: column {column!r}"
            raise ManifestError(f"{where} must be in {scale.low:g}..{scale.high:g}, got {value:g}")
        points.append(None if value is None else scale.to_points(value))
    return points


def _values(table: pa.Table, column: str) -> list[float | None]:
    """Return the labels on their own scale, None where there is none."""
    return [
        None if value is None or value == "" else _number(value, f"row {row}: column {column!r}")
        for row, value in enumerate(table[column].to_pylist(), start=1)
    ]


def settled_scale(
    table: pa.Table, column: str, given: LabelRange | None, *, tell: Callable[[str], None]
) -> LabelRange:
    """Return the scale of the labels: the one that was given, else the narrowest usual one that holds them.

    Fewer than two labels that differ tell nothing, and are on 0..100.

    Args:
        table: with the labels.
        column: that holds them.
        given: the scale, where it is known.
        tell: is told which scale was guessed, and what is doubtful about one that was given.

    Raises:
        ManifestError: a label is no number, or out of the scale; or no usual scale holds them all.
    """
    if given is not None:
        if (doubt := scale_doubt(labels_of(table, column, given), given)) is not None:
            tell(doubt)
        return given
    values = _values(table, column)
    known = sorted({value for value in values if value is not None})
    if len(known) < 2 and all(0 <= value <= 100 for value in known):
        return LabelRange()
    fitting = next((ends for ends in _USUAL if ends[0] <= known[0] and known[-1] <= ends[1]), None)
    span = f"labels of column {column!r} span {known[0]:g}..{known[-1]:g}"
    if fitting is None:
        raise ManifestError(f"{span}, which no usual scale holds: say --label-range LOW HIGH")
    scale = LabelRange(low=fitting[0], high=fitting[1])
    if scale != LabelRange():
        tell(f"{span}: taken to be on {scale.low:g}..{scale.high:g}; --label-range LOW HIGH says otherwise")
    elif (doubt := scale_doubt(values, scale)) is not None:  # points of 100 are the labels themselves
        tell(doubt)
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


def _number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{where} must be a number, got {value!r}") from error
    if not math.isfinite(number):
        raise ManifestError(f"{where} must be finite, got {number:g}")
    return number
