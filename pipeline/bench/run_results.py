"""Owns what `securevqa bench start` and `bench pipeline` tell of whole runs, for people and for programs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.bench.processes import machine
from pipeline.bench.runs import RunCost, checkouts, make_videos, run_in_turns, typical
from pipeline.bench.start import Kind, Step, kinds, start_of
from pipeline.machine import available_cores
from pipeline.results import Result
from pipeline.text import counted

__all__ = ["starts", "whole_runs"]

_WAYS = {"on Ray": "local", "in one process": ""}  # the address that asks for each
_LEAST_SECONDS = 0.05  # of processor time; kinds of processes that took less are left out
_HEADS = ("wall s", "first scored, s", "processor s", "stages s", "share")
_Told = Callable[[str], None]
_Runs = Mapping[str, Sequence[RunCost]]


def starts(
    num_videos: int,
    *,
    seconds: float,
    footage: Path | None,
    against: Sequence[Path],
    num_repeats: int,
    told: _Told,
) -> Result:
    """Measure the steps of both ways, and the processes of runs on Ray.

    Raises:
        ConfigurationError: `against` is no checkout.
        DatasetError: FFmpeg is missing or fails.
        RunError: a run fails.
    """
    codes, steps = checkouts(against), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_videos(num_videos, folder, clip_seconds=seconds, footage=footage)
        for way, address in _WAYS.items():
            told(f"{way}, step by step")
            steps[way] = start_of(made, folder, address=address)
        runs = run_in_turns(made, folder, codes, address=_WAYS["on Ray"], num_repeats=num_repeats, told=told)
    found = {code: _typical_kinds(costs) for code, costs in runs.items()}
    record, shown = _told_runs(runs)
    record |= {
        "steps": {way: [asdict(step) for step in taken] for way, taken in steps.items()},
        "processes": {code: [asdict(kind) for kind in taken] for code, taken in found.items()},
    }
    tables = [_steps_table(f"{counted(num_videos, 'video')} {way}", taken) for way, taken in steps.items()]
    return Result(
        record=record, shown=[*tables, *(_kinds_table(code, one) for code, one in found.items()), *shown]
    )


def whole_runs(
    num_videos: int,
    *,
    seconds: float,
    footage: Path | None,
    address: str,
    against: Sequence[Path],
    num_repeats: int,
    told: _Told,
) -> Result:
    """Measure whole runs; raises as `starts`."""
    codes = checkouts(against)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_videos(num_videos, folder, clip_seconds=seconds, footage=footage)
        runs = run_in_turns(made, folder, codes, address=address, num_repeats=num_repeats, told=told)
    record, shown = _told_runs(runs)
    return Result(record=record, shown=shown)


def _steps_table(title: str, steps: Sequence[Step]) -> Table:
    table = Table("step", "from, s", "takes, s", title=title)
    for step in steps:
        table.add_row(step.name, f"{step.start_seconds:.1f}", f"{step.seconds:.1f}" if step.seconds else "")
    return table


def _typical_kinds(runs: Sequence[RunCost]) -> list[Kind]:
    """Return the processes of the run that took the median of processor time."""
    middle = sorted(runs, key=lambda run: run.cost.seen_seconds)[len(runs) // 2]
    return [kind for kind in kinds(middle.cost.processes) if kind.processor_seconds >= _LEAST_SECONDS]


def _kinds_table(code: str, found: Sequence[Kind]) -> Table:
    table = Table("process", "number", "first from, s", "processor s", title=code)
    for kind in found:
        cells = (f"{kind.num_processes}", f"{kind.start_seconds:.1f}", f"{kind.processor_seconds:.1f}")
        table.add_row(kind.name, *cells)
    return table


def _told_runs(runs: _Runs) -> tuple[dict[str, Any], list[Any]]:
    """Return the medians of each code, and by how much this one's are others'."""
    cores = available_cores()
    measures: tuple[Callable[[RunCost], float], ...] = (
        lambda run: run.cost.wall_seconds,
        lambda run: run.first_seconds,
        lambda run: run.cost.seen_seconds,
        lambda run: run.stage_seconds,
        lambda run: run.share(cores),
    )
    table = Table("code", *_HEADS)
    found = {code: [typical(costs, what) for what in measures] for code, costs in runs.items()}
    for code, values in found.items():
        table.add_row(code, *(f"{value:.2f}" for value in values))
    for code, values in list(found.items())[1:]:
        by = (f"{ours / theirs:.2f}" for ours, theirs in zip(found["this"], values, strict=True))
        table.add_row(f"this, by {code}", *by)
    names = ("wall_seconds", "first_seconds", "processor_seconds", "stage_seconds", "share")
    record = {
        "runs": {code: dict(zip(names, values, strict=True)) for code, values in found.items()},
        "repeats": len(runs["this"]),
        "cores": cores,
        "machine": machine(),
    }
    words = (
        f"medians of {len(runs['this'])}, in turns; stages: seconds of fetching, decoding and models, on the "
        f"clock; share: stages by the time of {cores} cores; {machine()}"
    )
    return record, [table, words]
