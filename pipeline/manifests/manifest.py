"""Owns turning what the operator points at (a manifest file, a directory, a glob) into one row per video.

read_manifest("s3://bucket/night/manifest.csv")  ->  video_id | uri | every other column, unchanged
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators import storage
from pipeline.manifests.formats import decode_pieces, decode_table, suffix_of
from pipeline.manifests.listing import list_videos
from pipeline.manifests.parts import home_of_parts, joined, table_parts
from securevqa_core.errors import ManifestError

__all__ = ["DEFAULT_ALLOW_SCHEMES", "named_uri", "read_manifest", "read_pieces", "video_id_of"]

# Plain http is left out: anybody on the way could swap the video.
DEFAULT_ALLOW_SCHEMES = frozenset({"file", "s3", "gs", "az", "https"})

NAMED_AT_MOST = 10  # offenders named in a message; the rest are counted
VIDEO_ID_HEX_DIGITS = 24
READ_SECONDS = 600.0  # for the manifest file itself
PIECE_ROWS = 10_000  # held as Python's texts at once, which take several times what Arrow's do

# Relative, of ASCII alone, and as it is once joined: no empty part, no `.` or `..`, no scheme.
_PLAIN_NAME = re.compile(r"(?:(?!\.)[ -.0-9;-~]+/)*(?!\.)[ -.0-9;-~]+")

_Texts: TypeAlias = "pa.ChunkedArray[Any] | list[str]"


def read_manifest(
    location: str,
    *,
    uri_column: str = "uri",
    allow_schemes: Collection[str] = DEFAULT_ALLOW_SCHEMES,
    reserved_columns: Collection[str] = frozenset(),
) -> pa.Table:
    """Read the list of videos: `video_id` and `uri` (strings) first, then every other column unchanged.

    Args:
        location: a `.parquet`, `.csv`, `.jsonl`, `.ndjson` or `.json` (lines) file, a directory (every file
            below it, recursively, hidden ones left out, sorted) or a glob, local or in any store; a file that
            is there is never taken for a glob. CSV cells stay the text they are. Where all files of a
            directory or glob are such files, they are parts of one table (see `parts.py`).
        uri_column: the column that holds the videos' URIs. A relative one starts at the manifest's own
            folder; a local one becomes an absolute plain path. What follows `file://` is taken literally;
            a path that is not UTF-8 is `file+bytes://` and its bytes, percent-encoded.
        allow_schemes: schemes the videos may have; "file" stands for local paths.
        reserved_columns: names the manifest's other columns may not have.

    Raises:
        ManifestError: there is no such manifest, it cannot be read, or it breaks a rule, which is named.
            Rows are numbered from 1, a header not counted.
    """
    manifest_name = storage.redact(location)
    listed_uris = list_videos(location, has_manifest_suffix=bool(suffix_of(location)))
    parts = None if listed_uris is None else table_parts(listed_uris, location)
    if listed_uris is None or parts is not None:
        names = [location] if parts is None else parts
        table = joined([decode_table(_read_all(name), name) for name in names], names)
        _require_columns(table, uri_column, reserved_columns, manifest_name)
        raw_uris: _Texts = _uri_texts(table[uri_column], uri_column, manifest_name)
        folder = _folder_of(location if parts is None else home_of_parts(location))
    else:
        table, uri_column, raw_uris, folder = pa.table({}), "uri", listed_uris, "/"
        if not listed_uris:
            raise ManifestError(f"manifest {manifest_name!r} is empty: no file there")
    uris = _each(raw_uris, lambda uri: _allowed(_normalised(uri, folder), allow_schemes))
    return _assemble(table, uri_column, uris, manifest_name)


def read_pieces(
    location: str,
    *,
    uri_column: str = "uri",
    allow_schemes: Collection[str] = DEFAULT_ALLOW_SCHEMES,
    reserved_columns: Collection[str] = frozenset(),
) -> Iterator[pa.Table]:
    """Yield what `read_manifest` returns, of a Parquet file some rows at a time.

    Raises:
        ManifestError: as there, at the latest after the last row.
    """
    whole = functools.partial(
        read_manifest,
        location,
        uri_column=uri_column,
        allow_schemes=allow_schemes,
        reserved_columns=reserved_columns,
    )
    if suffix_of(location) != ".parquet" or list_videos(location, has_manifest_suffix=True) is not None:
        yield whole()
        return
    name, folder, ids = storage.redact(location), _folder_of(location), list[NDArray[np.bytes_]]()
    try:
        for table in decode_pieces(_read_all(location), location, num_rows=PIECE_ROWS):
            _require_columns(table, uri_column, reserved_columns, name)
            raw_uris = _uri_texts(table[uri_column], uri_column, name)
            uris = _each(raw_uris, lambda uri: _allowed(_normalised(uri, folder), allow_schemes))
            piece = _assemble(table, uri_column, uris, name)
            ids.append(_digests(piece["video_id"]))
            yield piece
    except ManifestError:
        whole()  # which says in which rows of all
        raise
    if not ids or not _is_unique(np.concatenate(ids)):
        whole()  # which says of which


def _digests(ids: pa.ChunkedArray[Any]) -> NDArray[np.bytes_]:
    """Return sixteen bytes for each id, however long it is."""
    texts = [text for piece in _pieces(ids) for text in piece]
    return np.array([hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts], "S32")


def _is_unique(digests: NDArray[np.bytes_]) -> bool:
    digests.sort()
    return not (digests[1:] == digests[:-1]).any()


def named_uri(location: str, *, allow_schemes: Collection[str]) -> str:
    """Return the URI of a video that is named where a manifest could be, as `read_manifest` has it.

    Raises:
        ManifestError: its scheme is not allowed.
    """
    return _allowed(_normalised(location, storage.join(".", "")), allow_schemes)


def video_id_of(uri: str) -> str:
    """Return the identifier of a video that was given none."""
    return hashlib.sha256(uri.encode()).hexdigest()[:VIDEO_ID_HEX_DIGITS]


def _read_all(location: str) -> bytes:
    try:
        return storage.read_bytes(location, timeout_seconds=READ_SECONDS)
    except storage.StorageError as error:
        manifest_name = storage.redact(location)
        if error.kind == "not_found":
            raise ManifestError(f"no such manifest: {manifest_name!r}") from error
        kind = error.kind.replace("_", " ")
        raise ManifestError(f"manifest {manifest_name!r} cannot be read: {kind}, {error}") from error


def _require_columns(table: pa.Table, uri_column: str, reserved: Collection[str], manifest_name: str) -> None:
    if table.num_rows == 0:
        raise ManifestError(f"manifest {manifest_name!r} is empty: it has no rows")
    names = table.column_names
    if uri_column not in names or uri_column == "video_id":
        raise ManifestError(
            f"manifest {manifest_name!r} has no column {uri_column!r} for uris, it has {names}"
        )
    others = [name for name in names if name not in {uri_column, "video_id"}]
    taken = sorted({*reserved, "uri"}.intersection(others))
    if taken:
        raise ManifestError(
            f"manifest {manifest_name!r}: columns {taken} must be renamed, the report has its own"
        )


def _uri_texts(column: pa.ChunkedArray[Any], uri_column: str, manifest_name: str) -> pa.ChunkedArray[Any]:
    """The column, if it is of texts; a null or an empty one is refused by its row number."""
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not str(value_type).endswith(("string", "string_view", "null")):
        raise ManifestError(
            f"manifest {manifest_name!r}: column {uri_column!r} must be text, got {column.type}"
        )
    return _filled(column, uri_column, manifest_name)


def _filled(column: pa.ChunkedArray[Any], name: str, manifest_name: str) -> pa.ChunkedArray[Any]:
    texts = (text for piece in _pieces(column) for text in piece)
    rows = [row for row, text in enumerate(texts, start=1) if not text]
    if rows:
        raise ManifestError(
            f"manifest {manifest_name!r}: {name} must not be null or empty, rows {_named(rows)}"
        )
    return column


def _pieces(texts: _Texts) -> Iterator[list[Any]]:
    for start in range(0, len(texts), PIECE_ROWS):
        piece = texts[start : start + PIECE_ROWS]
        yield piece if isinstance(piece, list) else piece.to_pylist()


def _each(texts: _Texts, change: Callable[[str], str]) -> pa.ChunkedArray[Any]:
    """Change every text."""
    changed = (pa.array([change(text) for text in piece], pa.string()) for piece in _pieces(texts))
    return pa.chunked_array(changed, pa.string())


def _folder_of(location: str) -> str:
    if storage.scheme_of(location) == "file":
        return storage.join(".", storage.local_path(location)).rpartition("/")[0] or "/"
    path = storage.redact(location) if storage.scheme_of(location) in {"http", "https"} else location
    return path.rpartition("/")[0]


def _normalised(uri: str, folder: str) -> str:
    """One form for one place: an absolute plain path, or a URI with its scheme in lower case."""
    if _PLAIN_NAME.fullmatch(uri) and folder.isascii() and storage.scheme_of(folder) == "file":
        return f"{folder.rstrip('/')}/{uri}"
    scheme = storage.scheme_of(uri)
    if scheme != "file":
        return scheme + uri[len(scheme) :]
    path = storage.local_path(uri)
    return storage.as_text(storage.join("/" if path.startswith("/") else folder, path))


def _allowed(uri: str, allow_schemes: Collection[str]) -> str:
    scheme = storage.scheme_of(uri)
    if scheme not in allow_schemes:
        allowed = ", ".join(sorted(allow_schemes))
        raise ManifestError(
            f"scheme {scheme!r} of uri {storage.redact(uri)!r} must be one of allow_schemes: {allowed}"
        )
    return uri


def _assemble(table: pa.Table, uri_column: str, uris: pa.ChunkedArray[Any], manifest_name: str) -> pa.Table:
    """Put `video_id` and `uri` before the other columns."""
    if "video_id" in table.column_names:
        ids = _given_ids(table["video_id"], manifest_name)
    else:
        ids = _each(uris, video_id_of)
    _require_unique(ids, uris, manifest_name)
    others = [name for name in table.column_names if name not in {uri_column, "video_id"}]
    columns: list[Any] = [ids, uris, *(table[name] for name in others)]
    return pa.Table.from_arrays(columns, names=["video_id", "uri", *others])


def _given_ids(column: pa.ChunkedArray[Any], manifest_name: str) -> pa.ChunkedArray[Any]:
    try:
        ids: Any = pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise ManifestError(
            f"manifest {manifest_name!r}: video_id must be text, got {column.type}"
        ) from error
    return _filled(ids, "video_id", manifest_name)


def _require_unique(ids: pa.ChunkedArray[Any], uris: pa.ChunkedArray[Any], manifest_name: str) -> None:
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts: Counter[Any] = Counter(ids.to_pylist())
    first_uris = dict(zip(reversed(ids.to_pylist()), reversed(uris.to_pylist()), strict=True))
    twice = [f"{one!r} ({storage.redact(first_uris[one])!r})" for one, count in counts.items() if count > 1]
    if twice:
        raise ManifestError(
            f"manifest {manifest_name!r}: video_id must be unique, these are not: {_named(twice)}"
        )


def _named(offenders: list[str] | list[int]) -> str:
    rest = len(offenders) - NAMED_AT_MOST
    named = ", ".join(str(one) for one in offenders[:NAMED_AT_MOST])
    return f"{named} and {rest} more" if rest > 0 else named
