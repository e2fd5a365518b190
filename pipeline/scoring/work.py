"""Owns what a scoring run works with, and what is known of it as it goes on, with Ray and without."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from operators.schema import Row
from pipeline.events import Events
from pipeline.runs.key_index import KeyIndex
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.spool import Spool
from pipeline.scoring.config import ScoreConfig
from securevqa_core import weights
from securevqa_core.types import SamplingConfig

__all__ = ["Job", "Ran", "Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run works with once everything that could be wrong at the start has been checked."""

    config: ScoreConfig
    checkpoint: weights.Checkpoint
    sampling: SamplingConfig
    provenance: Row
    directory: RunDirectory
    state: RunDirectory  # where rows are committed: the same, unless several outputs share it


@dataclass(slots=True)
class Ran:
    """What the pipeline came to in this call."""

    run_id: str  # of this call, in run.json and in every line of log
    deadline: float | None  # seconds since the epoch after which no video is begun
    slots: dict[str, float] = field(default_factory=dict)  # videos worked on at once, when it began
    seconds: float = 0.0
    first_call: int | None = None  # number of the first pass
    num_begun: int = 0  # videos
    broke: str | None = None  # what the last pass that did not end by itself broke of

    @property
    def is_over(self) -> bool:
        """Tell whether the run's time is up."""
        return self.deadline is not None and time.time() >= self.deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the passes of one call share."""

    job: Job
    manifest: Spool  # has row_key, video_id and uri
    index: KeyIndex  # of its row keys
    ran: Ran
    events: Events  # say how far the run is
