"""Owns the source of the pipeline: manifest rows as Ray Data read tasks, so that Ray's checkpoint applies."""

from __future__ import annotations

import functools
from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from operators.schema import MANIFEST

__all__ = ["ReadManifest"]


class ReadManifest(Datasource):
    """The rows of a manifest that are still to be scored, `rows_per_task` to a read task.

    One row a task is what lets a row that kills its worker cost no other row.
    """

    def __init__(self, rows: pa.Table, *, rows_per_task: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows.select(MANIFEST.names).cast(MANIFEST)
        self._rows_per_task = rows_per_task

    def get_name(self) -> str:
        """Name the operator in the plan."""
        return "Manifest"

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of the rows in bytes."""
        return int(self._rows.nbytes)

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one task for every `rows_per_task` rows, whatever parallelism Ray would prefer."""
        del parallelism
        starts = range(0, self._rows.num_rows, self._rows_per_task)
        return [self._task(self._rows.slice(start, self._rows_per_task)) for start in starts]

    def _task(self, rows: pa.Table) -> ReadTask:
        rows = pa.Table.from_pylist(rows.to_pylist(), schema=MANIFEST)  # a slice would pickle the whole table
        metadata = BlockMetadata(
            num_rows=rows.num_rows, size_bytes=rows.nbytes, input_files=None, exec_stats=None
        )
        return ReadTask(functools.partial(_blocks, rows), metadata)


def _blocks(rows: pa.Table) -> list[pa.Table]:
    return [rows]
