"""Owns what is known while a run goes on: which videos were begun, and how many are finished.

What was begun outlives whoever writes it down: it is a file on the driver's node, and the actor that workers
tell is bound to that node. Where the actor ends, Ray starts it again, and it goes on with the same file.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from operators.metrics import MetricSet, Observation
from operators.schema import Row
from pipeline.scoring.shown import Reading
from pipeline.scoring.tally import Tally

__all__ = ["Ledger", "TallyGauge", "new_ledger"]

KEYS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the driver keeps of one pass over its rows."""

    tally: Any  # handle of the `Tally` that workers tell
    begun: Path

    def begun_rows(self) -> Iterator[list[str]]:
        """Yield the row keys of videos that were begun, some at a time; one begun again comes again."""
        with self.begun.open(encoding="utf-8") as file:
            lines = (line.rstrip("\n") for line in file)
            while keys := list(itertools.islice(lines, KEYS_AT_ONCE)):
                yield keys


@contextlib.contextmanager
def new_ledger() -> Iterator[Ledger]:
    """Start a tally on the driver's node; what it writes down is gone after the block."""
    here = ray.get_runtime_context().get_node_id()
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    with tempfile.TemporaryDirectory(prefix="securevqa-") as folder:
        begun = Path(folder) / "begun"
        begun.touch()
        yield Ledger(tally=ray.remote(**options)(Tally).remote(str(begun)), begun=begun)


class TallyGauge:
    """Asks the tally that workers tell."""

    def __init__(self, tally: Any, *, total: int) -> None:
        self.total = total
        self._tally = tally
        self._num_told = 0
        self._started = time.monotonic()
        self._metrics = MetricSet()

    def read(self) -> Reading:
        """Return how far the call is; nothing is finished where the tally does not answer."""
        counts: dict[str, int] = self._asked("counts") or {}
        finished = sum(counts.values())
        self._metrics.record(Observation("securevqa_videos_left", max(0, self.total - finished)))
        return Reading(
            total=self.total,
            done=min(finished, self.total),
            failed=counts.get("failed", 0),
            videos_per_second=finished / (time.monotonic() - self._started),
        )

    def finished(self) -> list[Row]:
        """Return the videos that workers said more of since the last time."""
        rows: list[Row] = self._asked("finished", self._num_told) or []
        self._num_told += len(rows)
        return rows

    def _asked(self, question: str, *arguments: int) -> Any:
        try:
            return ray.get(getattr(self._tally, question).remote(*arguments), timeout=5)
        except (ray.exceptions.RayError, TimeoutError):
            return None
