"""Parquet is decoded from memory that no thread has to ask Python for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.tables import parquet_bytes, parquet_table


def test_arrow_is_handed_no_memory_of_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process ended soon after, Arrow let go of such memory in a thread, which aborted it."""
    content = parquet_bytes(pa.table({"uri": ["a.mp4", "b.mp4"], "score": [1.0, 2.0]}))
    read_table, handed = pq.read_table, []

    def read(source: pa.BufferReader, **options: Any) -> pa.Table:
        handed.append(source.read_buffer().address)
        source.seek(0)
        return read_table(source, **options)

    monkeypatch.setattr(pq, "read_table", read)
    assert parquet_table(content, ("score",)).to_pylist() == [{"score": 1.0}, {"score": 2.0}]
    of_python = pa.py_buffer(content)
    assert not any(of_python.address <= at < of_python.address + of_python.size for at in handed)
    assert handed
