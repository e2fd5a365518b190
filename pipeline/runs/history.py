"""Owns finding runs below a folder, finished and not, and what their run.json says of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from operators.stage import FAILED, SCORED
from operators.storage import join
from pipeline.runs.lock import LOCK_NAME
from pipeline.runs.marks import BEGUN_NAME, STATE_NAME
from pipeline.runs.rundir import ForeignRunError, RunDirectory
from securevqa_core.errors import AbsentRunError, SecureVqaError

__all__ = ["COUNTED", "VERDICTS", "RunEntry", "find_runs", "unfinished_run"]

VERDICTS = ("pass", "review", "reject")  # `securevqa_core.scoring` has them, and takes seconds to import
# Of a report: what is counted, and of which values also that there are none.
COUNTED: dict[str, tuple[str, ...]] = {"status": (SCORED, FAILED), "verdict": VERDICTS, "error_code": ()}
_KNOWN = ("generation", "finished_at", "wall_seconds", "rows", "num_scored_now", "num_left")  # of run.json

RunState = Literal["finished", "archived", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """One report, or a run that has none yet."""

    uri: str  # of its run directory, for people
    state: RunState  # archived: an earlier report; unfinished: begun, and no run.json
    generation: int | None = None
    finished_at: str | None = None
    wall_seconds: float | None = None
    checkpoint_id: str | None = None  # whose beginning is the model's name
    rows: int | None = None  # so far, of one that is unfinished
    num_scored_now: int | None = None  # worked on by the call that wrote it
    num_left: int | None = None  # by its budget
    status: dict[str, int] = field(default_factory=dict)  # of every one, none too; empty: not known
    verdict: dict[str, int] = field(default_factory=dict)  # likewise
    error_code: dict[str, int] = field(default_factory=dict)  # that occurred


def find_runs(location: str) -> list[RunEntry]:
    """Return every run at `location` or in a folder right below it, each after its archived reports.

    Raises:
        AbsentRunError: there is none.
        OutputError: the location cannot be read.
    """
    top = RunDirectory(location)
    if here := list(_entries(top, _record(top), shared=set())):
        return here
    runs = [RunDirectory(join(location, name)) for name in top.folders()]
    records = [_record(run) for run in runs]
    shared = {path for record in records if record for path in _rows_elsewhere(record)}
    entries = [
        entry
        for run, record in zip(runs, records, strict=True)
        for entry in _entries(run, record, shared=shared)
    ]
    if not entries:
        holds = "rows that runs share, and no run" if STATE_NAME in top.files() else "no run, nor below it"
        raise AbsentRunError(f"{top.shown()!r} holds {holds}: neither run.json nor {BEGUN_NAME}")
    return entries


def _rows_elsewhere(record: dict[str, Any]) -> Iterator[str]:
    """Yield the path of the rows that a finished run shares with others."""
    place = record.get("config", {}).get("backlog", {}).get("incremental")
    with contextlib.suppress(SecureVqaError):  # of a store that cannot be reached from here
        yield RunDirectory(place or "").path()


def _entries(
    directory: RunDirectory, current: dict[str, Any] | None, *, shared: Collection[str]
) -> Iterator[RunEntry]:
    for name in directory.folders("generations"):
        archived = RunDirectory(join(directory.uri, f"generations/{name}"))
        record = _record(archived)
        is_current = current and record and record["generation"] == current["generation"]  # not replaced yet
        if record and not is_current:
            yield _entry(archived.shown(), "archived", record)
    if current:
        yield _entry(directory.shown(), "finished", current)
    elif begun := unfinished_run(directory, shared=shared):
        yield begun


def unfinished_run(directory: RunDirectory, *, shared: Collection[str] = ()) -> RunEntry | None:
    """Return what a run without a report has come to so far, None where none has begun.

    Args:
        directory: without a run.json.
        shared: paths of rows that runs share, which are no run.
    """
    if not _is_unfinished(directory, shared=shared):
        return None
    if "checkpoint" not in directory.folders():
        return RunEntry(uri=directory.shown(), state="unfinished")
    rows = directory.committed_rows([*COUNTED, "checkpoint_id"])
    counts: dict[str, Any] = {name: Counter(rows[name].drop_null().to_pylist()) for name in COUNTED}
    checkpoints = set(rows["checkpoint_id"].drop_null().to_pylist())
    return RunEntry(
        uri=directory.shown(),
        state="unfinished",
        rows=rows.num_rows,
        checkpoint_id=checkpoints.pop() if len(checkpoints) == 1 else None,
        **_with_zeros(counts),
    )


def _with_zeros(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return counts by kind; of every status and verdict, unless nothing is known of the kind."""
    return {
        name: {**dict.fromkeys(always, 0), **counts[name]} if name in counts else {}
        for name, always in COUNTED.items()
    }


def _is_unfinished(directory: RunDirectory, *, shared: Collection[str]) -> bool:
    """Tell whether a run without a report has begun here; folders of before have neither mark."""
    files, folders = directory.files(), directory.folders()
    if BEGUN_NAME in files:
        return True
    if STATE_NAME in files or directory.path() in shared:
        return False
    return "checkpoint" in folders or files == [LOCK_NAME]  # with its rows elsewhere


def _record(directory: RunDirectory) -> dict[str, Any] | None:
    """Return run.json, None where there is none or it is something else's."""
    try:
        return directory.read_run()
    except ForeignRunError:
        return None


def _entry(uri: str, state: RunState, record: dict[str, Any]) -> RunEntry:
    known = _with_zeros(record.get("counts", {})) | {name: record.get(name) for name in _KNOWN}
    checkpoint = record.get("provenance", {}).get("checkpoint_id")
    return RunEntry(uri=uri, state=state, checkpoint_id=checkpoint, **known)
