"""Owns decoding a manifest file's bytes: Parquet, CSV and JSON lines, and what numbers are in CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NoReturn, cast

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage import redact, scheme_of
from pipeline.tables import parquet_table
from securevqa_core.errors import ManifestError

__all__ = [
    "MANIFEST_SUFFIXES",
    "as_numbers",
    "decode_pieces",
    "decode_table",
    "number_types",
    "piece_schemas",
    "suffix_of",
]

READ_BYTES = 1 << 20  # of a column at once; else all of it in a row group
# As numbers are written: `007` and `+49` are no numbers, nor is what 64 bits would not hold exactly.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?")
_MOST_DIGITS = 15  # that a float tells apart


def suffix_of(location: str) -> str:
    """The manifest suffix of a location in lower case, "" where it has none of `MANIFEST_SUFFIXES`."""
    name = (location if scheme_of(location) == "file" else redact(location)).lower()
    return next((suffix for suffix in MANIFEST_SUFFIXES if name.endswith(suffix)), "")


def decode_table(content: bytes, location: str) -> pa.Table:
    """The table in `content`, whose format follows from the suffix of `location`.

    Raises:
        ManifestError: the format is unknown, or the bytes are not in it; lines are numbered from 1.
    """
    name, suffix = redact(location), suffix_of(location)
    if not suffix:
        known = ", ".join(MANIFEST_SUFFIXES)
        raise ManifestError(f"manifest {name!r} must be a directory, a glob or end in one of {known}")
    return MANIFEST_SUFFIXES[suffix](content, name)


def decode_pieces(file: BinaryIO, location: str, *, num_rows: int) -> Iterator[pa.Table]:
    """Yield the same table from an open file, about `num_rows` rows at a time.

    Of JSON lines each piece has the columns and types that its own rows show: see `piece_schemas`.

    Raises:
        ManifestError: as `decode_table`, which says where.
    """
    name, suffix = redact(location), suffix_of(location)
    try:
        yield from _PIECES[suffix](file, name, num_rows)
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        raise ManifestError(f"manifest {name!r} is not readable: {error}") from error


def piece_schemas(file: BinaryIO, location: str, *, num_rows: int) -> Iterator[pa.Schema]:
    """Yield the columns of these pieces: one for all, or, of JSON lines, those of each.

    Raises:
        ManifestError: as `decode_pieces`.
    """
    if suffix_of(location) == ".parquet":
        with _as_parquet(file, redact(location)) as parquet:
            yield parquet.schema_arrow
        return
    for piece in decode_pieces(file, location, num_rows=num_rows):
        yield piece.schema
        if suffix_of(location) == ".csv":
            return


@contextlib.contextmanager
def _as_parquet(file: BinaryIO, name: str) -> Iterator[pq.ParquetFile]:
    try:
        parquet = pq.ParquetFile(file, buffer_size=READ_BYTES)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"manifest {name!r} is not readable Parquet: {error}") from error
    _require_unique(parquet.schema_arrow.names, name)
    yield parquet


def _parquet_pieces(file: BinaryIO, name: str, num_rows: int) -> Iterator[pa.Table]:
    with _as_parquet(file, name) as parquet:
        # In this thread: another would let go of memory that is Python's as the process may be ending.
        for batch in parquet.iter_batches(batch_size=num_rows, use_threads=False):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)


def _csv_pieces(file: BinaryIO, name: str, num_rows: int) -> Iterator[pa.Table]:
    with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        rows = (row for row in csv.reader(text, strict=True) if row)
        names = next(rows, [])
        _require_unique(names, name)
        while piece := list(itertools.islice(rows, num_rows)):
            if any(len(row) != len(names) for row in piece):
                raise ManifestError(f"manifest {name!r}: a row has not as many cells as the header")
            columns = [pa.array(cells, pa.string()) for cells in zip(*piece, strict=True)]
            yield pa.Table.from_arrays(columns, names=names)


def _json_pieces(file: BinaryIO, name: str, num_rows: int) -> Iterator[pa.Table]:
    with io.TextIOWrapper(file, "utf-8-sig", newline="\n") as text:
        lines = (line for line in text if line.strip())
        while piece := list(itertools.islice(lines, num_rows)):
            yield _json_table([_json_object(line, f"manifest {name!r}") for line in piece], name)


def number_types(tables: Iterable[pa.Table], *, texts: Collection[str]) -> dict[str, pa.DataType]:
    """Return the types of columns of CSV whose cells are all written as numbers, empty ones left out.

    Args:
        tables: of texts, with all rows between them.
        texts: columns that stay text whatever is in them.
    """
    fits: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for name in set(table.column_names) - set(texts):
            cells = [cell for cell in table[name].to_pylist() if cell]
            if cells and fits.get(name) != set():
                fits[name] = fits.get(name, {pa.int64(), pa.float64()}) & _types_of(cells)
    return {
        name: pa.int64() if pa.int64() in types else pa.float64() for name, types in fits.items() if types
    }


def as_numbers(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return a table of texts with the columns that `number_types` found as numbers, null where empty."""
    for place, name in enumerate(table.column_names):
        if name in types:
            number = int if types[name] == pa.int64() else float
            cells = [number(cell) if cell else None for cell in table[name].to_pylist()]
            table = table.set_column(place, name, pa.array(cells, types[name]))
    return table


