"""Owns the source of the pipeline: manifest rows as Ray Data read tasks, so that Ray's checkpoint applies."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from operators.schema import MANIFEST

__all__ = ["ReadManifest"]

_CODEC: Literal["zstd"] = "zstd"  # the driver holds all tasks for as long as a run lasts


class ReadManifest(Datasource):
    """The rows of a manifest that are still to be scored, one read task for every part.

    A part of one row is what lets a row that kills its worker cost no other row.
    """

    def __init__(self, parts: Iterable[pa.Table]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tasks = [_task(part.select(MANIFEST.names).cast(MANIFEST)) for part in parts]

    def get_name(self) -> str:
        """Name the operator in the plan."""
        return "Manifest"

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of the rows in bytes."""
        return sum(task.metadata.size_bytes or 0 for task in self._tasks)

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """Return one task for every part, whatever parallelism Ray would prefer."""
        del parallelism
        return self._tasks


def _task(rows: pa.Table) -> ReadTask:
    (batch,) = rows.combine_chunks().to_batches()
    metadata = BlockMetadata(
        num_rows=rows.num_rows, size_bytes=rows.nbytes, input_files=None, exec_stats=None
    )
    message = batch.serialize()
    packed = pa.compress(message, codec=_CODEC, asbytes=True)
    return ReadTask(functools.partial(_blocks, packed, message.size), metadata)


def _blocks(packed: bytes, size: int) -> list[pa.Table]:
    message = pa.decompress(packed, decompressed_size=size, codec=_CODEC)
    return [pa.Table.from_batches([pa.ipc.read_record_batch(message, MANIFEST)])]
