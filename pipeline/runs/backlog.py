"""Owns what a run has to do: new and changed videos first, then failures that may pass, within a budget.

new row key --> beyond the budget, or past the deadline --> pending, for the next run
     |
     v
   begun -----> a row came back: scored
     |  ^------ a row came back: failed, and may pass, fewer than `max_tries` times
     |          a row came back: failed for good
     v
   no worker returned it: lost, counts as a try, and is begun again like a failure that may pass
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from operators.schema import OUTCOME, ROW_KEY, Row, texts
from pipeline.runs.budget import BacklogConfig, seconds_of
from pipeline.runs.rundir import RunDirectory, newest_rows
from securevqa_core.errors import ERROR_CODES, OutputError

__all__ = [
    "BacklogConfig",
    "Plan",
    "Tries",
    "adopt",
    "count_tries",
    "plan",
    "read_tries",
    "seconds_of",
    "untouched",
]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What is known of earlier tries, by row key."""

    error_codes: Mapping[str, str | None]  # of the newest row that came back; None: scored
    counts: Mapping[str, int]  # how often it was tried, rows that were lost included
    lost: Mapping[str, int] = field(default_factory=dict)  # how often no worker returned it
    limits: Mapping[str, tuple[str, float]] = field(default_factory=dict)  # that newest rows failed by


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run works on, and what it leaves to the next one."""

    now: pa.Table  # of the manifest's rows
    later: frozenset[str]  # row keys beyond the budget


def plan(
    manifest: pa.Table,
    tries: Tries,
    config: BacklogConfig,
    *,
    retry_failed: bool = False,
    limits: Mapping[str, float] | None = None,
) -> Plan:
    """Choose the rows of `manifest` to work on, in its order, those never tried first.

    Args:
        manifest: has row_key.
        tries: of these rows and any others.
        config: `max_tries` counts where earlier runs do, `max_videos` always.
        retry_failed: try again all that may pass now, however often it was tried.
        limits: what a video may cost now; what failed by less is tried again.
    """
    keys = texts(manifest, ROW_KEY)
    limit = config.max_tries if config.is_nightly and not retry_failed else None
    new = [index for index, key in enumerate(keys) if not tries.counts.get(key)]
    again = [
        index
        for index, key in enumerate(keys)
        if tries.counts.get(key)
        and (
            _may_pass(key, tries, limit, retry_failed or config.is_nightly)
            or _is_allowed_more(key, tries, config.max_tries, limits or {})
        )
    ]
    wanted = new + again
    now = wanted[: config.max_videos]
    later = frozenset(keys[index] for index in wanted[len(now) :])
    if len(now) == len(new) == len(keys):  # all of it, in its order: no copy
        return Plan(now=manifest, later=later)
    return Plan(now=manifest.take(pa.array(now, pa.int64())), later=later)


def _may_pass(key: str, tries: Tries, limit: int | None, retries: bool) -> bool:
    """Tell whether a video is tried again; one that never came back always is, up to the limit."""
    if limit is not None and tries.counts[key] >= limit:
        return False
    if key not in tries.error_codes:
        return True
    code = tries.error_codes[key]
    return retries and code is not None and ERROR_CODES[code].retryable


def _is_allowed_more(key: str, tries: Tries, max_lost: int, limits: Mapping[str, float]) -> bool:
    """Tell whether the limit that a video failed by is looser now; one that takes workers down ends there."""
    if key not in tries.limits or tries.lost.get(key, 0) >= max_lost:
        return False
    name, before = tries.limits[key]
    return before < limits.get(name, before)


def _limit_of(code: str, message: str | None) -> tuple[str, float] | None:
    """Return the limit that a failure is owed to, and what it was; None where its message does not say."""
    name, pattern = _LIMIT_OF[code]
    found = pattern.search(message or "")
    return (name, float(found[1])) if found else None


def count_tries(rows: pa.Table, lost: Sequence[Collection[str]]) -> Tries:
    """Count the tries of every row key.

    Args:
        rows: row_key, scored_at, error_code and error_message of every row that was ever committed, oldest
            first; a row that was committed twice, as after a lost acknowledgement, counts once.
        lost: for each run, the row keys that it tried and no worker returned.
    """
    by_key = rows.group_by(ROW_KEY).aggregate([("scored_at", "count_distinct")])
    newest = newest_rows(rows.select([ROW_KEY, "error_code", "error_message"])).join(by_key, ROW_KEY)
    tried = texts(newest, ROW_KEY)  # these strings and no copies of them: there are as many as videos
    times: list[Any] = newest["scored_at_count_distinct"].to_pylist()
    counts = Counter[str](dict(zip(tried, times, strict=True)))
    lost_counts = Counter(key for keys in lost for key in set(keys))
    counts.update(lost_counts)
    known = {code: code for code in ERROR_CODES}
    codes = (code and known.get(code, code) for code in newest["error_code"].to_pylist())
    limited = newest.filter(pads.field("error_code").isin(list(_LIMIT_OF)))
    columns = (limited[name].to_pylist() for name in (ROW_KEY, "error_code", "error_message"))
    owed = {key: _limit_of(code, message) for key, code, message in zip(*columns, strict=True)}
    known_limits = {key: limit for key, limit in owed.items() if limit is not None}
    return Tries(
        error_codes=dict(zip(tried, codes, strict=True)), counts=counts, lost=lost_counts, limits=known_limits
    )


def read_tries(state: RunDirectory, manifest: pa.Table) -> Tries:
    """Return what earlier runs tried of a manifest's rows, from where they committed them.

    Raises:
        OutputError: it cannot be read.
    """
    keys = texts(manifest, ROW_KEY)
    rows = state.committed_rows(["error_code", "error_message"], keys=keys, newest_only=False)
    return count_tries(rows, list(state.lost_rows().values()))


def untouched(rows: pa.Table, before: Tries, after: Tries, skipped: Collection[str]) -> pa.Table:
    """Return the rows that a run began and of which nothing came back."""
    left = [
        after.counts.get(key, 0) == before.counts.get(key, 0) and key not in skipped
        for key in texts(rows, ROW_KEY)
    ]
    return rows.filter(pa.array(left, pa.bool_()))


def adopt(state: RunDirectory, run_uri: str, video_ids: Collection[str], *, shared: Row) -> None:
    """Commit the rows of another run that this one can use, with all their tries.

    Args:
        state: where this run's rows are committed.
        run_uri: the other run's output.
        video_ids: of this run's manifest.
        shared: the columns in which a row must be as one of this run's.

    Raises:
        OutputError: the other is no finished run, or its rows are gone.
    """
    other = RunDirectory(run_uri)
    record = other.read_run()
    if record is None:
        raise OutputError(f"since_run {other.shown()!r} holds no run.json: not a run, or not a finished one")
    elsewhere = record.get("config", {}).get("backlog", {}).get("incremental")
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


def _digest(source: RunDirectory, record: dict[str, Any]) -> str:
    """Name what is adopted, so that adopting it again is no second copy."""
    return hashlib.sha256(f"{source.path()} {record['generation']}".encode()).hexdigest()[:16]
