"""Owns what changed between two reports: which videos, in score, in verdict and in being scored at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import ConfigurationError, UndefinedError
from securevqa_core.metrics import srcc

__all__ = ["Changes", "changes"]

_COMPARED = (
    "uri",
    "content_sha256",
    "status",
    "error_code",
    "score",
    "score_lower",
    "verdict",
    "checkpoint_id",
)
# Of run.json's settings: what config_id is a digest of, by the names of their options, and what decides
# verdicts and failures beside it.
_DECISIVE = {
    "num_draws": "draws",
    "precision": "precision",
    "decoder": "decoder",
    "as_delivered": "as_delivered",
    "notice": "notice",
    "cap": "cap",
    "embeddings": "embeddings",
}
_GROUPS = {"thresholds": "", "decode_limits": "decode.", "fetch_limits": "fetch."}
_PROVENANCE = ("checkpoint_id", "checkpoint_status", "config_id", "key_id", "randomness")
pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What two runs say differently, by video_id."""

    videos: pa.Table  # every video of either: columns of a and b side by side, `difference`, `is_changed`
    record: dict[str, Any]  # counts and statistics, as JSON values


def changes(a: RunDirectory, b: RunDirectory, *, least_points: float) -> Changes:
    """Compare two finished runs.

    Args:
        a, b: run directories; an archived report below `generations/` is one too.
        least_points: a score that moved by less is not called changed, where the verdict is the same.

    Raises:
        ConfigurationError: `least_points` is negative.
        OutputError: one is no finished run, or cannot be read.
    """
    if not least_points >= 0:
        raise ConfigurationError(f"at_least must be >= 0 points, got {least_points}")
    (run_a, report_a), (run_b, report_b) = (
        read_finished_run(one, columns=("video_id", *_COMPARED)) for one in (a, b)
    )
    videos = _side_by_side(report_a, report_b, least_points)
    record = {
        "a": {"uri": a.shown(), "generation": run_a.get("generation"), "rows": report_a.num_rows},
        "b": {"uri": b.shown(), "generation": run_b.get("generation"), "rows": report_b.num_rows},
        "at_least_points": least_points,
        "differs_in": _different_settings(run_a, run_b),
    }
    return Changes(videos=videos, record=record | _counted(videos))


def _side_by_side(report_a: pa.Table, report_b: pa.Table, least_points: float) -> pa.Table:
    tables = []
    for suffix, report in (("a", report_a), ("b", report_b)):
        names = {name: f"{name}_{suffix}" for name in _COMPARED}
        marked = report.rename_columns([names.get(name, name) for name in report.column_names])
        tables.append(marked.append_column(f"in_{suffix}", pa.array([True] * report.num_rows, pa.bool_())))
    videos = tables[0].join(tables[1], keys="video_id", join_type="full outer").sort_by("video_id")
    for name in ("in_a", "in_b"):
        place = videos.column_names.index(name)
        videos = videos.set_column(place, name, pc.fill_null(videos[name], False))
    difference = pc.subtract(videos["score_b"], videos["score_a"])
    moved = pc.fill_null(pc.greater_equal(pc.abs(difference), max(least_points, np.nextafter(0, 1))), False)
    changed = pc.or_(moved, pc.not_equal(videos["in_a"], videos["in_b"]))
    for name in ("status", "error_code", "verdict"):
        one, other = (pc.fill_null(videos[f"{name}_{suffix}"], "") for suffix in ("a", "b"))
        changed = pc.or_(changed, pc.not_equal(one, other))
    return videos.append_column("difference", difference).append_column("is_changed", changed)


def _counted(videos: pa.Table) -> dict[str, Any]:
    in_both = videos.filter(pc.and_(videos["in_a"], videos["in_b"]))
    return {
        "videos": {
            "in_both": in_both.num_rows,
            "only_in_a": pc.sum(pc.invert(videos["in_b"])).as_py() or 0,
            "only_in_b": pc.sum(pc.invert(videos["in_a"])).as_py() or 0,
            "changed": pc.sum(videos["is_changed"]).as_py() or 0,
        },
        "verdicts": _transitions(in_both, "verdict"),
        "statuses": _transitions(in_both, "status"),
        "score": _differences(in_both.filter(pc.is_valid(in_both["difference"]))),
    }


def _transitions(in_both: pa.Table, name: str) -> list[dict[str, Any]]:
    """Return how many videos went from what to what, those that stayed included."""
    sides = (in_both[f"{name}_{suffix}"].to_pylist() for suffix in ("a", "b"))
    counts = Counter(zip(*sides, strict=True))
    return [{"a": a, "b": b, "videos": count} for (a, b), count in sorted(counts.items(), key=repr)]


def _differences(scored: pa.Table) -> dict[str, Any]:
    """Return statistics of b minus a, in points, over the videos that both scored; null where undefined."""
    count = scored.num_rows
    if not count:
        return {"videos": 0, "mean": None, "sd": None, "median": None, "largest": None, "srcc": None}
    moved: NDArray[np.float64] = scored["difference"].to_numpy()
    try:
        rank: float | None = srcc(scored["score_a"].to_numpy(), scored["score_b"].to_numpy())
    except UndefinedError:
        rank = None
    return {
        "videos": count,
        "mean": float(moved.mean()),
        "sd": float(moved.std(ddof=1)) if count > 1 else None,
        "median": float(np.median(moved)),
        "largest": float(np.abs(moved).max()),
        "srcc": rank,
    }


def _different_settings(run_a: dict[str, Any], run_b: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what both runs say differently, by name; config_id stays only where nothing else explains it."""
    found_a, found_b = run_a.get("provenance", {}), run_b.get("provenance", {})
    settings_a, settings_b = (_settings(run.get("config", {})) for run in (run_a, run_b))
    pairs = {name: [found_a.get(name), found_b.get(name)] for name in _PROVENANCE}
    pairs |= {name: [settings_a[name], settings_b[name]] for name in settings_a if name in settings_b}
    differs = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if differs.keys() & {*_DECISIVE.values(), "key_id"}:
        differs.pop("config_id", None)
    return differs


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that decide its rows."""
    decisive = {option: config[name] for name, option in _DECISIVE.items() if name in config}
    return decisive | {
        prefix + name: value
        for group, prefix in _GROUPS.items()
        for name, value in (config.get(group) or {}).items()
    }
