"""`securevqa bench start` and `bench pipeline` print whole runs side by side, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli import call

from pipeline.bench import run_results
from pipeline.bench.processes import HERE, Cost, Process
from pipeline.bench.runs import RunCost
from pipeline.bench.start import Step
from pipeline.commands.terminal import console

Capture = pytest.CaptureFixture[str]


def run_costs(*_: object, **__: object) -> dict[str, list[RunCost]]:
    """Two runs of each code; this one's take half of what the other's take."""

    def one(wall: float) -> RunCost:
        seen = Process(kind="ray::Write", start_seconds=2.0, processor_seconds=wall / 4, peak_bytes=1)
        cost = Cost(processor_seconds=1.0, wall_seconds=wall, processes=(seen,))
        return RunCost(cost=cost, first_seconds=wall / 2, stage_seconds=8.0)

    return {"this": [one(10.0), one(10.0)], "earlier": [one(20.0), one(20.0)]}


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(_videos: Path, _folder: Path, *, address: str) -> list[Step]:
        return [Step(name=f"starting {address or 'alone'}", start_seconds=1.0, seconds=2.0)]

    monkeypatch.setattr(run_results, "start_of", steps)
    monkeypatch.setattr(run_results, "run_in_turns", run_costs)
    monkeypatch.setattr(run_results, "available_cores", lambda: 2)
    monkeypatch.setattr(console, "width", 160)


def cells_of(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines()]


@pytest.mark.slow
def test_whole_runs_are_told_by_those_of_other_code(capsys: Capture) -> None:
    assert call("bench", "pipeline", "--videos", "1", "--seconds", "0.5") == 0
    printed = capsys.readouterr().out
    cells = cells_of(printed)
    assert ["this", "10.00", "5.00", "2.50", "8.00", "0.40"] in cells
    assert ["this, by earlier", "0.50", "0.50", "0.50", "1.00", "2.00"] in cells
    assert "medians of 2, in turns" in printed


@pytest.mark.slow
def test_the_start_is_told_by_steps_of_both_ways_and_by_processes(capsys: Capture) -> None:
    arguments = ("bench", "start", "--videos", "1", "--seconds", "0.5", "--against", str(HERE))
    assert call(*arguments) == 0
    printed = capsys.readouterr().out
    for row in (
        ["starting local", "1.0", "2.0"],
        ["starting alone", "1.0", "2.0"],
        ["ray::Write", "1", "2.0", "2.5"],
        ["ray::Write", "1", "2.0", "5.0"],
    ):
        assert row in cells_of(printed)
    assert "this, by earlier" in printed
    assert call(*arguments, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["steps"]["on Ray"] == [{"name": "starting local", "start_seconds": 1.0, "seconds": 2.0}]
    assert record["processes"]["earlier"][0]["processor_seconds"] == 5.0
    assert record["runs"]["this"]["share"] == 0.4
