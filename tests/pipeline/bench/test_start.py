"""A run's start is told step by step, from what the command says and from Ray's own timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli import read_report

from pipeline.bench.processes import Process
from pipeline.bench.runs import make_videos
from pipeline.bench.start import kinds, start_of, steps_of


def event(cat: str, start: float, seconds: float, worker: str) -> dict[str, Any]:
    """One event as Ray's timeline has it, in microseconds."""
    return {"ph": "X", "cat": cat, "ts": start * 1e6, "dur": seconds * 1e6, "tid": worker}


def test_steps_are_those_of_the_command_its_actors_and_its_first_video() -> None:
    traced = {
        "started": 1000.0,
        "stopped": 1030.0,
        "steps": [
            ["loading", 1001.5, 1001.7],  # within the next, which ends later
            ["loading", 1001.0, 1003.0],
            ["starting Ray", 1003.0, 1007.0],
        ],
        "timeline": [
            event("task::MapWorker(MapBatches(ModelStages)).__init__", 1008.0, 5.0, "a"),
            event("task:deserialize_arguments", 1008.0, 4.0, "a"),
            event("task:deserialize_arguments", 1014.0, 9.0, "a"),  # of a later task
            event("task:deserialize_arguments", 1008.5, 0.1, "b"),  # of another worker
            event("task::ReadManifest->MapBatches(Decode)", 1016.0, 1.0, "b"),
            event("task::ReadManifest->MapBatches(Decode)", 1009.0, 2.0, "b"),
            {"ph": "M", "name": "a name for a worker", "pid": 1},
        ],
    }
    steps = steps_of(traced, scored=(1015.0, 1029.0), seconds=32.0)
    assert [(step.name, step.start_seconds, step.seconds) for step in steps] == [
        ("command: Python, and the command line", 0.0, 1.0),
        ("command: loading", 1.0, 2.0),
        ("command: starting Ray", 3.0, 4.0),
        ("ModelStages: its imports", 8.0, 4.0),
        ("the first video: imports, a cell, fetched and decoded", 9.0, 2.0),
        ("ModelStages: its construction", 12.0, 1.0),
        ("until the first video is scored", 15.0, 0.0),
        ("until the last video is scored", 29.0, 0.0),
        ("Ray stopped, and the command ended", 30.0, 2.0),
    ]


def test_processes_that_do_the_same_are_counted_together_most_work_first() -> None:
    seen = [("raylet", 2.0, 1.0), ("ray::Write", 5.0, 2.0), ("ray::Write", 4.0, 0.5)]
    found = kinds(
        tuple(
            Process(kind=kind, start_seconds=start, processor_seconds=took, peak_bytes=1)
            for kind, start, took in seen
        )
    )
    assert [(one.name, one.num_processes, one.start_seconds, one.processor_seconds) for one in found] == [
        ("ray::Write", 2, 4.0, 2.5),
        ("raylet", 1, 2.0, 1.0),
    ]


@pytest.mark.ray
@pytest.mark.parametrize("address", ["local", ""])
def test_a_run_leaves_its_steps_behind_on_ray_and_without(address: str, tmp_path: Path) -> None:
    videos = make_videos(2, tmp_path, clip_seconds=0.5)
    steps = start_of(videos, tmp_path, address=address)
    names = [step.name for step in steps]
    assert names[0] == "command: Python, and the command line"
    assert "command: looking for videos" in names
    on_ray = {
        "command: starting Ray",
        "ModelStages: its imports",
        "SeedDesk: its construction",
        "the first video: imports, a cell, fetched and decoded",
        "Ray stopped, and the command ended",
    }
    assert on_ray <= set(names) if address else on_ray.isdisjoint(names)
    scored = names.index("until the first video is scored")
    assert 0 < scored < names.index("until the last video is scored")
    assert read_report(str(tmp_path / f"start_{address}")).num_rows == 2