def _types_of(cells: Iterable[str]) -> set[pa.DataType]:
    are_integers, are_decimals = True, True
    for cell in cells:
        are_integers = are_integers and _INTEGER.fullmatch(cell) is not None
        are_decimals = (
            are_decimals
            and _DECIMAL.fullmatch(cell) is not None
            and sum(map(str.isdigit, cell)) <= _MOST_DIGITS
        )
    return {kind for kind, fits in ((pa.int64(), are_integers), (pa.float64(), are_decimals)) if fits}


def _decode_parquet(content: bytes, name: str) -> pa.Table:
    try:
        table = parquet_table(content)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"manifest {name!r} is not readable Parquet: {error}") from error
    _require_unique(table.column_names, name)
    return table.replace_schema_metadata(None)  # pandas' notes would turn columns into an index


def _decode_csv(content: bytes, name: str) -> pa.Table:
    """Every cell as the text it is; python's reader numbers the lines it refuses."""
    reader = csv.reader(io.StringIO(_text(content, name), newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ManifestError(
            f"manifest {name!r}, line {reader.line_num}: not readable CSV: {error}"
        ) from error
    names = rows[0][1] if rows else []
    _require_unique(names, name)
    for number, row in rows[1:]:
        if len(row) != len(names):
            message = f"has {len(row)} cells, the header has {len(names)}"
            raise ManifestError(f"manifest {name!r}, line {number}: {message}")
    columns = [pa.array([row[i] for _, row in rows[1:]], pa.string()) for i in range(len(names))]
    return pa.Table.from_arrays(columns, names=names)


def _decode_json_lines(content: bytes, shown: str) -> pa.Table:
    """JSON's own types only: text that looks like a date stays text."""
    rows = [
        _json_object(line, f"manifest {shown!r}, line {number}")
        for number, line in enumerate(_text(content, shown).split("\n"), start=1)
        if line.strip()
    ]
    return _json_table(rows, shown)


def _json_table(rows: list[dict[str, Any]], shown: str) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [_json_column(name, [row.get(name) for row in rows], shown) for name in names]
    return pa.Table.from_arrays(columns, names=names)


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_unique_pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise ManifestError(f"{where}: must be one JSON object, got {type(value).__name__}")
    return cast("dict[str, Any]", _encodable(value)) if "\\u" in line else value


def _encodable(value: Any) -> Any:
    """Write halves of characters, which JSON names of a title cut short and no text holds, as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(one) for name, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = _twice(name for name, _ in pairs)
    if twice:
        raise ValueError(f"names must be unique, {twice} come twice")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json_column(name: str, values: list[Any], manifest_name: str) -> Any:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ManifestError(
            f"manifest {manifest_name!r}, column {name!r}: values of one type, please: {error}"
        ) from error


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ManifestError(f"manifest {name!r}, line {line}: not UTF-8: {error.reason}") from error


def _require_unique(names: list[str], manifest_name: str) -> None:
    if twice := _twice(names):
        raise ManifestError(f"manifest {manifest_name!r}: column names must be unique, {twice} come twice")


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


MANIFEST_SUFFIXES: dict[str, Callable[[bytes, str], pa.Table]] = {
    ".parquet": _decode_parquet,
    ".csv": _decode_csv,
    ".jsonl": _decode_json_lines,
    ".ndjson": _decode_json_lines,
    ".json": _decode_json_lines,
}
_PIECES: dict[str, Callable[[BinaryIO, str, int], Iterator[pa.Table]]] = {
    ".parquet": _parquet_pieces,
    ".csv": _csv_pieces,
    ".jsonl": _json_pieces,
    ".ndjson": _json_pieces,
    ".json": _json_pieces,
}
