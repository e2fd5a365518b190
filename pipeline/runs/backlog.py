"""Owns what a run has to do: new and changed videos first, then failures that may pass, within a budget."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as pads
from numpy.typing import NDArray

from operators.schema import CALL, OUTCOME, ROW_KEY, Row
from operators.storage import join, local_path, scheme_of
from pipeline.runs.budget import BacklogConfig, seconds_of
from pipeline.runs.finished import no_run
from pipeline.runs.key_index import KeyIndex
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.states import RowState, RowStates
from securevqa_core.errors import ERROR_CODES, AbsentRunError, OutputError

__all__ = [
    "BacklogConfig",
    "Plan",
    "Tries",
    "adopt",
    "count_tries",
    "plan",
    "read_tries",
    "seconds_of",
]

pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type
# The limit that a failure is owed to, as `ScoreConfig.limits` calls it, and how its message says what it was.
_LIMIT_OF = {
    "fetch_too_large": ("fetch.max_bytes", re.compile(r"max_bytes is (\d+)$")),
    "fetch_unreachable": (
        "fetch.timeout_seconds",
        re.compile(r" within timeout_seconds=([\d.e+]+): unreachable, [^']*$"),
    ),
    "decode_timeout": ("decode.timeout_seconds", re.compile(r" than ([\d.e+]+) s$")),
    "decode_memory": ("decode.memory_bytes", re.compile(r" limit of (\d+) bytes$")),
    "too_many_pixels": ("decode.max_pixels", re.compile(r"^a frame may have at most (\d+) pixels, ")),
}


_NEVER, _SCORED = -2, -1  # in place of the place of an error code among `_CODES`
_CODES = tuple(ERROR_CODES)
_OTHER = len(_CODES)  # a code of another version
_TRY = np.dtype([("place", np.int32), ("call", np.int64), ("at", np.int64)])
_MAY_PASS = np.array([*(code.retryable for code in ERROR_CODES.values()), False, False, False])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What is known of earlier tries of a manifest's rows, in its order."""

    counts: NDArray[np.int32]  # (rows,) how often each was tried, without a row that came back included
    lost: NDArray[np.int32]  # (rows,) how often no worker returned it
    codes: NDArray[np.int16]  # (rows,) what came of the newest row that came back, into _CODES
    moments: NDArray[np.int64]  # (rows,) when the newest row was finished, microseconds; -1: none came back
    limits: Mapping[int, tuple[str, float]] = field(default_factory=dict)  # that newest rows failed by
    last_call: int = 0  # number of the last that brought one of the rows

    def digest(self) -> str:
        """Digest what a report of the manifest is made from: which rows are there, and which were lost.

        It moves when another run brings, tries or loses one of them, and not when they are put elsewhere.
        """
        lost = np.where(self.codes == _NEVER, self.lost, 0).astype(np.int32)
        digest = hashlib.sha256(self.moments.data)
        digest.update(lost.data)
        return digest.hexdigest()[:32]

    def states(self) -> RowStates:
        """Return where every row stands before anything is begun."""
        return RowStates(done=self.codes != _NEVER, lost=self.counts > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run works on, and what it leaves to the next one."""

    states: RowStates  # of all rows; what is to do is pending, what a budget leaves to another run too
    now: NDArray[np.int64]  # places of the rows to work on, those never tried first


def plan(
    tries: Tries,
    config: BacklogConfig,
    *,
    retry_failed: bool = False,
    limits: Mapping[str, float] | None = None,
) -> Plan:
    """Choose the rows of a manifest to work on, in its order, those never tried first.

    Args:
        tries: of its rows.
        config: `max_tries` counts where earlier runs do, `max_videos` always.
        retry_failed: try again all that may pass now, however often it was tried.
        limits: what a video may cost now; what failed by less is tried again.
    """
    states = tries.states()
    again = _may_pass(tries, config, retry_failed) | _is_allowed_more(tries, config.max_tries, limits or {})
    is_new = states.are(RowState.PENDING)
    states.move("again", again & ~is_new)
    wanted = np.concatenate([np.flatnonzero(is_new), np.flatnonzero(again & ~is_new)])
    return Plan(states=states, now=wanted[: config.max_videos])


def _may_pass(tries: Tries, config: BacklogConfig, retry_failed: bool) -> NDArray[np.bool_]:
    """Tell which videos are tried again; one that never came back always is, up to the limit."""
    may_pass = tries.codes == _NEVER
    if retry_failed or config.is_nightly:
        may_pass = may_pass | _MAY_PASS[tries.codes]
    if config.is_nightly and not retry_failed:
        may_pass = may_pass & (tries.counts < config.max_tries)
    return np.asarray(may_pass)


def _is_allowed_more(tries: Tries, max_lost: int, limits: Mapping[str, float]) -> NDArray[np.bool_]:
    """Tell where the limit that a video failed by is looser now; one that takes workers down ends there."""
    looser = [place for place, (name, before) in tries.limits.items() if before < limits.get(name, before)]
    allowed = np.zeros(len(tries.counts), np.bool_)
    allowed[looser] = tries.lost[looser] < max_lost
    return allowed


def _limit_of(code: str, message: str | None) -> tuple[str, float] | None:
    """Return the limit that a failure is owed to, and what it was; None where its message does not say."""
    name, pattern = _LIMIT_OF[code]
    found = pattern.search(message or "")
    return (name, float(found[1])) if found else None


def count_tries(index: KeyIndex, parts: Iterable[pa.Table], lost: Iterable[Collection[str]]) -> Tries:
    """Count the tries of the rows of a manifest.

    Args:
        index: of their row keys.
        parts: row_key, call, scored_at, error_code and error_message of every row that was ever committed,
            of this manifest and of others, in any order; a row that was committed twice, as after a lost
            acknowledgement, counts once.
        lost: for each run, the row keys that it tried and no worker returned.
    """
    tally = _Tally(len(index))
    for part in parts:
        tally.add(part, index.places(part[ROW_KEY]))
    lost_counts = np.zeros(len(index), np.int32)
    for keys in lost:
        places = index.places(sorted(set(keys)))
        lost_counts[places[places >= 0]] += 1
    return Tries(
        counts=lost_counts + tally.counts(),
        lost=lost_counts,
        codes=tally.codes,
        moments=tally.moments,
        limits=tally.limits(),
        last_call=int(tally.calls.max(initial=0)),
    )


class _Tally:
    """The newest try of every row of a manifest, in its order, and what came before it."""

    def __init__(self, num_rows: int) -> None:
        self.calls = np.zeros(num_rows, np.int64)
        self.moments = np.full(num_rows, -1, np.int64)
        self.codes = np.full(num_rows, _NEVER, np.int16)
        self._before = [np.empty(0, _TRY)]
        self._limits = dict[int, tuple[str, float]]()

    def add(self, part: pa.Table, places: NDArray[np.int64]) -> None:
        """Add committed rows, which are at these places, or at none, -1."""
        part = part.filter(pa.array(places >= 0))
        tried = np.empty(part.num_rows, _TRY)
        tried["place"] = places[places >= 0]
        tried["call"] = pc.fill_null(part[CALL], 0).to_numpy()
        tried["at"] = pc.fill_null(part["scored_at"].cast(pa.int64()), 0).to_numpy()
        order = np.lexsort((tried["at"], tried["call"], tried["place"]))
        is_last = np.ones(len(order), np.bool_)
        is_last[:-1] = tried["place"][order][1:] != tried["place"][order][:-1]
        self._before.append(tried[order[~is_last]])
        last = order[is_last]
        place, call, at = (tried[last][name] for name in _TRY.names or ())
        newest = (call > self.calls[place]) | ((call == self.calls[place]) & (at >= self.moments[place]))
        self._before.append(tried[last[~newest]])
        self._replace(tried[last[newest]], part.select(["error_code", "error_message"]).take(last[newest]))

    def _replace(self, tried: NDArray[Any], failures: pa.Table) -> None:
        place, codes = tried["place"], failures["error_code"]
        old = place[self.codes[place] != _NEVER]
        before = np.empty(len(old), _TRY)
        before["place"], before["call"], before["at"] = old, self.calls[old], self.moments[old]
        self._before.append(before)
        self.calls[place], self.moments[place] = tried["call"], tried["at"]
        known = pc.index_in(codes, value_set=pa.array(_CODES)).fill_null(_OTHER).to_numpy()
        self.codes[place] = np.where(codes.is_null().to_numpy(), _SCORED, known)
        limited = pc.is_in(codes, value_set=pa.array(list(_LIMIT_OF)))
        for one, failure in zip(
            place[limited.to_numpy()].tolist(), failures.filter(limited).to_pylist(), strict=True
        ):
            self._limits.pop(one, None)
            if limit := _limit_of(failure["error_code"], failure["error_message"]):
                self._limits[one] = limit

    def counts(self) -> NDArray[np.int32]:
        """Return (rows,) how often each came back; a copy of a try is none."""
        before = np.unique(np.concatenate(self._before))
        place = before["place"]
        is_copy = (before["call"] == self.calls[place]) & (before["at"] == self.moments[place])
        counts = np.bincount(place[~is_copy], minlength=len(self.codes)).astype(np.int32)
        counts[self.codes != _NEVER] += 1
        return counts

    def limits(self) -> dict[int, tuple[str, float]]:
        """Return the limits that newest tries failed by, by place."""
        limited = {_CODES.index(code) for code in _LIMIT_OF}
        return {place: limit for place, limit in self._limits.items() if int(self.codes[place]) in limited}


def read_tries(state: RunDirectory, index: KeyIndex) -> Tries:
    """Return what earlier runs tried of a manifest's rows, from where they committed them.

    Raises:
        OutputError: it cannot be read.
    """
    parts = state.committed_parts(["error_code", "error_message"])
    return count_tries(index, parts, state.lost_rows().values())


def adopt(state: RunDirectory, run_uri: str, video_ids: Collection[str], *, shared: Row) -> None:
    """Commit the rows of another run that this one can use, with all their tries.

    Args:
        state: where this run's rows are committed.
        run_uri: the other run's output.
        video_ids: of this run's manifest.
        shared: the columns in which a row must be as one of this run's.

    Raises:
        AbsentRunError: the other is no finished run.
        OutputError: its rows are gone.
    """
    other = RunDirectory(run_uri)
    record = other.read_run()
    if record is None:
        raise AbsentRunError(f"since_run {no_run(other)}")
    elsewhere = _rows_elsewhere(other, record)
    source = RunDirectory(elsewhere or run_uri, more_columns=list(state.outcome)[len(OUTCOME) :])
    if source.path() == state.path():
        return
    names = state.outcome.names
    wanted = pads.field("video_id").isin(list(video_ids))
    for name, value in shared.items():
        wanted &= pads.field(name) == value
    rows = source.committed_rows(names, where=wanted, newest_only=False).select(names)
    if not rows.num_rows and record.get("rows") and not source.has_commits():
        raise OutputError(f"since_run {source.shown()!r} has no committed rows left: its checkpoint/ is gone")
    state.commit(rows, f"adopted-{_digest(source, record)}")
    for name, keys in source.lost_rows().items():
        state.record_lost(keys, name=name)


def _rows_elsewhere(run: RunDirectory, record: dict[str, Any]) -> str | None:
    """Return where a run shares its rows with others, None where it keeps its own.

    Raises:
        OutputError: an earlier version wrote it down relative to a folder that cannot be told.
    """
    config = record.get("config", {})
    uri, output = config.get("backlog", {}).get("incremental"), str(config.get("output", ""))
    if uri is None or scheme_of(uri) != "file" or local_path(uri).startswith("/"):
        return None if uri is None else str(uri)
    began_in = run.path().removesuffix(f"/{posixpath.normpath(output)}")
    if began_in == run.path():
        raise OutputError(
            f"since_run {run.shown()!r} shares its rows at {uri!r}, a path relative to where it was started; "
            "score it once more with an absolute one"
        )
    return join(began_in, local_path(uri))


def _digest(source: RunDirectory, record: dict[str, Any]) -> str:
    """Name what is adopted, so that adopting it again is no second copy."""
    return hashlib.sha256(f"{source.path()} {record['generation']}".encode()).hexdigest()[:16]
