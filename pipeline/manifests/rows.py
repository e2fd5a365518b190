"""Owns what makes a row of a manifest: its URI in one form, its id, and why it is refused."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from operators import storage
from securevqa_core.errors import ManifestError

__all__ = [
    "DEFAULT_ALLOW_SCHEMES",
    "Manifest",
    "Refusal",
    "RowRules",
    "distinct_ids",
    "folder_of",
    "named_offenders",
    "named_uri",
    "refused_scheme",
    "require_all",
    "texts_in_pieces",
    "told_apart",
    "video_id_of",
]

# Plain http is left out: anybody on the way could swap the video.
DEFAULT_ALLOW_SCHEMES = frozenset({"file", "s3", "gs", "az", "https"})

NAMED_AT_MOST = 10  # offenders named in a message; the rest are counted
VIDEO_ID_HEX_DIGITS = 24
PIECE_ROWS = 10_000  # held as Python's texts at once, which take several times what Arrow's do

# Relative, of ASCII alone, and as it is once joined: no empty part, no `.` or `..`, no scheme.
_PLAIN_NAME = re.compile(r"(?:(?!\.)[ -.0-9;-~]+/)*(?!\.)[ -.0-9;-~]+")

Texts: TypeAlias = "pa.ChunkedArray[Any] | list[str]"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """What rows of one manifest have to obey, as `manifest.read_rows` is told."""

    location: str
    uri_column: str = "uri"
    allow_schemes: Collection[str] = DEFAULT_ALLOW_SCHEMES
    reserved_columns: Collection[str] = frozenset()

    def rows(self, table: pa.Table, folder: str) -> Manifest:
        """Return the rows of a table, or of some rows of it, whose relative URIs start at a folder.

        Raises:
            ManifestError: there is none, or the columns break a rule.
        """
        name = storage.redact(self.location)
        _require_columns(table, self.uri_column, self.reserved_columns, name)
        return self._rows(
            table, self.uri_column, _uri_texts(table[self.uri_column], self.uri_column, name), folder
        )

    def videos(self, uris: Texts) -> Manifest:
        """Return rows of videos that a listing found."""
        return self._rows(pa.table({}), "uri", uris, "/")

    def _rows(self, table: pa.Table, uri_column: str, raw_uris: Texts, folder: str) -> Manifest:
        uris = _each(raw_uris, lambda uri: _normalised(uri, folder) if uri else "")
        refused = _refused_uris(uris, uri_column, self.allow_schemes)
        ids = _ids(table, uris, refused, storage.redact(self.location))
        return Manifest(table=_assemble(table, uri_column, ids, uris), refused=refused, others=[])


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
    said = "; ".join(named_offenders(messages) for messages in by_code.values())
    raise ManifestError(f"manifest {storage.redact(location)!r}: {said}")


def named_uri(location: str) -> str:
    """Return the URI of a video that is named where a manifest could be, as `read_manifest` has it."""
    return _normalised(location, storage.join(".", ""))


def video_id_of(uri: str) -> str:
    """Return the identifier of a video that was given none."""
    return hashlib.sha256(uri.encode()).hexdigest()[:VIDEO_ID_HEX_DIGITS]


def folder_of(location: str) -> str:
    """Return the folder that a manifest's relative URIs start at."""
    if storage.scheme_of(location) == "file":
        return storage.join(".", storage.local_path(location)).rpartition("/")[0] or "/"
    path = storage.redact(location) if storage.scheme_of(location) in {"http", "https"} else location
    return path.rpartition("/")[0]


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
    told = told_apart(ids.to_pylist(), _each_text(uris), refused, are_given=are_given)
    return pa.chunked_array([pa.array(told, pa.string())])


def told_apart(
    ids: Iterable[Any], uris: Iterable[str], refused: dict[int, Refusal], *, are_given: bool
) -> list[str]:
    """Return the ids of rows as `distinct_ids` does, of plain lists."""
    given: list[Any] = list(ids)
    taken, first, times = set(given), dict[str, int](), Counter[str]()
    for index, (one, uri) in enumerate(zip(given, uris, strict=True)):
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
    return given


def texts_in_pieces(texts: Texts) -> Iterator[list[Any]]:
    """Yield texts, `PIECE_ROWS` at a time."""
    for start in range(0, len(texts), PIECE_ROWS):
        piece = texts[start : start + PIECE_ROWS]
        yield piece if isinstance(piece, list) else piece.to_pylist()


def named_offenders(offenders: list[str] | list[int]) -> str:
    """Name some offenders, and count the rest."""
    rest = len(offenders) - NAMED_AT_MOST
    named = ", ".join(str(one) for one in offenders[:NAMED_AT_MOST])
    return f"{named} and {rest} more" if rest > 0 else named


def _require_columns(table: pa.Table, uri_column: str, reserved: Collection[str], manifest_name: str) -> None:
    if table.num_rows == 0:
        raise ManifestError(f"manifest {manifest_name!r} is empty: it has no rows")
    names = table.column_names
    if uri_column not in names or uri_column == "video_id":
        hint = "" if uri_column != "uri" else "; --uri-column names another"
        if len(names) == 1 and {"/", "."} & set(names[0]):  # a path, of a list without a header
            hint = "; its first line is to name its columns"
        there = f"it has {', '.join(names)}{hint}"
        raise ManifestError(f"manifest {manifest_name!r} has no column {uri_column!r} for uris, {there}")
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


def _each(texts: Texts, change: Callable[[str | None], str]) -> pa.ChunkedArray[Any]:
    """Change every text."""
    changed = (pa.array([change(text) for text in piece], pa.string()) for piece in texts_in_pieces(texts))
    return pa.chunked_array(changed, pa.string())


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
        elif refusal := refused_scheme(uri, allow_schemes):
            refused[index] = refusal
    return refused


def refused_scheme(uri: str, allow_schemes: Collection[str]) -> Refusal | None:
    """Return why a URI is refused for its scheme, None where it is not."""
    scheme = storage.scheme_of(uri)
    if scheme in allow_schemes:
        return None
    allowed = ", ".join(sorted(allow_schemes))
    named = f"scheme {scheme!r} of uri {storage.redact(uri)!r}"
    return Refusal(code="scheme_not_allowed", message=f"{named} must be one of --allow-scheme: {allowed}")


def _ids(
    table: pa.Table, uris: pa.ChunkedArray[Any], refused: dict[int, Refusal], manifest_name: str
) -> pa.ChunkedArray[Any]:
    """The id of every row, no two alike; refuses rows whose own is missing or another's."""
    if "video_id" in table.column_names:
        return distinct_ids(_given_ids(table["video_id"], manifest_name), uris, refused, are_given=True)
    return distinct_ids(_each(uris, lambda uri: video_id_of(uri or "")), uris, refused, are_given=False)


def _each_text(texts: Texts) -> Iterator[str]:
    return (text for piece in texts_in_pieces(texts) for text in piece)


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
