"""Owns the rows of a manifest while a run works on them: on the disk, a piece of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.schema import ROW_KEY, texts
from pipeline.runs.key_index import halves

__all__ = ["PIECE_ROWS", "Spool"]

PIECE_ROWS = 10_000  # held at once, and asked a store for at once, where a question takes a kilobyte


class Spool:
    """A table in files of `PIECE_ROWS` rows; what is asked of it as of a `pyarrow.Table` is answered alike.

    Args:
        folder: for the files; the caller removes it.
        tables: of one row together at least.
    """

    def __init__(self, folder: Path, tables: Iterable[pa.Table]) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._num_pieces = self.num_rows = 0
        for piece in _evenly(tables):
            with pa.ipc.new_file(self._path(self._num_pieces), piece.schema) as file:
                file.write_table(piece.unify_dictionaries().combine_chunks())
            self.schema = piece.schema
            self._num_pieces += 1
            self.num_rows += piece.num_rows
        pa.default_memory_pool().release_unused()

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows, some at a time: these columns of them, or all."""
        for number in range(self._num_pieces):
            yield self._piece(number, columns)

    def row_keys(self) -> NDArray[np.uint64]:
        """Return (rows, 2) the halves of the row key of every row, as `key_index.halves`."""
        keys = np.empty((self.num_rows, 2), np.uint64)
        for number, piece in enumerate(self.pieces([ROW_KEY])):
            keys[number * PIECE_ROWS :][: piece.num_rows] = halves(piece[ROW_KEY])
        return keys

    def slice(self, start: int, length: int) -> pa.Table:
        """Return `length` rows, or what there is of them, from `start` on."""
        first, last = start // PIECE_ROWS, min(-(-(start + length) // PIECE_ROWS), self._num_pieces)
        pieces = [self._piece(number) for number in range(first, last)]
        whole = pa.concat_tables(pieces) if pieces else self.schema.empty_table()
        return whole.slice(start - first * PIECE_ROWS, length)

    def taken(self, places: NDArray[np.int64], columns: Sequence[str], *, size: int) -> Iterator[pa.Table]:
        """Yield the rows at `places`, in that order, `size` at a time; quick where most places ascend."""
        held: dict[int, pa.Table] = {}
        for start in range(0, len(places), size):
            now = places[start : start + size]
            of_piece = now // PIECE_ROWS
            held = {
                number: held[number] if number in held else self._piece(number, columns)
                for number in dict.fromkeys(of_piece.tolist())
            }
            starts = np.cumsum([0, *(piece.num_rows for piece in held.values())])
            offsets = dict(zip(held, starts, strict=False))
            at = [offsets[number] for number in of_piece.tolist()] + now % PIECE_ROWS
            yield pa.concat_tables(held.values()).take(at)

    def keys_at(self, which: NDArray[np.bool_]) -> Iterator[str]:
        """Yield the row keys of some rows, (rows,)."""
        for number in np.unique(np.flatnonzero(which) // PIECE_ROWS).tolist():
            chosen = which[number * PIECE_ROWS : (number + 1) * PIECE_ROWS]
            yield from texts(self._piece(number, [ROW_KEY]).filter(pa.array(chosen)), ROW_KEY)

    def _piece(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        fields = None if columns is None else [self.schema.get_field_index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        with pa.OSFile(self._path(number), "r") as source:
            table = pa.ipc.open_file(source, options=options).read_all()
        return table if columns is None else table.select(list(columns))

    def _path(self, number: int) -> str:
        return str(self._folder / f"{number:06d}.arrow")


def _evenly(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables `PIECE_ROWS` at a time, and then the rest."""
    rest: pa.Table | None = None
    for table in tables:
        whole = table if rest is None else pa.concat_tables([rest, table])
        end = whole.num_rows - whole.num_rows % PIECE_ROWS
        for start in range(0, end, PIECE_ROWS):
            yield whole.slice(start, PIECE_ROWS)
        rest = whole.slice(end)
    if rest is not None and rest.num_rows:
        yield rest
