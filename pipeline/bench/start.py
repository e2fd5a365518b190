"""Owns the measurement of a run's start: which step takes how long until the first video is scored."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.bench.processes import Process, measured
from pipeline.bench.runs import NO_ADDRESS, score_arguments, scored_moments
from pipeline.bench.traced import ENVIRONMENT

__all__ = ["Kind", "Step", "kinds", "start_of", "steps_of"]

_TIMEOUT_SECONDS = 3600.0
_MICROSECONDS = 1e6
_TASK = "task::"
_FIRST = "ReadManifest"  # the task that fetches and decodes
_CONSTRUCTOR = re.compile(r"task::.*?(\w+)\)*\.__init__$")  # MapWorker(MapBatches(ModelStages)).__init__
_IMPORTS = "task:deserialize_arguments"  # in which a worker imports what it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened on the way."""

    name: str
    start_seconds: float  # after the command
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The processes of a run that do the same."""

    name: str
    num_processes: int
    start_seconds: float  # of the first
    processor_seconds: float  # of all


def start_of(videos: Path, folder: Path, *, address: str) -> list[Step]:
    """Score videos and return where the time went, in the order in which steps began.

    Args:
        videos: their folder.
        folder: where report and trace are written.
        address: of Ray, `local` to start one; "": few videos are scored in one process.

    Raises:
        RunError: the run fails.
    """
    output, trace = folder / f"start_{address}", folder / f"trace_{address}.json"
    arguments = score_arguments(videos, output, address=address)
    cost = measured(
        [sys.executable, "-m", "pipeline.bench.traced", str(trace), *arguments],
        timeout_seconds=_TIMEOUT_SECONDS,
        environment=ENVIRONMENT | NO_ADDRESS,
    )
    traced = json.loads(trace.read_text())
    return steps_of(traced, scored=scored_moments(output), seconds=cost.wall_seconds)


def steps_of(traced: Mapping[str, Any], *, scored: tuple[float, float], seconds: float) -> list[Step]:
    """Return the steps of a traced run, in the order in which they began.

    Args:
        traced: what `pipeline.bench.traced` wrote.
        scored: when the first and the last video were scored, seconds since the epoch.
        seconds: that the command took.
    """
    started: float = traced["started"]
    spans = [
        *_own_steps(traced["steps"], started),
        *_workers_steps(traced["timeline"]),
        ("until the first video is scored", scored[0], scored[0]),
        ("until the last video is scored", scored[1], scored[1]),
    ]
    if traced.get("stopped"):
        spans.append(("Ray stopped, and the command ended", traced["stopped"], started + seconds))
    steps = [
        Step(name=name, start_seconds=begun - started, seconds=end - begun) for name, begun, end in spans
    ]
    return sorted(steps, key=lambda step: step.start_seconds)


def kinds(processes: tuple[Process, ...]) -> list[Kind]:
    """Return what processes took by what they do, most first."""
    by_kind: dict[str, list[Process]] = {}
    for one in processes:
        by_kind.setdefault(one.kind, []).append(one)
    found = (
        Kind(
            name=name,
            num_processes=len(members),
            start_seconds=min(one.start_seconds for one in members),
            processor_seconds=sum(one.processor_seconds for one in members),
        )
        for name, members in by_kind.items()
    )
    return sorted(found, key=lambda kind: -kind.processor_seconds)


def _own_steps(steps: list[list[Any]], started: float) -> Iterator[tuple[str, float, float]]:
    """Yield what the command did; what it did within a step is a part of it."""
    first = min((begun for _, begun, _ in steps), default=started)
    yield "command: Python, and the command line", started, first
    end = first
    for name, begun, ended in sorted(steps, key=lambda step: step[1]):
        if ended > end:
            yield f"command: {name}", begun, ended
            end = ended


def _workers_steps(timeline: list[dict[str, Any]]) -> Iterator[tuple[str, float, float]]:
    """Yield the start of every actor, and the first task that decodes, of Ray's timeline."""
    events = sorted((event for event in timeline if event.get("ph") == "X"), key=lambda event: event["ts"])
    for event in events:
        made = _CONSTRUCTOR.match(event["cat"])
        if made is None:
            continue
        begun, end = _span(event)
        within = [
            _span(one)[1]
            for one in events
            if one["tid"] == event["tid"] and one["cat"] == _IMPORTS and begun <= _span(one)[0] <= end
        ]
        imported = max(within, default=begun)
        yield f"{made[1]}: its imports", begun, imported
        yield f"{made[1]}: its construction", imported, end
    for event in events:
        if event["cat"].startswith(_TASK + _FIRST):
            yield "the first video: imports, a cell, fetched and decoded", *_span(event)
            return


def _span(event: Mapping[str, Any]) -> tuple[float, float]:
    begun = event["ts"] / _MICROSECONDS
    return begun, begun + event["dur"] / _MICROSECONDS
