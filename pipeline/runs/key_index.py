"""Owns finding row keys among those of a manifest, in twenty bytes a row.

A key of 32 hex digits is the number that they write, in two halves, and any other the digest of its text:

    "9f86d081884c7d65|9a2feaa0c55ad015"  ->  0x9f86d081884c7d65  0x9a2feaa0c55ad015
                                                          high                 low
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.schema import byte_strings

__all__ = ["KeyIndex", "halves"]

_Keys: TypeAlias = "NDArray[np.uint64] | pa.ChunkedArray[Any] | Sequence[str]"

KEY_BYTES = 16
_HEX = re.compile(rb"[0-9a-f]{32}")
_NO_DIGIT = 16
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
_DIGITS[list(b"0123456789abcdef")] = range(16)


def halves(keys: pa.ChunkedArray[Any] | Sequence[str]) -> NDArray[np.uint64]:
    """Return (keys, 2) high and low halves of keys, alike where the keys are."""
    texts = byte_strings(keys)
    if texts.dtype.itemsize == 2 * KEY_BYTES:
        digits = _DIGITS[texts.view(np.uint8).reshape(-1, 2 * KEY_BYTES)]
        if digits.max(initial=0) < _NO_DIGIT:
            return _numbers(digits[:, ::2] << 4 | digits[:, 1::2])
    return _numbers(np.frombuffer(b"".join(map(_packed, texts.tolist())), np.uint8))


def _packed(text: bytes) -> bytes:
    if _HEX.fullmatch(text):
        return bytes.fromhex(text.decode())
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


def _numbers(packed: NDArray[Any]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(packed).view(">u8").reshape(-1, 2).astype(np.uint64)


class KeyIndex:
    """The places of row keys in a manifest, sorted; a dict of Python's texts would be ten times larger.

    Args:
        keys: the row keys, or their `halves`.
    """

    def __init__(self, keys: _Keys) -> None:
        numbers = keys if isinstance(keys, np.ndarray) else halves(keys)
        self._order = np.lexsort((numbers[:, 1], numbers[:, 0])).astype(np.int32)
        self._high, self._low = (numbers[self._order, half] for half in (0, 1))

    def __len__(self) -> int:
        return len(self._order)

    def places(self, keys: _Keys) -> NDArray[np.int64]:
        """Return (keys,) where each is in the manifest, counted from 0; -1 where it is not."""
        wanted = keys if isinstance(keys, np.ndarray) else halves(keys)
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1)
        high, low = wanted.T
        found = np.searchsorted(self._high, high)
        at = np.minimum(found, len(self) - 1)
        while (passed := (self._high[at] == high) & (self._low[at] < low) & (at < len(self) - 1)).any():
            at[passed] += 1  # of several with one high half
        return np.where((self._high[at] == high) & (self._low[at] == low), self._order[at], -1)
