"""Owns finding row keys among those of a manifest, in a few dozen bytes a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

__all__ = ["KeyIndex"]

pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type


class KeyIndex:
    """The places of row keys in a manifest, sorted; a dict of Python's texts would be ten times larger."""

    def __init__(self, keys: pa.ChunkedArray[Any] | Sequence[str]) -> None:
        texts = _bytes_of(keys)
        self._order = np.argsort(texts, kind="stable")
        self._sorted = texts[self._order]

    def __len__(self) -> int:
        return len(self._order)

    def places(self, keys: pa.ChunkedArray[Any] | Sequence[str]) -> NDArray[np.int64]:
        """Return (keys,) where each is in the manifest, counted from 0; -1 where it is not."""
        wanted = _bytes_of(keys)
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(self._sorted, wanted), len(self) - 1)
        return np.where(self._sorted[found] == wanted, self._order[found], -1)


def _bytes_of(keys: pa.ChunkedArray[Any] | Sequence[str]) -> NDArray[np.bytes_]:
    """Return texts as numpy's, of one width; without a Python object each where all are of that width."""
    column: Any = keys if isinstance(keys, pa.ChunkedArray) else pa.chunked_array([keys], pa.string())
    if not len(column):
        return np.empty(0, "S1")
    lengths = pc.min_max(pc.binary_length(column)).as_py()
    width = max(1, lengths["max"])
    if lengths["min"] != width:
        return np.array([text.encode() for text in column.to_pylist()], f"S{width}")
    return np.concatenate([_view(chunk, width) for chunk in column.chunks if len(chunk)])


def _view(chunk: Any, width: int) -> NDArray[np.bytes_]:
    _, offsets, data = chunk.buffers()
    start = np.frombuffer(offsets, np.int32)[chunk.offset]
    return np.frombuffer(data, f"S{width}", count=len(chunk), offset=start)
