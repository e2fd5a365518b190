"""Owns which labelled rows are looked at, and how what is said of them is compared."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from operators.schema import REPORT
from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ConfigurationError, ManifestError
from securevqa_core.types import NUM_RESAMPLES

__all__ = ["EvaluationSettings", "keep_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What scores are compared with, and how.

    Raises:
        ConfigurationError: `num_resamples` or `seed` is out of range, or `where` is not COLUMN=VALUE.
    """

    label_column: str | None = None  # None: whichever of `labels.LABEL_COLUMNS` is there
    label_range: LabelRange | None = None  # None: guessed from the labels, by `labels.settled_scale`
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


def keep_rows(table: pa.Table, settings: EvaluationSettings) -> pa.Table:
    """Return the rows that `settings.where` asks for; columns that only a report has are left to it.

    Raises:
        ManifestError: a column that the settings name is missing, or of lists as clusters; or no row is left.
    """
    names = table.column_names
    missing = [name for name in settings.columns if name not in {*names, *REPORT.names}]
    if missing:
        raise ManifestError(f"there is no column {missing[0]!r}, only {', '.join(names)}")
    if settings.cluster in names and pa.types.is_nested(table.schema.field(settings.cluster).type):
        kind = table.schema.field(settings.cluster).type
        raise ManifestError(f"cluster must be a column of single values, {settings.cluster!r} is {kind}")
    for condition in settings.where:
        name, _, wanted = condition.partition("=")
        if name in names:
            chosen = [_is(value, wanted) for value in table[name].to_pylist()]
            table = table.filter(pa.array(chosen, pa.bool_()))
    if not table.num_rows:
        raise ManifestError(f"no row is left where {' and '.join(settings.where) or 'no condition is set'}")
    return table


def _is(value: object, wanted: str) -> bool:
    """Tell whether a value is what was typed: as text, or as the same number."""
    if str(value) == wanted:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(wanted) == value
    except ValueError:
        return False
