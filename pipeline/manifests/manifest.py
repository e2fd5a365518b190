"""Owns turning what the operator points at (a manifest file, a directory, a glob) into one row per video.

read_manifest("s3://bucket/night/manifest.csv")  ->  video_id | uri | every other column, unchanged
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators import storage
from pipeline.manifests.formats import decode_pieces, decode_table, suffix_of
from pipeline.manifests.listing import list_videos
from pipeline.manifests.parts import home_of_parts, joined, table_parts
from securevqa_core.errors import ManifestError

__all__ = [
    "DEFAULT_ALLOW_SCHEMES",
    "Manifest",
    "Refusal",
    "distinct_ids",
    "named_uri",
    "read_manifest",
    "read_pieces",
    "read_rows",
    "require_all",
    "video_id_of",
]

# Plain http is left out: anybody on the way could swap the video.
DEFAULT_ALLOW_SCHEMES = frozenset({"file", "s3", "gs", "az", "https"})

NAMED_AT_MOST = 10  # offenders named in a message; the rest are counted
VIDEO_ID_HEX_DIGITS = 24
READ_SECONDS = 600.0  # for the manifest file itself
PIECE_ROWS = 10_000  # held as Python's texts at once, which take several times what Arrow's do

# Relative, of ASCII alone, and as it is once joined: no empty part, no `.` or `..`, no scheme.
_PLAIN_NAME = re.compile(r"(?:(?!\.)[ -.0-9;-~]+/)*(?!\.)[ -.0-9;-~]+")

_Texts: TypeAlias = "pa.ChunkedArray[Any] | list[str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a row of a manifest is not scored."""

    code: str  # of `errors.ERROR_CODES`
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Every row there is, those that are refused too."""

    table: pa.Table  # video_id (no two alike), uri, then every other column unchanged
    refused: dict[int, Refusal]  # by the row's index
    others: list[str]  # files that a directory holds besides its videos


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


def require_all(manifest: Manifest, location: str) -> None:
    """Refuse a manifest with a row that breaks a rule.

    Raises:
        ManifestError: there is one; names the rules and the rows.
    """
    if not manifest.refused:
        return
    by_code: dict[str, list[str]] = {}
    for index, one in manifest.refused.items():
        by_code.setdefault(one.code, []).append(f"row {index + 1}: {one.message}")
    said = "; ".join(_named(messages) for messages in by_code.values())
    raise ManifestError(f"manifest {storage.redact(location)!r}: {said}")


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
            is there is never taken for a glob. CSV cells stay the text they are. Where all files of a
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
    manifest_name = storage.redact(location)
    listing = list_videos(location, has_manifest_suffix=bool(suffix_of(location)))
    parts = None if listing is None else table_parts(sorted([*listing.uris, *listing.others]), location)
    if listing is None or parts is not None:
        names = [location] if parts is None else parts
        table = joined([decode_table(_read_all(name), name) for name in names], names)
        _require_columns(table, uri_column, reserved_columns, manifest_name)
        raw_uris: _Texts = _uri_texts(table[uri_column], uri_column, manifest_name)
        folder = _folder_of(location if parts is None else home_of_parts(location))
    else:
        table, uri_column, raw_uris, folder = pa.table({}), "uri", listing.uris, "/"
        if not raw_uris:
            found = f", but {_named(_names(listing.others))}" if listing.others else ""
            raise ManifestError(f"manifest {manifest_name!r} is empty: no video there{found}")
    uris = _each(raw_uris, lambda uri: _normalised(uri, folder) if uri else "")
    refused = _refused_uris(uris, uri_column, allow_schemes)
    ids = _ids(table, uris, refused, manifest_name)
    others = [] if listing is None or parts is not None else listing.others
    return Manifest(table=_assemble(table, uri_column, ids, uris), refused=refused, others=others)


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
            uris = _each(raw_uris, lambda uri: _normalised(uri, folder) if uri else "")
            refused = _refused_uris(uris, uri_column, allow_schemes)
            piece = _assemble(table, uri_column, _ids(table, uris, refused, name), uris)
            require_all(Manifest(table=piece, refused=refused, others=[]), location)
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
    uri = _normalised(location, storage.join(".", ""))
    if refusal := _refused_scheme(uri, allow_schemes):
        raise ManifestError(refusal.message)
    return uri


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
    """The column, if it is of texts."""
    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not str(value_type).endswith(("string", "string_view", "null")):
        raise ManifestError(
            f"manifest {manifest_name!r}: column {uri_column!r} must be text, got {column.type}"
        )
    return column


def _pieces(texts: _Texts) -> Iterator[list[Any]]:
    for start in range(0, len(texts), PIECE_ROWS):
        piece = texts[start : start + PIECE_ROWS]
        yield piece if isinstance(piece, list) else piece.to_pylist()


def _each(texts: _Texts, change: Callable[[str | None], str]) -> pa.ChunkedArray[Any]:
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


def _refused_uris(
    uris: pa.ChunkedArray[Any], uri_column: str, allow_schemes: Collection[str]
) -> dict[int, Refusal]:
    refused = {}
    for index, uri in enumerate(_each_text(uris)):
        if not uri:
            message = f"{uri_column} must not be null or empty"
            refused[index] = Refusal(code="row_incomplete", message=message)
        elif refusal := _refused_scheme(uri, allow_schemes):
            refused[index] = refusal
    return refused


def _refused_scheme(uri: str, allow_schemes: Collection[str]) -> Refusal | None:
    scheme = storage.scheme_of(uri)
    if scheme in allow_schemes:
        return None
    allowed = ", ".join(sorted(allow_schemes))
    named = f"scheme {scheme!r} of uri {storage.redact(uri)!r}"
    return Refusal(code="scheme_not_allowed", message=f"{named} must be one of allow_schemes: {allowed}")


def _ids(
    table: pa.Table, uris: pa.ChunkedArray[Any], refused: dict[int, Refusal], manifest_name: str
) -> pa.ChunkedArray[Any]:
    """The id of every row, no two alike; refuses rows whose own is missing or another's."""
    if "video_id" in table.column_names:
        return distinct_ids(_given_ids(table["video_id"], manifest_name), uris, refused, are_given=True)
    return distinct_ids(_each(uris, lambda uri: video_id_of(uri or "")), uris, refused, are_given=False)


