"""Scores nights over one manifest, without Ray: every video that a call works on is given the same score."""

from __future__ import annotations

import datetime
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from operators.schema import CALL, MANIFEST, ROW_KEY, texts
from pipeline.events import Events
from pipeline.manifests.manifest import read_manifest
from pipeline.runs.backlog import BacklogConfig, Plan
from pipeline.runs.row_keys import keyed
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring import score as scoring
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.work import Work
from securevqa_core.randomness import Key

__all__ = ["Nights"]


@dataclass(kw_only=True)
class Nights:
    """Calls of `securevqa score` whose pipeline is a stub; the rest of a call is the real one."""

    folder: Path  # of the videos
    place: str  # of the outputs and of the rows that they share
    patch: pytest.MonkeyPatch
    outcome: dict[str, Any] = field(default_factory=dict)  # columns of what is worked on next
    key: Key = field(default_factory=lambda: Key(b"0" * 32, randomness="keyed"))
    said: io.StringIO = field(default_factory=io.StringIO)

    def upload(self, *names: str) -> None:
        """Put videos into the manifest."""
        for name in names:
            (self.folder / f"{name}.mp4").write_bytes(name.encode())
        uris = sorted(str(path) for path in self.folder.glob("*.mp4"))
        pq.write_table(pa.table({"uri": uris}), self.folder / "manifest.parquet")

    def config(self, night: str, **backlog: Any) -> ScoreConfig:
        shared = {"incremental": f"{self.place}/state"} | backlog
        return ScoreConfig(
            manifest=str(self.folder / "manifest.parquet"),
            output=f"{self.place}/{night}",
            key=self.key,
            allow_schemes=frozenset({"file"}),
            backlog=BacklogConfig(**shared),
        )

    def keys(self, night: str) -> list[str]:
        """The row keys that a night's call gives the manifest's videos."""
        manifest = read_manifest(str(self.folder / "manifest.parquet"))
        provenance = RunDirectory(f"{self.place}/{night}").read_run()
        assert provenance is not None
        state = RunDirectory(f"{self.place}/state")
        (piece,) = keyed(state, [manifest], provenance=provenance["provenance"])
        return texts(piece, ROW_KEY)

    def score(self, night: str, **backlog: Any) -> scoring.Outcome:
        """Score what a night has to do; `incremental` is the state that all share, unless it is given."""
        for module in ("pipeline.scoring.passes.run_passes", "pipeline.scoring.score._run_here"):
            self.patch.setattr(module, self._run)
        events = Events(Console(file=self.said, width=1000))
        return scoring.score(self.config(night, **backlog), events=events)

    def _run(self, work: Work, planned: Plan, *, after_call: int) -> None:
        job, ran = work.job, work.ran
        ran.first_call = job.state.number_call(after=after_call)
        rows = pa.concat_tables(work.manifest.taken(planned.now, MANIFEST.names, size=100))
        now = datetime.datetime.now(datetime.UTC)
        scored = {"status": "scored", "score": 70.0, "score_lower": 70.0, "verdict": "pass"} | self.outcome
        done = [
            row | job.provenance | scored | {"scored_at": now, CALL: ran.first_call}
            for row in rows.to_pylist()
        ]
        table = pa.Table.from_pylist(done, schema=job.state.outcome)
        job.state.commit(table, f"night-{now.timestamp()}")
        is_done = np.zeros(len(work.index), np.bool_)
        is_done[planned.now] = True
        planned.states.move("begin", is_done)
        planned.states.move("return", is_done)
        ran.seconds, ran.slots, ran.num_begun = 1.0, {"decode": 1.0, "model": 2.0}, len(done)
