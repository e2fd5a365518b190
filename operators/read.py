"""Owns the source of the pipeline: manifest rows as Ray Data read tasks, so that Ray's checkpoint applies."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from operators.schema import MANIFEST, ROW_KEY

__all__ = ["ReadManifest"]


class ReadManifest(Datasource):
    """The rows of a manifest that are still to be scored, `rows_per_task` to a read task.

    One row a task is what lets a row that kills its worker cost no other row. A task that starts after the
    deadline reads nothing and tells the tally so: what was begun is finished, and the run ends cleanly.
    """

    def __init__(
        self, rows: pa.Table, *, rows_per_task: int, deadline: float | None = None, tally: Any = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows.select(MANIFEST.names).cast(MANIFEST)
        self._rows_per_task = rows_per_task
        self._deadline = deadline  # seconds since the epoch; None: no end
        self._tally = tally

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
        return ReadTask(functools.partial(_blocks, rows, self._deadline, self._tally), metadata)


def _blocks(rows: pa.Table, deadline: float | None, tally: Any) -> Iterable[pa.Table]:
    if deadline is None or time.time() < deadline:
        return [rows]
    tally.skip.remote(rows[ROW_KEY].to_pylist())
    return [rows.slice(0, 0)]