def distinct_ids(
    ids: pa.ChunkedArray[Any], uris: pa.ChunkedArray[Any], refused: dict[int, Refusal], *, are_given: bool
) -> pa.ChunkedArray[Any]:
    """Return the ids with others in place of those that are empty or an earlier row's, which are refused.

    Args:
        ids: of rows, "" where there is none.
        uris: of the rows.
        refused: gets the rows that are refused here, besides those it has.
        are_given: or else digests of the URIs.
    """
    num_ids = pc.count_distinct(ids).as_py()
    if num_ids == len(ids) and not (are_given and cast(Any, pc).index(ids, "").as_py() >= 0):
        return ids
    given: list[Any] = ids.to_pylist()
    taken, first, times = set(given), dict[str, int](), Counter[str]()
    for index, (one, uri) in enumerate(zip(given, _each_text(uris), strict=True)):
        if one and one not in first:
            first[one] = index
            continue
        times[one] += 1
        given[index] = _own_id(f"{one} {uri}", times[one], taken)
        if not one:
            said = Refusal(code="row_incomplete", message="video_id must not be null or empty")
        elif are_given:
            message = f"video_id {one!r} of {storage.redact(uri)!r} is that of row {first[one] + 1}"
            said = Refusal(code="row_repeated", message=message)
        else:
            named = f"uri {storage.redact(uri)!r} is that of row {first[one] + 1}"
            message = f"{named}, and there is no video_id to tell them apart"
            said = Refusal(code="row_repeated", message=message)
        refused.setdefault(index, said)
    return pa.chunked_array([pa.array(given, pa.string())])


def _each_text(texts: _Texts) -> Iterator[str]:
    return (text for piece in _pieces(texts) for text in piece)


def _own_id(of: str, time: int, taken: set[str]) -> str:
    """Return an id that no other row has, the same in every reading of the same rows."""
    while (one := video_id_of(f"{of} {time}")) in taken:
        time += 1
    taken.add(one)
    return one


def _given_ids(column: pa.ChunkedArray[Any], manifest_name: str) -> pa.ChunkedArray[Any]:
    try:
        ids: Any = pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise ManifestError(
            f"manifest {manifest_name!r}: video_id must be text, got {column.type}"
        ) from error
    filled: pa.ChunkedArray[Any] = cast(Any, pc).fill_null(ids, "")
    return filled


def _assemble(table: pa.Table, uri_column: str, ids: Any, uris: Any) -> pa.Table:
    """Put `video_id` and `uri` before the other columns."""
    others = [name for name in table.column_names if name not in {uri_column, "video_id"}]
    columns: list[Any] = [ids, uris, *(table[name] for name in others)]
    return pa.Table.from_arrays(columns, names=["video_id", "uri", *others])


def _names(uris: Sequence[str]) -> list[str]:
    return [storage.redact(uri).rpartition("/")[2] for uri in uris]


def _named(offenders: list[str] | list[int]) -> str:
    rest = len(offenders) - NAMED_AT_MOST
    named = ", ".join(str(one) for one in offenders[:NAMED_AT_MOST])
    return f"{named} and {rest} more" if rest > 0 else named
