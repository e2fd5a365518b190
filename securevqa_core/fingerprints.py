"""Owns fingerprints of what a video shows: 252 bits that it keeps when it is encoded anew.

    64 moments, evenly spread      4 glances, 64 x 64     no borders   lowest frequencies        bits
    |.|.|.|.|.|. ... |.|.|.|.  -->  [mean of 16] x 4  -->    [ ]   --> 8 x 8 of a DCT, less  --> 63 signs x 4
                                                                       the mean

Two videos are near copies where at most `MAX_DISTANCE` bits differ, as they are or with one of them mirrored,
upside down or both: that turns the signs of the odd columns, of the odd rows, and no others. What it finds
and misses is measured by `python examples/near_copies.py`; the numbers are in docs/operator/nightly.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.glances import GLANCES_SHAPE

__all__ = [
    "BITS_PER_PART",
    "FLIP",
    "MAX_DISTANCE",
    "MIRROR",
    "NUM_BITS",
    "PARTS",
    "TURNS",
    "are_near",
    "fingerprint",
    "words",
]

PARTS = GLANCES_SHAPE[0]
LOWEST = 8  # frequencies to either side
BITS_PER_PART = LOWEST * LOWEST - 1
NUM_BITS = PARTS * BITS_PER_PART
MAX_DISTANCE = 50  # bits; a fifth of them
MIN_CONTRAST = 4.0  # 8-bit levels, standard deviation of a glance; below it noise would decide its bits
MAX_FLAT = 1  # glances of so little contrast; with more of them, unlike videos would be alike

_MOST_OF_BORDER = 1.0  # 8-bit levels, standard deviation within a row or column of one
_LEAST_INSIDE = 16  # rows and columns that are left within borders

_WEIGHTS = np.uint64(1) << np.arange(BITS_PER_PART, dtype=np.uint64)
_PLACES = np.arange(LOWEST * LOWEST)[1:]
MIRROR = np.bitwise_or.reduce(_WEIGHTS[_PLACES % 2 == 1])  # in each word, what mirroring turns: odd columns
FLIP = np.bitwise_or.reduce(_WEIGHTS[_PLACES // LOWEST % 2 == 1])  # and turning upside down: odd rows
TURNS = (np.uint64(0), MIRROR, FLIP, MIRROR ^ FLIP)


def fingerprint(glances: NDArray[np.uint8]) -> str | None:
    """Return the fingerprint of a video as 64 hexadecimal digits, None where it is too flat for one.

    Args:
        glances: (4, 64, 64) uint8, the mean luma of each quarter of its time, of `decoding.glances`.
    """
    from scipy.fft import dctn  # noqa: PLC0415 - who looks fingerprints up, or takes none, needs no SciPy

    is_flat = glances.std(axis=(1, 2)) < MIN_CONTRAST
    if is_flat.sum() > MAX_FLAT:
        return None
    shown = glances[:, _within_borders(glances, across=2)]
    shown = shown[:, :, _within_borders(shown, across=1)]
    spectrum = dctn(shown.astype(np.float64), axes=(1, 2))[:, :LOWEST, :LOWEST]
    is_positive = (spectrum.reshape(PARTS, -1)[:, 1:] > 0) & ~is_flat[:, None]
    packed = np.asarray((is_positive * _WEIGHTS).sum(axis=1, dtype="<u8"))
    return packed.tobytes().hex()


def _within_borders(glances: NDArray[np.uint8], *, across: int) -> slice:
    """Return the rows, or the columns with `across=1`, between those of one level from edge to edge."""
    is_shown = np.flatnonzero(glances.std(axis=(0, across)) > _MOST_OF_BORDER)
    if len(is_shown) == 0 or is_shown[-1] + 1 - is_shown[0] < _LEAST_INSIDE:
        return slice(None)
    return slice(int(is_shown[0]), int(is_shown[-1]) + 1)


def words(fingerprints: Sequence[str]) -> NDArray[np.uint64]:
    """Return fingerprints as (n, 4) words, of 63 bits each.

    Raises:
        ValueError: one has not 64 hexadecimal digits.
    """
    packed = bytes.fromhex("".join(fingerprints))
    if any(len(one) != 2 * PARTS * 8 for one in fingerprints):
        raise ValueError("a fingerprint must have 64 hexadecimal digits")
    return np.frombuffer(packed, "<u8").reshape(-1, PARTS)


def are_near(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell which fingerprints, (..., 4) words each, are of near copies as they are, not mirrored."""
    distances = np.bitwise_count(some ^ others).sum(axis=-1, dtype=np.int64)
    return np.asarray(distances <= MAX_DISTANCE)
