"""Which stage held a run up: not the one of most seconds, but of the pool that was fullest."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.runs.record import bottleneck, stage_timings
from pipeline.scoring.run import Resources

ROWS = pa.table(
    {
        "fetch_seconds": pa.array([1.0, 1.0, None], pa.float64()),
        "decode_seconds": pa.array([9.0, 11.0, None], pa.float64()),
        "model_seconds": pa.array([4.0, None, None], pa.float64()),
    }
)


def test_seconds_are_summed_over_the_videos_that_reached_a_stage() -> None:
    timings = stage_timings(ROWS, {"decode": 8, "model": 2}, wall_seconds=10)
    assert timings["decode"] == {"seconds": 20.0, "videos": 2, "slots": 8, "busy_share": 0.25}
    assert timings["model"] == {"seconds": 4.0, "videos": 1, "slots": 2, "busy_share": 0.2}
    assert timings["fetch"] == {"seconds": 2.0, "videos": 2, "slots": 8, "busy_share": 0.025}


@pytest.mark.parametrize(
    ("decoders", "models", "expected"), [(8, 2, "decode"), (64, 2, "model"), (64, 64, "decode")]
)
def test_the_fullest_pool_is_the_bottleneck(decoders: int, models: int, expected: str) -> None:
    timings = stage_timings(ROWS, {"decode": decoders, "model": models}, wall_seconds=10)
    assert bottleneck(timings) == expected


def test_of_stages_that_share_a_pool_the_longer_one_is_named() -> None:
    rows = ROWS.set_column(0, "fetch_seconds", pa.array([90.0, 90.0, None], pa.float64()))
    assert bottleneck(stage_timings(rows, {"decode": 8, "model": 2}, wall_seconds=100)) == "fetch"


def test_where_nothing_was_reached_there_is_no_bottleneck() -> None:
    assert stage_timings(ROWS.slice(2), {"decode": 1, "model": 1}, wall_seconds=1) == {}
    assert bottleneck({}) is None


@pytest.mark.parametrize(("cpus", "actors", "decoding"), [(3, 2, 2.5), (64, 32, 56), (2, 16, 1)])
def test_decoders_have_what_the_model_actors_leave(cpus: float, actors: int, decoding: float) -> None:
    slots = Resources(num_gpus=0, num_actors=actors).slots(cpus)
    assert slots == {"decode": decoding, "model": actors}
