"""Owns the labelled rows of a finished run, their labels on 0..100."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.schema import REPORT, Row
from pipeline.manifests.labelled import EvaluationSettings, keep_rows
from pipeline.manifests.labels import label_column, labels_of, require_not_own, row_numbers, settled_scale
from pipeline.manifests.late_labels import joined_labels
from pipeline.manifests.scales import LabelRange
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import plain

__all__ = ["Scored", "read_scored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The labelled rows of one finished run, by video_id."""

    name: str
    run: dict[str, Any]  # of run.json
    uri: str
    label_name: str
    label_range: LabelRange  # given, or guessed
    rows: dict[str, Row]  # the report's columns, and `label_points` on 0..100 or None


def read_scored(
    name: str,
    directory: RunDirectory,
    settings: EvaluationSettings,
    *,
    labels: pa.Table | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Scored:
    """Read a finished run.

    Args:
        name: of the run among others.
        directory: of the run.
        settings: which rows count, and what their labels are.
        labels: that came later, of `read_late_labels`; None: they are in the report.
        tell: is told which scale was guessed, and which labels are of no video.

    Raises:
        OutputError: there is none.
        ManifestError: a column is missing or the report's own, or a label breaks a rule.
    """
    run, report = read_finished_run(directory, columns=None)
    report = plain(report)
    require_not_own(settings.label_column)
    given = [name for name in report.column_names if name not in REPORT.names]
    late = None if labels is None else labels.column_names
    column = label_column(given, settings.label_column, late=late)
    places = row_numbers(report)
    if labels is not None:
        report, found = joined_labels(report, labels, tell=tell)
        places = found if column in labels.column_names else places
    report = keep_rows(report, settings)
    scale = settled_scale(report, column, settings.label_range, rows=places, tell=tell)
    points = labels_of(report, column, scale, rows=places)
    rows = [row | {"label_points": label} for row, label in zip(report.to_pylist(), points, strict=True)]
    return Scored(
        name=name,
        run=run,
        uri=directory.shown(),
        label_name=column,
        label_range=scale,
        rows={row["video_id"]: row for row in rows},
    )
