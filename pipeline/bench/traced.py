"""Owns a command that leaves behind when its steps began: `python -m pipeline.bench.traced FILE score ...`.

Its own steps are what it says that it is doing. Those of Ray's workers are in Ray's timeline, which is asked
for before Ray is shut down.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.events import Events

__all__ = ["ENVIRONMENT", "main"]

ENVIRONMENT = {
    "RAY_PROFILING": "1",
    "RAY_task_events_report_interval_ms": "100",
}  # for Ray to keep a timeline
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def main(path: Path, arguments: list[str]) -> None:
    """Run `securevqa` and write JSON: `steps` in seconds and `timeline` in microseconds of the epoch."""
    traced: dict[str, Any] = {"started": _process_start(), "steps": [], "timeline": []}
    _record_steps(traced)
    sys.argv = ["securevqa", *arguments]
    try:
        runpy.run_module("securevqa", run_name="__main__", alter_sys=True)
    finally:
        path.write_text(json.dumps(traced))


def _process_start() -> float:
    """Return when the kernel made this process, seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / _TICKS_PER_SECOND)


def _record_steps(traced: dict[str, Any]) -> None:
    said = Events.doing

    @contextlib.contextmanager
    def doing(self: Events, what: str, **options: Any) -> Iterator[None]:
        begun = time.time()
        with said(self, what, **options):
            yield
        traced["steps"].append((what, begun, time.time()))
        _keep_timeline(traced)

    Events.doing = doing  # type: ignore[method-assign]


def _keep_timeline(traced: dict[str, Any]) -> None:
    """Have Ray asked for its timeline as it is shut down, once it has been started."""
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or "stopped" in traced:
        return
    shut_down, traced["stopped"] = ray.shutdown, None

    def shutdown(*arguments: Any, **options: Any) -> None:
        if ray.is_initialized():
            traced["stopped"] = time.time()
            traced["timeline"] = ray.timeline()
        shut_down(*arguments, **options)

    ray.shutdown = shutdown


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
