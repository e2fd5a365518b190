"""Owns the labelled rows of finished runs: which rows count, and their labels on 0..100."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from operators.schema import REPORT, Row
from pipeline.labels import LabelRange, label_column, labels_of
from pipeline.rundir import RunDirectory
from pipeline.show import read_finished_run
from securevqa_core.bootstrap import NUM_RESAMPLES
from securevqa_core.errors import ConfigurationError, ManifestError

__all__ = ["EvaluationSettings", "Scored", "keep_rows", "read_scored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What scores are compared with, and how.

    Raises:
        ConfigurationError: `num_resamples` or `seed` is out of range, or `where` is not COLUMN=VALUE.
    """

    label_column: str | None = None  # None: whichever of `labels.LABEL_COLUMNS` is there
    label_range: LabelRange = field(default_factory=LabelRange)
    where: tuple[str, ...] = ()  # COLUMN=VALUE that rows must have to be looked at, all of them
    groups: tuple[str, ...] = ()  # columns whose values are also looked at one by one
    cluster: str | None = None  # column whose values are resampled as a whole, the source for example
    ladder: str | None = None  # column whose values are the ladders
    num_resamples: int = NUM_RESAMPLES
    seed: int = 0  # of the resampling

    def __post_init__(self) -> None:
        if self.num_resamples < 100:
            raise ConfigurationError(f"resamples must be >= 100, got {self.num_resamples}")
        if self.seed < 0:
            raise ConfigurationError(f"resample_seed must be >= 0, got {self.seed}")
        for condition in self.where:
            if not condition.partition("=")[1]:
                raise ConfigurationError(f"where must be COLUMN=VALUE, got {condition!r}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the manifest that are needed besides the label."""
        extra = [name for name in (self.cluster, self.ladder) if name is not None]
        return tuple(dict.fromkeys([*(one.partition("=")[0] for one in self.where), *self.groups, *extra]))


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


def keep_rows(table: pa.Table, settings: EvaluationSettings) -> pa.Table:
    """Return the rows that `settings.where` asks for; columns that only a report has are left to it.

    Raises:
        ManifestError: a column that the settings name is missing, or no row is left.
    """
    names = table.column_names
    missing = [name for name in settings.columns if name not in {*names, *REPORT.names}]
    if missing:
        raise ManifestError(f"there is no column {missing[0]!r}, only {', '.join(names)}")
    for condition in settings.where:
        name, _, wanted = condition.partition("=")
        if name in names:
            chosen = [str(value) == wanted for value in table[name].to_pylist()]
            table = table.filter(pa.array(chosen, pa.bool_()))
    if not table.num_rows:
        raise ManifestError(f"no row is left where {' and '.join(settings.where) or 'no condition is set'}")
    return table
