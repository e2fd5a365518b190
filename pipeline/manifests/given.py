"""Owns what people point at on a command line: manifests, folders, globs, and videos themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from operators.schema import ROW_KEY, texts
from operators.storage import local_path, redact, scheme_of
from pipeline.manifests.formats import suffix_of
from pipeline.manifests.manifest import named_uri, read_manifest, video_id_of
from securevqa_core.errors import ManifestError

__all__ = ["given_videos", "is_video", "read_given"]

_NAME_OF_A_FILE = re.compile(r"[^/*?\[\]]+\.[A-Za-z0-9]{1,5}$")


def is_video(location: str) -> bool:
    """Tell whether a location is one video, and no list, folder or glob of them, by its name.

    On a disk by what is there, as names are what they are.
    """
    if suffix_of(location):
        return False
    if scheme_of(location) == "file":
        return Path(local_path(location)).is_file()
    return _NAME_OF_A_FILE.search(location.partition("?")[0]) is not None


def given_videos(
    locations: Sequence[str], *, uri_column: str, allow_schemes: Collection[str]
) -> list[dict[str, str]]:
    """Return `row_key`, `video_id` and `uri` of every video of `read_given`; the key is the identifier.

    Raises:
        ManifestError: as `read_given`.
    """
    if all(map(is_video, locations)):  # without Arrow, whose first array takes half a second
        uris = [named_uri(location, allow_schemes=allow_schemes) for location in locations]
        rows = [(video_id_of(uri), uri) for uri in uris]
        _require_once(rows)
    else:
        table = read_given(locations, uri_column=uri_column, allow_schemes=allow_schemes)
        rows = list(zip(texts(table, "video_id"), texts(table, "uri"), strict=True))
    return [{ROW_KEY: video_id, "video_id": video_id, "uri": uri} for video_id, uri in rows]


def read_given(
    locations: Sequence[str],
    *,
    uri_column: str,
    allow_schemes: Collection[str],
    reserved_columns: Collection[str] = frozenset(),
) -> pa.Table:
    """Read the manifests, and name the videos, in their order; other arguments are `read_manifest`'s.

    Raises:
        ManifestError: as `read_manifest`; or a video is there twice, or columns do not go together.
    """
    tables = []
    for are_videos, group in groupby(locations, key=is_video):
        if are_videos:
            rows = given_videos(list(group), uri_column=uri_column, allow_schemes=allow_schemes)
            tables.append(pa.Table.from_pylist(rows).select(["video_id", "uri"]))
            continue
        tables += [
            read_manifest(
                location,
                uri_column=uri_column,
                allow_schemes=allow_schemes,
                reserved_columns=reserved_columns,
            )
            for location in group
        ]
    if len(tables) == 1:
        return tables[0]
    try:
        table = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise ManifestError(f"columns of {', '.join(locations)} do not go together: {error}") from error
    _require_once(zip(texts(table, "video_id"), texts(table, "uri"), strict=True))
    return table


def _require_once(videos: Iterable[tuple[str, str]]) -> None:
    seen: set[str] = set()
    for video_id, uri in videos:
        if video_id in seen:
            raise ManifestError(f"a video must be named once, {redact(uri)!r} is not")
        seen.add(video_id)
