"""Owns labels: the label files of public data sets as manifests, and a label column as numbers on 0..100.

KoNViD-1k, LIVE-VQC, YouTube-UGC and LSVQ circulate as `path, duration, fps, MOS` a line, -1 where unknown:

    10053703034.mp4, 8.008008, 29.97, 3.46
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from operators.storage import StorageError, join, read_bytes, redact
from securevqa_core.errors import ConfigurationError, ManifestError

__all__ = ["LABEL_COLUMNS", "LABEL_FORMATS", "LabelRange", "label_column", "labels_of", "read_label_file"]

LABEL_COLUMNS = ("mos", "label")  # looked for where none is named
READ_SECONDS = 600.0
_FIELDS = ("path", "duration", "fps", "MOS")
_UNKNOWN = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRange:
    """The scale that labels are on.

    Raises:
        ConfigurationError: not finite, or low is not below high.
    """

    low: float = 0.0  # the worst label there can be
    high: float = 100.0  # the best

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigurationError(f"label range must have low < high, got {self.low:g} and {self.high:g}")

    def to_points(self, label: float) -> float:
        """Return a label on 0..100, the report's scale."""
        return (label - self.low) / (self.high - self.low) * 100


LABEL_FORMATS: dict[str, LabelRange] = {
    "konvid-1k": LabelRange(low=1, high=5),
    "live-vqc": LabelRange(low=0, high=100),
    "youtube-ugc": LabelRange(low=1, high=5),
    "lsvq": LabelRange(low=0, high=100),
}


def read_label_file(location: str, *, label_format: str, video_root: str | None = None) -> pa.Table:
    """Return a labelled manifest: uri, mos, listed_seconds and listed_fps, null where unknown.

    Args:
        location: the label file, local or in any store.
        label_format: a name in `LABEL_FORMATS`.
        video_root: folder or URI that the paths in the file are relative to; None: the file's own folder.

    Raises:
        ConfigurationError: no such format.
        ManifestError: the file cannot be read, or breaks a rule, which is named with its line.
    """
    if label_format not in LABEL_FORMATS:
        raise ConfigurationError(
            f"labels_format must be one of {', '.join(LABEL_FORMATS)}, got {label_format!r}"
        )
    file_name = redact(location)
    lines = [
        (number, line) for number, line in enumerate(_text(location).splitlines(), start=1) if line.strip()
    ]
    if not lines:
        raise ManifestError(f"label file {file_name!r} is empty")
    rows = [
        _row(line, LABEL_FORMATS[label_format], f"label file {file_name!r}, line {n}") for n, line in lines
    ]
    root = video_root or join(location, "..")
    return pa.table(
        {
            "uri": [join(root, path) for path, *_ in rows],
            "mos": pa.array([mos for *_, mos in rows], pa.float64()),
            "listed_seconds": pa.array([seconds for _, seconds, _, _ in rows], pa.float64()),
            "listed_fps": pa.array([fps for _, _, fps, _ in rows], pa.float64()),
        }
    )


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
            f"got {candidates}"
        )
    return candidates[0]


def labels_of(table: pa.Table, column: str, scale: LabelRange) -> list[float | None]:
    """Return the labels of a table's rows on 0..100, None where there is none (null, or empty text).

    Raises:
        ManifestError: a label is no number or out of range; rows are numbered from 1.
    """
    labels = []
    for row, value in enumerate(table[column].to_pylist(), start=1):
        where = f"row {row}: column {column!r}"
        labels.append(None if value is None or value == "" else _number(value, scale, where))
    return labels


def _number(value: object, scale: LabelRange, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{where} must be a number, got {value!r}") from error
    if not scale.low <= number <= scale.high:
        raise ManifestError(f"{where} must be in {scale.low:g}..{scale.high:g}, got {number:g}")
    return scale.to_points(number)


def _text(location: str) -> str:
    file_name = redact(location)
    try:
        return read_bytes(location, timeout_seconds=READ_SECONDS).decode("utf-8-sig")
    except StorageError as error:
        raise ManifestError(f"label file {file_name!r} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"label file {file_name!r} is not UTF-8: byte {error.start}") from error


def _row(line: str, scale: LabelRange, where: str) -> tuple[str, float | None, float | None, float | None]:
    """Return path, seconds, frames a second and MOS; a path may hold commas."""
    cells = [cell.strip() for cell in line.rsplit(",", len(_FIELDS) - 1)]
    if len(cells) != len(_FIELDS) or not cells[0]:
        raise ManifestError(f"{where}: must be {', '.join(_FIELDS)}, got {line!r}")
    seconds, fps, mos = (_cell(name, cell, where) for name, cell in zip(_FIELDS[1:], cells[1:], strict=True))
    for name, value in (("duration", seconds), ("fps", fps)):
        if value is not None and value <= 0:
            raise ManifestError(f"{where}: {name} must be above 0 or -1, got {value:g}")
    if mos is not None and not scale.low <= mos <= scale.high:
        raise ManifestError(f"{where}: MOS must be in {scale.low:g}..{scale.high:g} or -1, got {mos:g}")
    return cells[0], seconds, fps, mos


def _cell(name: str, cell: str, where: str) -> float | None:
    try:
        value = float(cell)
    except ValueError as error:
        raise ManifestError(f"{where}: {name} must be a number, got {cell!r}") from error
    if not math.isfinite(value):
        raise ManifestError(f"{where}: {name} must be finite, got {cell!r}")
    return None if value == _UNKNOWN else value
