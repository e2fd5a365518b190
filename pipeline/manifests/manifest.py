"""Owns turning what the operator points at (a manifest file, a directory, a glob) into one row per video.

read_manifest("s3://bucket/night/manifest.csv")  ->  video_id | uri | every other column, unchanged
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import pyarrow as pa

from operators import storage
from pipeline.manifests.formats import as_numbers, decode_table, number_types, suffix_of
from pipeline.manifests.listing import list_videos
from pipeline.manifests.parts import home_of_parts, joined, table_parts
from pipeline.manifests.rows import (
    DEFAULT_ALLOW_SCHEMES,
    Manifest,
    RowRules,
    folder_of,
    named_offenders,
    require_all,
)
from securevqa_core.errors import ManifestError

__all__ = ["READ_SECONDS", "no_video", "read_failure", "read_manifest", "read_rows"]

READ_SECONDS = 600.0  # for the manifest file itself


def read_manifest(
    location: str,
    *,
    uri_column: str = "uri",
    allow_schemes: Collection[str] = DEFAULT_ALLOW_SCHEMES,
    reserved_columns: Collection[str] = frozenset(),
) -> pa.Table:
    """Read the list of videos as `read_rows` does, and refuse all of it for a row that breaks a rule.

    Raises:
        ManifestError: as `read_rows`, or a row breaks a rule, which is named.
    """
    manifest = read_rows(
        location, uri_column=uri_column, allow_schemes=allow_schemes, reserved_columns=reserved_columns
    )
    require_all(manifest, location)
    return manifest.table


def read_rows(
    location: str,
    *,
    uri_column: str = "uri",
    allow_schemes: Collection[str] = DEFAULT_ALLOW_SCHEMES,
    reserved_columns: Collection[str] = frozenset(),
) -> Manifest:
    """Read the list of videos: `video_id` and `uri` (strings) first, then every other column unchanged.

    A row without a URI or an id, of a scheme that is not allowed, or that is another's double is refused and
    stays in its place. Where its own `video_id` is missing or another's it gets one of its place.

    Args:
        location: a `.parquet`, `.csv`, `.jsonl`, `.ndjson` or `.json` (lines) file, a directory (every video
            below it, recursively, hidden ones left out, sorted) or a glob, local or in any store; a file that
            is there is never taken for a glob. A column of CSV is of numbers where all
            its cells are written as such, else of text. Where all files of a
            directory or glob are such files, they are parts of one table (see `parts.py`).
        uri_column: the column that holds the videos' URIs. A relative one starts at the manifest's own
            folder; a local one becomes an absolute plain path. What follows `file://` is taken literally;
            a path that is not UTF-8 is `file+bytes://` and its bytes, percent-encoded.
        allow_schemes: schemes the videos may have; "file" stands for local paths.
        reserved_columns: names the manifest's other columns may not have.

    Raises:
        ManifestError: there is no such manifest, it cannot be read, or it breaks a rule as a whole, which is
            named. Rows are numbered from 1, a header not counted.
    """
    rules = RowRules(
        location=location,
        uri_column=uri_column,
        allow_schemes=allow_schemes,
        reserved_columns=reserved_columns,
    )
    listing = list_videos(location, has_manifest_suffix=bool(suffix_of(location)))
    parts = None if listing is None else table_parts(sorted([*listing.uris, *listing.others]), location)
    if listing is None or parts is not None:
        names = [location] if parts is None else parts
        table = joined([decode_table(_read_all(name), name) for name in names], names)
        if all(suffix_of(name) == ".csv" for name in names):
            table = as_numbers(table, number_types([table], texts={uri_column, "video_id"}))
        return rules.rows(table, folder_of(location if parts is None else home_of_parts(location)))
    if not listing.uris:
        raise no_video(location, listing.others)
    return dataclasses.replace(rules.videos(listing.uris), others=listing.others)


def no_video(location: str, others: Sequence[str]) -> ManifestError:
    """Return what is said of a folder that holds no video, but other files."""
    names = [storage.redact(uri).rpartition("/")[2] for uri in others]
    found = f", but {named_offenders(names)}" if names else ""
    return ManifestError(f"manifest {storage.redact(location)!r} is empty: no video there{found}")


def read_failure(location: str, error: storage.StorageError) -> ManifestError:
    """Return what is said of a manifest that its store does not give."""
    manifest_name = storage.redact(location)
    if error.kind == "not_found":
        return ManifestError(f"no such video or manifest: {manifest_name!r}")
    kind = error.kind.replace("_", " ")
    return ManifestError(f"manifest {manifest_name!r} cannot be read: {kind}, {error}")


def _read_all(location: str) -> bytes:
    try:
        return storage.read_bytes(location, timeout_seconds=READ_SECONDS)
    except storage.StorageError as error:
        raise read_failure(location, error) from error
