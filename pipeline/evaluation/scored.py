"""Owns the labelled rows of a finished run, their labels on 0..100."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.schema import Row
from pipeline.manifests.labelled import EvaluationSettings, keep_rows
from pipeline.manifests.labels import label_column, labels_of
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory

__all__ = ["Scored", "read_scored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The labelled rows of one finished run, by video_id."""

    name: str
    run: dict[str, Any]  # of run.json
    uri: str
    label_name: str
    rows: dict[str, Row]  # the report's columns, and `label_points` on 0..100 or None


def read_scored(name: str, directory: RunDirectory, settings: EvaluationSettings) -> Scored:
    """Read a finished run.

    Raises:
        OutputError: there is none.
        ManifestError: a column is missing, or a label breaks a rule.
    """
    run, report = read_finished_run(directory, columns=None)
    report = keep_rows(report, settings)
    column = label_column(report.column_names, settings.label_column)
    labels = labels_of(report, column, settings.label_range)
    rows = [row | {"label_points": label} for row, label in zip(report.to_pylist(), labels, strict=True)]
    return Scored(
        name=name,
        run=run,
        uri=directory.shown(),
        label_name=column,
        rows={row["video_id"]: row for row in rows},
    )
