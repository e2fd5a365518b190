"""Owns tables for readers: on a terminal of any width, as CSV and as JSON; and names of videos in them."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

from operators.storage import redact
from pipeline.text import literal
from securevqa_core.errors import ManifestError

__all__ = [
    "Heading",
    "csv_bytes",
    "file_names",
    "fitted",
    "json_lines",
    "json_text",
    "parquet_bytes",
    "parquet_table",
    "plain",
    "readable",
    "require_parquet",
    "row_names",
    "short_ids",
]

MAX_WIDTH = 140
ID_LETTERS = 8
_FORMULA_STARTS = "=+-@\t\r\n"  # OWASP, "CSV injection"
WHOLE_WORD = 24  # letters of a word, an error code or a short name, that is not broken if it can be helped
LEAST_WIDTH = 8  # of a column, whatever is in it
_WORDS = re.compile(r"\S*\s*")
_PIECES = re.compile(
    r"[^-_/.]*[-_/.]*"
)  # of a long word, which is broken after one before it is anywhere else
_AT_ONCE = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
_TIMES = (pa.types.is_timestamp, pa.types.is_date)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A column of a table on a terminal."""

    name: str
    is_number: bool = False
    is_wrapped: bool = False  # between words where it does not fit; others keep their width


def fitted(headings: Sequence[Heading], rows: Sequence[Sequence[Sequence[str]]], console: Console) -> Table:
    """Return a table that fits a console; what is in it is printed and never obeyed.

    Args:
        headings: of the columns.
        rows: for every column the lines of its cell.
        console: whose width counts, up to `MAX_WIDTH`.
    """
    cells = [[[literal(line, console).plain for line in cell] for cell in row] for row in rows]
    columns = [[line for row in cells for line in row[place]] for place in range(len(headings))]
    width = min(console.width, MAX_WIDTH) - 2 * len(headings) + 1  # a space after each, and one between
    widths = _widths(headings, columns, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading, wide in zip(headings, widths, strict=True):
        justify: Any = "right" if heading.is_number else "left"
        table.add_column(heading.name, justify=justify, width=wide + 1)  # its padding counts
    for row in cells:
        lines = [
            [part for line in cell for part in _wrapped(line, wide)]
            for cell, wide in zip(row, widths, strict=True)
        ]
        table.add_row(*(Text("\n".join(one)) for one in lines))
    return table


def _widths(headings: Sequence[Heading], columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """Give every column what its longest word takes, and those that are wrapped what is left, by need."""
    natural, least = [], []
    for heading, lines in zip(headings, columns, strict=True):
        title = max(map(cell_len, heading.name.split()))
        whole_title = cell_len(heading.name) if heading.is_wrapped else title
        natural.append(max([whole_title, *map(cell_len, lines)]))
        words = [_whole_width(word.rstrip()) for line in lines for word in _WORDS.findall(line)]
        least.append(max([title, *words]) if heading.is_wrapped else natural[-1])
    wrapped = [place for place, heading in enumerate(headings) if heading.is_wrapped]
    while wrapped and sum(least) > width:  # words that leave no room are broken, the longest first
        widest = max(wrapped, key=least.__getitem__)
        if least[widest] <= LEAST_WIDTH:
            break
        least[widest] -= 1
    needs = [wide - narrow for wide, narrow in zip(natural, least, strict=True)]
    left, total = max(0, width - sum(least)), sum(needs)
    if left >= total:
        return natural
    return [narrow + left * need // total for narrow, need in zip(least, needs, strict=True)]


def _whole_width(word: str) -> int:
    wide = cell_len(word)
    return wide if wide <= WHOLE_WORD else max(map(cell_len, _PIECES.findall(word)))


def _wrapped(line: str, width: int) -> list[str]:
    """Break a line between words, a word that is too long after a piece, and such a piece anywhere."""
    lines = [""]
    for part in _parts(line, width):
        if lines[-1] and cell_len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [one.rstrip() for one in lines]


def _parts(line: str, width: int) -> Iterator[str]:
    for word in _WORDS.findall(line):
        if cell_len(word.rstrip()) <= width:
            yield word
            continue
        for piece in _PIECES.findall(word):
            yield from [piece] if cell_len(piece) <= width else chop_cells(piece, width)


def readable(column: Any) -> list[Any]:
    """Return the values of a column for people; moments that Python has no object for as text."""
    column = _of_known_zone(column)
    try:
        return cast(list[Any], column.to_pylist())
    except (OverflowError, ValueError):
        return cast(list[Any], column.cast(pa.string()).to_pylist())


def plain(table: pa.Table) -> pa.Table:
    """Return a table whose moments Python has objects for: a column with one that it has none of is text."""
    for place, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if any(is_so(kind) for is_so in _TIMES):
            column = _of_known_zone(table[field.name].cast(kind))
            try:
                column.to_pylist()
            except (OverflowError, ValueError):
                column = column.cast(pa.string())
            table = table.set_column(place, field.name, column)
    return table


def csv_bytes(table: pa.Table) -> bytes:
    """Encode for spreadsheets: an apostrophe keeps them from running text that begins as a formula does."""
    for place, field in enumerate(table.schema):
        table = table.set_column(place, field.name, _csv_column(table[field.name]))
    sink = io.BytesIO()
    pacsv.write_csv(table, sink)
    return sink.getvalue()


def _csv_column(column: Any) -> Any:
    """Return a column as Arrow writes it to CSV: what CSV has no place for as text."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if any(is_so(kind) for is_so in (*_AT_ONCE, *_TIMES)):
        return _of_known_zone(column.cast(kind))
    as_text = json_text if pa.types.is_nested(kind) else str
    texts = [None if value is None else as_text(value) for value in readable(column)]
    guarded = [f"'{text}" if text and text[0] in _FORMULA_STARTS else text for text in texts]
    return pa.array(guarded, pa.string())


def _of_known_zone(column: Any) -> Any:
    """Return a column; moments of a zone that this machine does not know are those of UTC."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return column
    moment: Any = pa.array([0], pa.int64()).cast(kind)
    try:
        moment.to_pylist()
        moment.cast(pa.string())
    except (ValueError, LookupError):
        return column.cast(kind).cast(pa.timestamp(kind.unit, "UTC"))
    return column


def require_parquet(manifest: pa.Schema) -> None:
    """Refuse columns that no report could hold, before anything is scored.

    Raises:
        ManifestError: Parquet has no place for a column's type.
    """
    try:
        pq.write_table(manifest.empty_table(), io.BytesIO())
    except pa.ArrowException as error:
        raise ManifestError(f"a column of the manifest cannot be written to the report: {error}") from error


def parquet_bytes(table: pa.Table) -> bytes:
    """Encode as compressed Parquet."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def parquet_table(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Decode Parquet from memory of Arrow's own: all columns, or those named.

    A thread of Arrow lets go of a file's memory a moment after the table is there. Of memory that is Python's
    it asks the interpreter, and where that is ending the process aborts (exit code 134, "terminate called
    without an active exception").
    """
    owned = pa.BufferOutputStream()
    owned.write(content)
    names = None if columns is None else list(columns)
    return pq.read_table(pa.BufferReader(owned.getvalue()), columns=names)


def json_lines(table: pa.Table) -> bytes:
    """Encode a JSON object a row."""
    names, columns = table.column_names, [readable(column) for column in table.columns]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return "".join(f"{json_text(row)}\n" for row in rows).encode()


def json_text(value: Any, *, indent: int | None = None, is_ascii: bool = False) -> str:
    """Encode a value; what JSON has no number for, NaN and the infinities, is null."""
    plain = _without_nan(value)
    return json.dumps(plain, default=str, ensure_ascii=is_ascii, allow_nan=False, indent=indent)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return [_without_nan(one) for one in value] if isinstance(value, list | tuple) else value


def file_names(uris: Sequence[str]) -> list[str]:
    """Return the file names of URIs, with as many of their folders as tell one from another.

    file_names(["/up/a/clip.mp4", "/up/b/clip.mp4", "/up/b/more.mp4"])
    -> ["a/clip.mp4", "b/clip.mp4", "more.mp4"]

    The whole URI stands for what has no file name, and for what no folder tells apart.
    """
    names = [redact(uri) for uri in uris]
    unnamed, depth = list(range(len(names))), 1
    while unnamed:
        ends = [_end(names[place], depth) for place in unnamed]
        times = Counter(ends)
        named = zip(unnamed, ends, strict=True)
        unnamed = []
        for place, end in named:
            if end and times[end] == 1:
                names[place] = end
            elif end and len(end) < len(_path(names[place])):
                unnamed.append(place)
        depth += 1
    return names


def row_names(uris: Sequence[str]) -> list[str]:
    """Return the names of `file_names`, and of rows without a URI which they are: `row 6`, from 1.

    Args:
        uris: of all rows, in the manifest's order.
    """
    return [name or f"row {place}" for place, name in enumerate(file_names(uris), start=1)]


def _path(uri: str) -> str:
    return (uri.partition("://")[2] or uri).rstrip("/")


def _end(uri: str, depth: int) -> str:
    """Return the last `depth` parts of a URI, or all of its path."""
    return "/".join(_path(uri).rsplit("/", depth)[-depth:])


def short_ids(ids: Sequence[str]) -> list[str]:
    """Return the beginnings of ids, as short as tells them apart, but of `ID_LETTERS` at least."""
    longest = max(map(len, ids), default=0)
    num_ids = len(set(ids))
    letters = ID_LETTERS
    while letters < longest and len({one[:letters] for one in ids}) < num_ids:
        letters += 1
    return [one[:letters] for one in ids]
