"""The states of rows: every move from where it may start, and none from anywhere else."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.runs.states import MOVES, Move, RowState, RowStates

EVERYWHERE = np.ones(1, np.bool_)
WAYS: dict[RowState, list[Move]] = {
    RowState.PENDING: [],
    RowState.BEGUN: ["begin"],
    RowState.DONE: ["begin", "return"],
    RowState.LOST: ["begin", "vanish"],
}


def in_state(state: RowState) -> RowStates:
    states = RowStates(done=~EVERYWHERE, lost=~EVERYWHERE)
    for move in WAYS[state]:
        states.move(move, EVERYWHERE)
    assert states.count(state) == 1
    return states


@pytest.mark.parametrize("state", RowState)
@pytest.mark.parametrize("move", MOVES)
def test_a_row_moves_as_the_table_says_and_not_otherwise(state: RowState, move: Move) -> None:
    states = in_state(state)
    if state not in MOVES[move]:
        with pytest.raises(ValueError, match=f"{state.name}.*{move}"):
            states.move(move, EVERYWHERE)
        assert states.count(state) == 1
        return
    states.move(move, EVERYWHERE)
    assert states.are(MOVES[move][state]).all()


def test_every_state_is_reached_and_left_but_for_new_rows() -> None:
    reached = {new for ways in MOVES.values() for new in ways.values()}
    left = {old for ways in MOVES.values() for old in ways}
    assert reached == left == set(RowState)


def test_what_is_known_of_earlier_runs_is_where_rows_start() -> None:
    states = RowStates(done=np.array([True, True, False, False]), lost=np.array([True, False, True, False]))
    assert states.are(RowState.DONE).tolist() == [True, True, False, False]
    assert states.are(RowState.LOST).tolist() == [False, False, True, False]
    assert states.count(RowState.PENDING) == 1
    states.move("again", np.array([True, False, True, False]))
    assert states.count(RowState.PENDING) == 3
