"""Owns finding runs below a folder, finished and not, and what their run.json says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from operators.storage import join
from pipeline.runs.rundir import ForeignRunError, RunDirectory
from securevqa_core.errors import OutputError

__all__ = ["RunEntry", "find_runs"]

_KNOWN = ("generation", "finished_at", "wall_seconds", "rows", "num_scored_now", "num_left")  # of run.json

RunState = Literal["finished", "archived", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """One report, or a run that has none yet."""

    uri: str  # of its run directory, for people
    state: RunState  # archived: an earlier report; unfinished: rows, and no run.json beside them
    generation: int | None = None
    finished_at: str | None = None
    wall_seconds: float | None = None
    checkpoint_id: str | None = None
    rows: int | None = None
    num_scored_now: int | None = None  # worked on by the call that wrote it
    num_left: int | None = None  # by its budget
    status: dict[str, int] = field(default_factory=dict)
    verdict: dict[str, int] = field(default_factory=dict)
    error_code: dict[str, int] = field(default_factory=dict)


def find_runs(location: str) -> list[RunEntry]:
    """Return every run at `location` or in a folder right below it, each after its archived reports.

    Raises:
        OutputError: there is none, or the location cannot be read.
    """
    top = RunDirectory(location)
    here = list(_entries(location))
    entries = here or [entry for name in top.folders() for entry in _entries(join(location, name))]
    if not entries:
        raise OutputError(f"{top.shown()!r} holds no run: neither run.json nor checkpoint/, nor below it")
    return entries


def _entries(uri: str) -> Iterator[RunEntry]:
    directory = RunDirectory(uri)
    current = _record(directory)
    for name in directory.folders("generations"):
        archived = RunDirectory(join(uri, f"generations/{name}"))
        record = _record(archived)
        is_current = current and record and record["generation"] == current["generation"]  # not replaced yet
        if record and not is_current:
            yield _entry(archived.shown(), "archived", record)
    if current:
        yield _entry(directory.shown(), "finished", current)
    elif "checkpoint" in directory.folders():
        yield RunEntry(uri=directory.shown(), state="unfinished")


def _record(directory: RunDirectory) -> dict[str, Any] | None:
    """Return run.json, None where there is none or it is something else's."""
    try:
        return directory.read_run()
    except ForeignRunError:
        return None


def _entry(uri: str, state: RunState, record: dict[str, Any]) -> RunEntry:
    counts = {name: record.get("counts", {}).get(name, {}) for name in ("status", "verdict", "error_code")}
    known: dict[str, Any] = counts | {name: record.get(name) for name in _KNOWN}
    checkpoint = record.get("provenance", {}).get("checkpoint_id")
    return RunEntry(uri=uri, state=state, checkpoint_id=checkpoint, **known)
