"""Owns which labelled videos are trained on, validated on and tested on: by source, never by clip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from operators.fetch import content_versions
from operators.schema import texts
from operators.storage import redact
from pipeline.manifests.labels import label_column, labels_of
from pipeline.manifests.scales import LabelRange
from securevqa_core.errors import ManifestError
from securevqa_core.training.cache import MAX_REPEATS, LabelledVideo

__all__ = ["SPLITS", "Split", "TrainingSet", "random_splits", "read_training_set", "require_copies_together"]

NAMED_AT_MOST = 8
REPEATS_COLUMN = "repeats"  # times that an epoch meets a row; need not be there
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One way to use a set of videos; no source is in two parts."""

    train: tuple[LabelledVideo, ...]
    validation: tuple[LabelledVideo, ...]
    test: tuple[LabelledVideo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """The labelled rows of a manifest; rows that it marks as test are counted and otherwise gone."""

    videos: tuple[LabelledVideo, ...]  # labels on 0..100
    given: Split | None  # the manifest's own split; None where it has none
    num_test_rows: int  # left out, their files never opened
    num_unlabelled: int  # left out


def read_training_set(
    table: pa.Table,
    *,
    label: str | None,
    label_range: LabelRange,
    split_column: str,
    source_column: str,
    reference_column: str | None = None,
) -> TrainingSet:
    """Return the videos of a labelled manifest.

    Args:
        table: of `read_labelled`.
        label: column of the labels; None: whichever of `labels.LABEL_COLUMNS` is there.
        label_range: the scale they are on.
        split_column: of train, val (or validation) and test; need not be there.
        source_column: of what a clip was made from; where it is not there, each row is a source of its own.
        reference_column: of URIs of the same videos undistorted, null where there is none; None: no column.

    Raises:
        ManifestError: a column or a value breaks a rule, a source lies in two parts, or two rows of one video
            differ; rows are numbered from 1.
    """
    labels = labels_of(table, label_column(table.column_names, label), label_range)
    splits = _splits(table, split_column)
    uris = texts(table, "uri")
    sources = _sources(table, source_column, uris)
    references = _references(table, reference_column)
    repeats = _repeats(table)
    rows = [index for index, split in enumerate(splits) if split != "test" and labels[index] is not None]
    versions = content_versions([uris[row] for row in rows])
    videos = {
        row: LabelledVideo(
            uri=uris[row],
            label=float(labels[row] or 0.0),
            source=sources[row],
            version=version or "unknown",
            reference=references[row],
            repeats=repeats[row],
        )
        for row, version in zip(rows, versions, strict=True)
    }
    _require_one_meaning(videos)
    labelled = [row for row, label in enumerate(labels) if label is not None]
    for kind, names in (("source", sources), ("video", [redact(uri) for uri in uris])):
        _require_apart(kind, [(splits[row], names[row]) for row in labelled], split_column)
    manifest_split = None
    if split_column in table.column_names:
        parts = {
            part: tuple(videos[row] for row in rows if splits[row] == part)
            for part in ("train", "validation")
        }
        manifest_split = Split(**parts)
        _require_filled(manifest_split, split_column)
    return TrainingSet(
        videos=tuple(videos.values()),
        given=manifest_split,
        num_test_rows=splits.count("test"),
        num_unlabelled=len(splits) - splits.count("test") - len(rows),
    )


def random_splits(
    videos: Sequence[LabelledVideo],
    *,
    seed: int,
    num_splits: int,
    test_share: float,
    validation_share: float,
) -> list[Split]:
    """Split videos at random by source, each time anew.

    Args:
        videos: to split.
        seed: decides; the splits are the same on every machine.
        num_splits: how many.
        test_share: of the sources; 0 for none.
        validation_share: of the sources that are left, at least one of them.

    Raises:
        ManifestError: there are too few sources.
    """
    sources = sorted({video.source for video in videos})
    num_test = max(1, round(test_share * len(sources))) if test_share else 0
    num_validation = max(1, round(validation_share * (len(sources) - num_test)))
    if num_test + num_validation >= len(sources):
        raise ManifestError(
            f"the manifest must have sources for every part, got {len(sources)} for {num_test} of test, "
            f"{num_validation} of validation and at least 1 of training"
        )
    splits = []
    for number in range(num_splits):
        order = np.random.default_rng([seed, number]).permutation(len(sources))
        shuffled = [sources[index] for index in order]
        test, rest = set(shuffled[:num_test]), shuffled[num_test:]
        validation = set(rest[:num_validation])
        splits.append(
            Split(
                train=tuple(v for v in videos if v.source not in test | validation),
                validation=tuple(v for v in videos if v.source in validation),
                test=tuple(v for v in videos if v.source in test),
            )
        )
    return splits


def require_copies_together(split: Split, contents: Mapping[str, str], *, is_given: bool) -> None:
    """Refuse files of the same bytes that a split takes for different videos.

    Args:
        split: of the videos.
        contents: digest of each file that could be read, by its URI.
        is_given: by the manifest: copies lie in one part; else it was drawn: copies have one source, as
            another draw would part them.

    Raises:
        ManifestError: there are such files; names them.
    """
    kind = "part of the manifest's split" if is_given else "source"
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for part in Split.__slots__:
        for video in getattr(split, part):
            if video.uri in contents:
                places[contents[video.uri]].setdefault(part if is_given else video.source, redact(video.uri))
    apart = [found for found in places.values() if len(found) > 1]
    if apart:
        named = "; ".join(
            ", ".join(f"{uri!r} ({place})" for place, uri in one.items()) for one in apart[:NAMED_AT_MOST]
        )
        raise ManifestError(
            f"copies of one file must lie in one {kind}, {len(apart)} lie in several: {named}"
        )


def _splits(table: pa.Table, column: str) -> list[str]:
    """Return train, validation or test for every row; train where the manifest has no such column."""
    if column not in table.column_names:
        return ["train"] * table.num_rows
    splits = []
    for row, value in enumerate(table[column].to_pylist(), start=1):
        if value not in SPLITS:
            raise ManifestError(
                f"row {row}: column {column!r} must be one of {', '.join(SPLITS)}, got {value!r}"
            )
        splits.append(SPLITS[value])
    return splits


def _sources(table: pa.Table, column: str, uris: list[str]) -> list[str]:
    if column not in table.column_names:
        return uris
    sources = table[column].to_pylist()
    for row, value in enumerate(sources, start=1):
        if value is None or value == "":
            raise ManifestError(f"row {row}: column {column!r} must not be null or empty, got {value!r}")
    return [str(value) for value in sources]


def _references(table: pa.Table, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * table.num_rows
    if column not in table.column_names:
        raise ManifestError(f"reference_column must be a column of the manifest, got {column!r}")
    references: list[str | None] = table[column].to_pylist()
    for row, value in enumerate(references, start=1):
        if value is not None and (not isinstance(value, str) or not value):
            raise ManifestError(f"row {row}: column {column!r} must be a URI or null, got {value!r}")
    return references


def _repeats(table: pa.Table) -> list[int]:
    if REPEATS_COLUMN not in table.column_names:
        return [1] * table.num_rows
    repeats = []
    for row, value in enumerate(table[REPEATS_COLUMN].to_pylist(), start=1):
        if not isinstance(value, int) or not 1 <= value <= MAX_REPEATS:
            raise ManifestError(
                f"row {row}: column {REPEATS_COLUMN!r} must be an integer in 1..{MAX_REPEATS}, got {value!r}"
            )
        repeats.append(value)
    return repeats


def _require_one_meaning(videos: dict[int, LabelledVideo]) -> None:
    """Refuse rows of one URI that differ in label, source or reference: only one of them would be learnt."""
    first: dict[str, int] = {}
    for row, video in videos.items():
        earlier = first.setdefault(video.uri, row)
        for name in ("label", "source", "reference"):
            was, now = (getattr(videos[one], name) for one in (earlier, row))
            if was != now:
                raise ManifestError(
                    f"rows {earlier + 1} and {row + 1} are of one video, {redact(video.uri)!r}, "
                    f"and must agree: {name} is {_shown(was)} and {_shown(now)}"
                )


def _shown(value: float | str | None) -> str:
    return f"{value:g} of 100" if isinstance(value, float) else repr(value)


def _require_filled(split: Split, column: str) -> None:
    for part in ("train", "validation"):
        if not getattr(split, part):
            raise ManifestError(f"column {column!r} must mark labelled rows as {part}, got none")


def _require_apart(kind: str, rows: Sequence[tuple[str, str]], column: str) -> None:
    """Refuse what lies in several parts, that of test too: a score of what was learnt measures memory."""
    parts: dict[str, set[str]] = defaultdict(set)
    for split, name in rows:
        parts[name].add(split)
    shared = {name: found for name, found in sorted(parts.items()) if len(found) > 1}
    if shared:
        named = ", ".join(
            f"{one!r} ({', '.join(sorted(found))})" for one, found in list(shared.items())[:NAMED_AT_MOST]
        )
        raise ManifestError(
            f"a {kind} must lie in one part of column {column!r}, {len(shared)} lie in several: {named}"
        )
