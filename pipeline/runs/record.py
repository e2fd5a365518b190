"""Owns run.json: what a run was asked, what came of it, how long its stages took and which held it up."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.schema import Row
from pipeline.runs.report import STAGE_SECONDS, Summary

__all__ = ["bottleneck", "run_record", "stage_timings"]

_POOLS = {"fetch": "decode", "decode": "decode", "model": "model"}  # stages that share what they run on
_PACKAGES = ("securevqa", "ray", "torch", "av", "numpy", "pyarrow")


def run_record(
    settings: Row, *, provenance: Row, architecture: str, summary: Summary, started: float
) -> dict[str, Any]:
    """Return what run.json says of the report as a whole.

    Args:
        settings: what was asked, without secrets.
        provenance: what all rows share.
        architecture: of the model.
        summary: of the report.
        started: seconds since the epoch.
    """
    return {
        "config": settings,
        "provenance": provenance,
        "architecture": architecture,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "rows": summary.rows,
        "files": summary.files,
        "counts": {
            "status": dict(summary.by_status),
            "verdict": dict(summary.by_verdict),
            "error_code": dict(summary.by_error),
        },
        "stage_seconds": {stage: round(seconds, 3) for stage, seconds in summary.seconds.items()},
        "slowest_stage": max(summary.seconds, key=lambda stage: summary.seconds[stage]),
        "started_at": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(),
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "wall_seconds": round(time.time() - started, 3),
    }


def stage_timings(
    rows: pa.Table, slots: Mapping[str, float], *, wall_seconds: float
) -> dict[str, dict[str, float]]:
    """Return for every stage what this call spent in it, on how many slots, and how full they were.

    Args:
        rows: the columns of `STAGE_SECONDS`, of the rows that this call worked on.
        slots: videos worked on at once, by pool: decode (fetching too) and model.
        wall_seconds: of the pipeline.

    Returns:
        stage -> seconds, videos, slots and busy_share, 0..1; a stage that no row reached is left out.
    """
    timings = {}
    for stage, column in STAGE_SECONDS.items():
        values = rows[column].drop_null()
        if not len(values):
            continue
        seconds, available = pc.sum(values).as_py(), slots[_POOLS[stage]] * wall_seconds
        timings[stage] = {
            "seconds": round(seconds, 3),
            "videos": len(values),
            "slots": slots[_POOLS[stage]],
            "busy_share": round(min(1.0, seconds / available), 3),
        }
    return timings


def bottleneck(timings: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return the longest stage of the pool that was fullest, None where no stage was reached.

    Not the stage of most seconds: sixty-four decoders may take more of them than two models, and still wait.
    """
    if not timings:
        return None
    full = dict.fromkeys(_POOLS.values(), 0.0)
    for stage, timing in timings.items():
        full[_POOLS[stage]] += timing["seconds"] / timing["slots"]
    fullest = max(full, key=lambda pool: full[pool])
    stages = [stage for stage in timings if _POOLS[stage] == fullest]
    return max(stages, key=lambda stage: timings[stage]["seconds"])
