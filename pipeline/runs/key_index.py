"""Owns finding row keys among those of a manifest, in a few dozen bytes a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.schema import byte_strings

__all__ = ["KeyIndex"]

_Keys: TypeAlias = "NDArray[np.bytes_] | pa.ChunkedArray[Any] | Sequence[str]"


class KeyIndex:
    """The places of row keys in a manifest, sorted; a dict of Python's texts would be ten times larger."""

    def __init__(self, keys: _Keys) -> None:
        texts = byte_strings(keys)
        self._order = np.argsort(texts).astype(np.int32)
        self._sorted = texts[self._order]

    def __len__(self) -> int:
        return len(self._order)

    def places(self, keys: _Keys) -> NDArray[np.int64]:
        """Return (keys,) where each is in the manifest, counted from 0; -1 where it is not."""
        wanted = byte_strings(keys)
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(self._sorted, wanted), len(self) - 1)
        return np.where(self._sorted[found] == wanted, self._order[found], -1)
