"""Owns finding fingerprints that differ in few bits among millions, in files that are mapped into memory.

    a fingerprint, 252 bits      |--- 21 ---|--- 21 ---| ... 12 pieces
    one sorted list a piece      value << 32 | number, 8 bytes a fingerprint
    a lookup                     the piece as it is, and with each one of its bits turned: 12 x 22 searches

What differs in at most 23 bits agrees in some piece but for one bit, and is always found (multi-index
hashing, Norouzi et al., CVPR 2012). What differs in up to `MAX_DISTANCE` mostly is: bits that turn lie close
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securevqa_core.fingerprints import BITS_PER_PART, PARTS, TURNS, are_near

__all__ = ["MOST_OF_A_PIECE", "NearIndex"]

_PIECE_BITS = 21
_PIECES_PER_PART = BITS_PER_PART // _PIECE_BITS
_NUM_PIECES = PARTS * _PIECES_PER_PART
_PIECE_MASK = np.uint64((1 << _PIECE_BITS) - 1)
_SHIFT = np.uint64(32)  # of a piece, above the number of its fingerprint
_NUMBER_MASK = np.uint64((1 << 32) - 1)
# A piece as it is, and with each of its bits turned.
_TURNED = np.concatenate([np.zeros(1, np.uint64), np.uint64(1) << np.arange(_PIECE_BITS, dtype=np.uint64)])
# The oldest fingerprints that are looked at of those that share a piece: a flood of them costs no more.
MOST_OF_A_PIECE = 500
_QUERIES_AT_ONCE = 256

Words = NDArray[np.uint64]  # (n, 4)
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]  # (k,) of a query, and of what is near it


class NearIndex:
    """Fingerprints by number, oldest first.

    Args:
        folder: for its files, 128 bytes a fingerprint; the caller removes it.
        parts: (n,) numbers and (n, 4) words each, in any order.
        size: of all parts together.
    """

    def __init__(self, folder: Path, parts: Iterable[tuple[NDArray[np.int64], Words]], size: int) -> None:
        self.size = size
        self._words: Words = np.zeros((0, PARTS), np.uint64)
        self._lists: Words = np.zeros((_NUM_PIECES, 0), np.uint64)
        if not size:
            return
        self._words = np.memmap(folder / "words", np.uint64, "w+", shape=(size, PARTS))
        self._lists = np.memmap(folder / "lists", np.uint64, "w+", shape=(_NUM_PIECES, size))
        for numbers, part in parts:
            self._words[numbers] = part
        everything = np.arange(size, dtype=np.uint64)
        for piece, one in enumerate(self._lists):
            one[:] = np.sort(_piece(self._words, piece) << _SHIFT | everything)

    def near(self, queries: Words, before: NDArray[np.int64]) -> Pairs:
        """Return which earlier fingerprints are of near copies, turned or not.

        Args:
            queries: (q, 4) words.
            before: (q,) for each, look at numbers below this one alone.

        Returns:
            Places of queries, ascending, and numbers, each pair once. Of those that share a piece,
            `MOST_OF_A_PIECE`.
        """
        keys = [np.empty(0, np.int64)]
        for start in range(0, len(queries) if self.size else 0, _QUERIES_AT_ONCE):
            some = slice(start, start + _QUERIES_AT_ONCE)
            limits = before[some].clip(max=self.size).astype(np.uint64)
            found = [
                self._matches(queries[some] ^ turn, limits, piece)
                for turn in TURNS
                for piece in range(_NUM_PIECES)
            ]
            keys.append(np.unique(np.concatenate(found)) + start * self.size)
        places, numbers = np.divmod(np.concatenate(keys), max(self.size, 1))
        return places, numbers

    def _matches(self, queries: Words, limits: NDArray[np.uint64], piece: int) -> NDArray[np.int64]:
        """Return place * size + number of what shares a piece with a query and is near it."""
        entries = self._lists[piece]
        first = ((_piece(queries, piece)[:, None] ^ _TURNED) << _SHIFT).ravel()
        order = np.argsort(first)  # neighbours lie on the same pages
        first, own = first[order], order // len(_TURNED)
        low = np.searchsorted(entries, first)
        counts = np.minimum(np.searchsorted(entries, first | limits[own]) - low, MOST_OF_A_PIECE)
        places = own.repeat(counts)
        steps = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = (entries[low.repeat(counts) + steps] & _NUMBER_MASK).astype(np.int64)
        near = are_near(queries[places], self._words[numbers])
        return np.asarray(places[near] * self.size + numbers[near])


def _piece(words: Words, piece: int) -> NDArray[np.uint64]:
    part, place = divmod(piece, _PIECES_PER_PART)
    return np.asarray(words[:, part] >> np.uint64(place * _PIECE_BITS) & _PIECE_MASK)
