"""Owns reading lists of labelled videos, to score or train on; without tensors: a wrong one is said first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from operators.schema import REPORT, ROW_KEY
from operators.storage import redact
from pipeline.manifests.label_files import read_label_file, require_table, shown_format
from pipeline.manifests.labelled import EvaluationSettings, keep_rows
from pipeline.manifests.labels import label_column, require_not_own, row_numbers, settled_scale
from pipeline.manifests.manifest import read_manifest
from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES
from pipeline.manifests.scales import LABEL_FORMATS
from pipeline.tables import require_parquet
from securevqa_core.errors import ConfigurationError, ManifestError

__all__ = ["LabelledSource", "read_labelled"]

_RENAMED = "listed_"  # before the name of a manifest column that the report has for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSource:
    """Where labelled videos are listed.

    Raises:
        ConfigurationError: `video_root` without `label_format`, or `uri_column` with it.
    """

    location: str
    label_format: str | None = None  # of a label file; None: a manifest, or what is none by its content
    video_root: str | None = None  # that the paths of a label file are relative to; None: its folder
    uri_column: str = "uri"  # of a manifest
    allow_schemes: frozenset[str] = DEFAULT_ALLOW_SCHEMES

    def __post_init__(self) -> None:
        if self.video_root is not None and self.label_format is None:
            raise ConfigurationError(f"--video-root needs --labels-format, got {self.video_root!r} alone")
        require_table(self.uri_column, self.label_format)


def read_labelled(
    source: LabelledSource,
    settings: EvaluationSettings,
    *,
    tell: Callable[[str], None] = lambda _line: None,
) -> tuple[pa.Table, EvaluationSettings]:
    """Return the labelled rows to score, and the settings with the scale of their labels.

    Columns that the report has for itself become `listed_...`.

    `tell` is told of a label file that was given as a manifest, of labelled videos that are not there, which
    scale was guessed, and of labels that are likely on another scale than the one that was given.

    Raises:
        ManifestError: the source, or a label in it, breaks a rule.
        ConfigurationError: no such label format.
    """
    table, label_format = _listed(source, tell)
    if settings.label_range is None and label_format is not None:
        settings = replace(settings, label_range=LABEL_FORMATS[label_format])
    places = row_numbers(table) if "video_id" in table.column_names else None
    table = keep_rows(table, settings)
    require_not_own(settings.label_column)
    column = label_column(table.column_names, settings.label_column)
    try:
        scale = settled_scale(table, column, settings.label_range, rows=places, tell=tell)
    except ManifestError as error:
        raise ManifestError(f"manifest {redact(source.location)!r}, {error}") from error
    own = {ROW_KEY, *REPORT.names} - {"video_id", "uri"}
    table = table.rename_columns(
        [f"{_RENAMED}{name}" if name in own else name for name in table.column_names]
    )
    require_parquet(table.schema)
    return table, replace(settings, label_range=scale)


def _listed(source: LabelledSource, tell: Callable[[str], None]) -> tuple[pa.Table, str | None]:
    """Return the rows, and of which format the label file is, None of a manifest."""
    label_format = source.label_format
    if label_format is None:
        try:
            table = read_manifest(
                source.location, uri_column=source.uri_column, allow_schemes=source.allow_schemes
            )
        except ManifestError:
            label_format = shown_format(source.location) if source.uri_column == "uri" else None
            if label_format is None:
                raise
            tell(
                f"{redact(source.location)!r} is no manifest, and read as a label file, "
                f"as with --labels-format {label_format}"
            )
        else:
            return table, None
    table = read_label_file(
        source.location, label_format=label_format, video_root=source.video_root, tell=tell
    )
    return table, label_format
