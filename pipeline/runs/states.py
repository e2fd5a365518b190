"""Owns the states of a manifest's rows, and what moves a row from one to another.

                 +-------------------- again: failed, and may pass ------------------+
                 v                                                                   |
    new --> PENDING -- begin --> BEGUN -- return: a worker brought its row --> DONE -+
              ^  |                 |
              |  |                 +----- vanish: no worker did --> LOST
              |  |                                                  |  |
              |  +--> stays: `pending` in the report                |  +--> stays: `worker_lost`, one try more
              +------------- again: fewer than the most tries ------+

A row is begun when the driver's node has it in writing (`pipeline/scoring/progress.py`), before a worker
fetches it. What a budget, a deadline or a broken pipeline left untouched was never begun, and stays pending.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOVES", "Move", "RowState", "RowStates"]

Move = Literal["begin", "return", "vanish", "again"]
Mask = NDArray[np.bool_]


class RowState(IntEnum):
    """Where a row stands."""

    PENDING = 0
    BEGUN = 1
    DONE = 2
    LOST = 3


MOVES: dict[Move, dict[RowState, RowState]] = {
    "begin": {RowState.PENDING: RowState.BEGUN},
    "return": {RowState.BEGUN: RowState.DONE},
    "vanish": {RowState.BEGUN: RowState.LOST},
    "again": {RowState.DONE: RowState.PENDING, RowState.LOST: RowState.PENDING},
}


class RowStates:
    """The state of every row of a manifest, in its order.

    Args:
        done: (rows,) a row was brought back.
        lost: (rows,) it was tried, and none was; where both hold, it is done.
    """

    def __init__(self, *, done: Mask, lost: Mask) -> None:
        self._states = np.where(done, RowState.DONE, np.where(lost, RowState.LOST, RowState.PENDING)).astype(
            np.int8
        )

    def are(self, state: RowState) -> Mask:
        """Return (rows,) which rows are in a state."""
        return np.asarray(self._states == state)

    def count(self, state: RowState) -> int:
        """Return how many rows are in a state."""
        return int(np.count_nonzero(self._states == state))

    def move(self, move: Move, which: Mask) -> None:
        """Move the rows of `which`, (rows,).

        Raises:
            ValueError: from where one of them is there is no such move.
        """
        before = self._states[which]
        after = np.full(len(before), -1, np.int8)
        for old, new in MOVES[move].items():
            after[before == old] = new
        if (after < 0).any():
            stuck = RowState(int(before[after < 0][0])).name
            raise ValueError(f"no row that is {stuck} can be moved by {move!r}")
        self._states[which] = after
