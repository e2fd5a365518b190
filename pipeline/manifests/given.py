"""Owns what people point at on a command line: manifests, folders, globs, and videos themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

import pyarrow as pa

from operators.schema import ROW_KEY, texts
from operators.storage import local_path, redact, scheme_of
from pipeline.manifests.formats import suffix_of
from pipeline.manifests.manifest import read_rows
from pipeline.manifests.rows import (
    Manifest,
    Refusal,
    distinct_ids,
    named_offenders,
    named_uri,
    refused_scheme,
    require_all,
    told_apart,
    video_id_of,
)
from securevqa_core.errors import ManifestError

__all__ = ["Given", "given_rows", "given_videos", "is_video", "likely_lists", "read_given_rows"]

_SUFFIXES_OF_LISTS = (".txt", ".list", ".lst", ".tsv", ".xls", ".xlsx", ".m3u", ".m3u8", ".yaml", ".toml")
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


def likely_lists(locations: Sequence[str]) -> list[str]:
    """Return those that are scored as videos, and whose names are those of lists that are no manifests."""
    names = (redact(one) for one in locations if is_video(one))
    return [name for name in names if name.lower().endswith(_SUFFIXES_OF_LISTS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Every video there is, those that are refused too."""

    rows: list[dict[str, str]]  # row_key, video_id and uri; the key is the identifier
    refused: dict[int, Refusal]  # by the row's index
    others: list[str]  # files that a directory holds besides its videos


def given_rows(
    locations: Sequence[str],
    *,
    uri_column: str,
    allow_schemes: Collection[str],
    reserved_columns: Collection[str] = frozenset(),
    is_strict: bool = False,
) -> Given:
    """Return every row of `read_given_rows`.

    Args:
        locations: as there, like `uri_column`, `allow_schemes` and `reserved_columns`.
        is_strict: refuse all for a row that breaks a rule.

    Raises:
        ManifestError: as `read_given_rows`, or a row breaks a rule and `is_strict`.
    """
    if all(map(is_video, locations)):  # without Arrow, whose first array takes half a second
        named = given_videos(locations, allow_schemes=allow_schemes)
        if is_strict or len(named.refused) == len(named.rows):
            _require_none(named.refused)
        return named
    given = read_given_rows(
        locations, uri_column=uri_column, allow_schemes=allow_schemes, reserved_columns=reserved_columns
    )
    if is_strict:
        require_all(given, ", ".join(map(redact, locations)))
    ids, uris = texts(given.table, "video_id"), texts(given.table, "uri")
    rows = [
        {ROW_KEY: video_id, "video_id": video_id, "uri": uri} for video_id, uri in zip(ids, uris, strict=True)
    ]
    return Given(rows=rows, refused=given.refused, others=given.others)


def given_videos(locations: Sequence[str], *, allow_schemes: Collection[str]) -> Given:
    """Return the rows of videos that are named; one of another scheme is refused, and one named again."""
    uris = [named_uri(location) for location in locations]
    schemes = {index: refused_scheme(uri, allow_schemes) for index, uri in enumerate(uris)}
    refused = {index: one for index, one in schemes.items() if one is not None}
    ids = told_apart([video_id_of(uri) for uri in uris], uris, refused, are_given=False)
    rows = [{ROW_KEY: one, "video_id": one, "uri": uri} for one, uri in zip(ids, uris, strict=True)]
    return Given(rows=rows, refused=refused, others=[])


def read_given_rows(
    locations: Sequence[str],
    *,
    uri_column: str,
    allow_schemes: Collection[str],
    reserved_columns: Collection[str] = frozenset(),
) -> Manifest:
    """Read every row of the manifests, and name the videos, in their order, as `manifest.read_rows`.

    Raises:
        ManifestError: as `read_rows`; or columns do not go together, or nothing but videos is named, and each
            is refused.
    """
    parts: list[Manifest] = []
    for are_videos, group in groupby(locations, key=is_video):
        if are_videos:
            named = given_videos(list(group), allow_schemes=allow_schemes)
            table = pa.Table.from_pylist(named.rows).select(["video_id", "uri"])
            parts.append(Manifest(table=table, refused=named.refused, others=[]))
            if len(named.refused) == len(locations):
                _require_none(named.refused)
            continue
        parts += [
            read_rows(
                location,
                uri_column=uri_column,
                allow_schemes=allow_schemes,
                reserved_columns=reserved_columns,
            )
            for location in group
        ]
    return parts[0] if len(parts) == 1 else _together(parts, locations)


def _together(parts: Sequence[Manifest], locations: Sequence[str]) -> Manifest:
    try:
        table = pa.concat_tables([part.table for part in parts], promote_options="default")
    except pa.ArrowException as error:
        raise ManifestError(f"columns of {', '.join(locations)} do not go together: {error}") from error
    starts = accumulate((part.table.num_rows for part in parts), initial=0)
    refused = {
        start + index: one
        for start, part in zip(starts, parts, strict=False)
        for index, one in part.refused.items()
    }
    ids = distinct_ids(table["video_id"], table["uri"], refused, are_given=True)
    others = [one for part in parts for one in part.others]
    return Manifest(table=table.set_column(0, "video_id", ids), refused=refused, others=others)


def _require_none(refused: Mapping[int, Refusal]) -> None:
    if refused:
        raise ManifestError(named_offenders([one.message for one in refused.values()]))
