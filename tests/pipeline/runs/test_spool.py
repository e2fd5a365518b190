"""A spool answers as the table that it was made of, whatever the pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.runs.key_index import halves
from pipeline.runs.spool import Spool

NUM_ROWS = 25


@pytest.fixture
def table() -> pa.Table:
    return pa.table(
        {
            "row_key": [f"key {number}" for number in range(NUM_ROWS)],
            "channel": pa.array([f"channel {number % 3}" for number in range(NUM_ROWS)]).dictionary_encode(),
            "uploaded": pa.array(range(NUM_ROWS), pa.timestamp("s")),
            "tags": [["a"] * (number % 3) or None for number in range(NUM_ROWS)],
        }
    )


@pytest.fixture
def spool(table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setattr("pipeline.runs.spool.PIECE_ROWS", 10)
    parts = [table.slice(0, 3), table.slice(3, 0), table.slice(3, 12), table.slice(15)]
    return Spool(tmp_path / "spool", parts)


def test_all_rows_are_there_with_their_types(spool: Spool, table: pa.Table) -> None:
    assert (spool.num_rows, spool.schema) == (NUM_ROWS, table.schema)
    assert pa.concat_tables(spool.pieces()).equals(table)
    assert spool.row_keys().tolist() == halves(table["row_key"]).tolist()
    assert next(spool.pieces(["uploaded"])).column_names == ["uploaded"]


@pytest.mark.parametrize("start", [0, 3, 10, 19, 24, 25, 40])
@pytest.mark.parametrize("length", [1, 10, 12, 100])
def test_a_slice_is_the_table_s(spool: Spool, table: pa.Table, start: int, length: int) -> None:
    assert spool.slice(start, length).to_pylist() == table.slice(start, length).to_pylist()


@pytest.mark.parametrize("size", [1, 4, 100])
def test_rows_are_taken_in_the_order_that_is_asked_for(spool: Spool, table: pa.Table, size: int) -> None:
    places = np.array([0, 7, 12, 24, 3, 9, 10, 23, 23])
    parts = list(spool.taken(places, ["row_key", "channel"], size=size))
    assert [part.num_rows for part in parts[:-1]] == [size] * (len(parts) - 1)
    taken = pa.concat_tables(parts)
    assert taken.to_pylist() == table.select(["row_key", "channel"]).take(places).to_pylist()
    assert list(spool.taken(places[:0], ["row_key"], size=size)) == []


def test_the_keys_of_some_rows_are_theirs(spool: Spool) -> None:
    which = np.zeros(NUM_ROWS, np.bool_)
    which[[2, 11, 24]] = True
    assert list(spool.keys_at(which)) == ["key 2", "key 11", "key 24"]
    assert list(spool.keys_at(~which & False)) == []
