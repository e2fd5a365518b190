"""Owns the passes of a run over its rows: what is begun, what comes back, and what is begun once more.

A pass ends when every task has ended, at the deadline, or where the pipeline breaks. What was begun and did
not come back is begun once more, by itself; what was not begun, until passes bring nothing back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import ray
from numpy.typing import NDArray
from rich.console import Console

from operators.schema import CALL, OUTCOME, ROW_KEY, Row, texts
from operators.telemetry import TelemetrySetup
from pipeline.runs.backlog import Plan
from pipeline.runs.key_index import KeyIndex
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.states import RowState
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.progress import Ledger, new_ledger, shown_progress
from pipeline.scoring.run import build_pipeline, execute, model_resources
from pipeline.scoring.seeds import answered_seeds
from pipeline.session import cluster_resources, ray_session
from securevqa_core import weights
from securevqa_core.errors import RunError, SecureVqaError
from securevqa_core.randomness import DrawSource
from securevqa_core.types import SamplingConfig

__all__ = ["Job", "Ran", "run_passes"]

MAX_PASSES = 2  # in which a row is begun; so many in a row that bring nothing back end a run
Mask = NDArray[np.bool_]


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


def run_passes(
    job: Job,
    manifest: pa.Table,
    index: KeyIndex,
    planned: Plan,
    ran: Ran,
    *,
    after_call: int,
    console: Console,
) -> None:
    """Score the rows that are planned, record those that no worker returned, move their states, fill `ran`.

    Args:
        job: what to work with.
        manifest: has row_key, video_id and uri.
        index: of its row keys.
        planned: which rows, in which order.
        ran: of which run_id and deadline are given.
        after_call: numbers of passes are above this one.
        console: shows how far the run is.

    Raises:
        RunError: Ray cannot be reached, or no video could be begun though there was time.
        OutputError: what was committed cannot be read, or the lock was lost.
    """
    states = planned.states
    times_begun = np.zeros(len(index), np.int8)
    left, passes_in_vain, started = planned.now, 0, time.time()
    with ray_session(job.config.address), answered_seeds(job.config.key) as seeds:
        cluster = cluster_resources()
        resources = model_resources(cluster, gpus_per_actor=job.config.gpus_per_actor)
        ran.slots = resources.slots(cluster["CPU"])
        while len(left) and not ran.is_over and passes_in_vain < MAX_PASSES:
            call = job.state.number_call(after=after_call)
            ran.first_call = ran.first_call or call
            begun = _one_pass(job, manifest.take(left), index, seeds, ran, call=call, console=console)
            ran.seconds = time.time() - started
            back = _came_back(job.state, index, call)
            begun |= back
            states.move("again", begun & states.are(RowState.LOST))
            states.move("begin", begun)
            states.move("return", back)
            states.move("vanish", begun & ~back)
            times_begun += begun
            passes_in_vain = 0 if back.any() else passes_in_vain + 1
            is_left = states.are(RowState.PENDING) | (states.are(RowState.LOST) & (times_begun < MAX_PASSES))
            left = planned.now[is_left[planned.now]]
    ran.num_begun = int(np.count_nonzero(times_begun))
    is_lost = _only(planned.now, states.are(RowState.LOST))
    if is_lost.any():
        job.state.record_lost(texts(manifest.filter(pa.array(is_lost)), ROW_KEY))
    if not ran.num_begun and not ran.is_over:
        reason = ran.broke or "see Ray's logs"
        raise RunError(f"none of {len(planned.now)} videos could be begun: {reason}")


def _only(places: NDArray[np.int64], which: Mask) -> Mask:
    """Return `which`, of these places alone."""
    chosen = np.zeros_like(which)
    chosen[places] = which[places]
    return chosen


def _one_pass(
    job: Job,
    rows: pa.Table,
    index: KeyIndex,
    seeds: DrawSource,
    ran: Ran,
    *,
    call: int,
    console: Console,
) -> Mask:
    """Score `rows` as far as that goes; return which rows of the manifest were begun."""
    begun = np.zeros(len(index), np.bool_)
    try:
        with new_ledger() as ledger:
            _pipe(job, rows, seeds, ran, ledger, total=len(index), call=call, console=console)
            for keys in ledger.begun_rows():
                places = index.places(keys)
                begun[places[places >= 0]] = True
    except SecureVqaError:
        raise
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:  # once Ray is gone
        ran.broke = f"{type(error).__name__}: {error}"
    return begun


def _pipe(
    job: Job,
    rows: pa.Table,
    seeds: DrawSource,
    ran: Ran,
    ledger: Ledger,
    *,
    total: int,
    call: int,
    console: Console,
) -> None:
    """Run the pipeline over `rows` to its end; where it breaks, say so."""
    pipeline = build_pipeline(
        rows,
        job.config,
        seeds=seeds,
        checkpoint=job.checkpoint,
        sampling=job.sampling,
        provenance=job.provenance | {CALL: call},
        telemetry=TelemetrySetup(run_id=ran.run_id, num_clips=job.sampling.num_clips, tally=ledger.tally),
        deadline=ran.deadline,
        more_columns=list(job.state.outcome)[len(OUTCOME) :],
    )
    done_before = total - rows.num_rows
    with shown_progress(
        ledger.tally, run_id=ran.run_id, total=total, done_before=done_before, console=console
    ):
        try:
            execute(pipeline, job.state, num_rows=rows.num_rows)
        except RunError as error:
            ran.broke = str(error)
            console.print(ran.broke, markup=False, highlight=False, soft_wrap=True)


def _came_back(state: RunDirectory, index: KeyIndex, call: int) -> Mask:
    """Return which rows of the manifest a call has brought back."""
    back = np.zeros(len(index), np.bool_)
    for part in state.committed_parts([], chosen=pads.field(CALL) == call):
        places = index.places(part[ROW_KEY])
        back[places[places >= 0]] = True
    return back
