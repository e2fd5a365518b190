"""Whole runs are measured on videos of their own, in turns with another checkout's code."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pipeline.bench.processes import HERE, Cost, Process
from pipeline.bench.runs import RunCost, checkouts, make_videos, run_in_turns, typical
from securevqa_core.errors import ConfigurationError


def run_cost(wall: float, stages: float) -> RunCost:
    """What a run took that kept two processes busy."""
    seen = tuple(
        Process(kind="ray::Write", start_seconds=1.0, processor_seconds=took, peak_bytes=1)
        for took in (1.5, 2.5)
    )
    cost = Cost(processor_seconds=0.5, wall_seconds=wall, processes=seen)
    return RunCost(cost=cost, first_seconds=1.0, stage_seconds=stages)


@pytest.mark.slow
def test_videos_have_one_length_and_no_two_the_same_bytes(tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in make_videos(3, tmp_path, clip_seconds=0.5).iterdir()]
    assert len({len(content) for content in contents}) == 1
    assert len({hashlib.sha256(content).digest() for content in contents}) == 3


def test_the_share_is_of_all_cores_and_medians_are_of_runs() -> None:
    runs = [run_cost(20.0, 30.0), run_cost(10.0, 16.0), run_cost(40.0, 20.0)]
    assert [run.share(2) for run in runs] == [0.75, 0.8, 0.25]
    assert typical(runs, lambda run: run.share(2)) == 0.75
    assert runs[0].cost.seen_seconds == 4.0


def test_a_folder_without_the_code_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"against must be a checkout.*{tmp_path.name}"):
        checkouts([tmp_path])


@pytest.mark.slow
def test_codes_take_turns_and_each_checkout_runs_its_own(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for package in ("securevqa", "securevqa_core", "operators", "pipeline"):
        shutil.copytree(HERE / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = other / "pipeline" / "commands" / "score.py"
    mark = tmp_path / "ran"
    command.write_text(command.read_text() + f"\nopen({str(mark)!r}, 'a').write(f'{{__file__}}\\n')\n")
    codes = checkouts([other])
    assert codes == {"this": HERE, "other": other}
    videos = make_videos(1, tmp_path, clip_seconds=0.5)
    told: list[str] = []
    runs = run_in_turns(videos, tmp_path, codes, address="", num_repeats=2, told=told.append)
    assert told == ["this, 1 of 2", "other, 1 of 2", "this, 2 of 2", "other, 2 of 2"]
    assert mark.read_text().splitlines() == [str(command)] * 2
    for costs in runs.values():
        assert len(costs) == 2
        for one in costs:
            assert 0 < one.first_seconds < one.cost.wall_seconds
            assert 0 < one.stage_seconds < one.cost.wall_seconds * (os.cpu_count() or 1)
            assert {"securevqa", "decoding"} <= {process.kind for process in one.cost.processes}
