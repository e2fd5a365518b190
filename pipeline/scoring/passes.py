"""Owns the passes of a run over its rows: what is begun, what comes back, and what is begun once more.

A pass ends when every task has ended, at the deadline, or where the pipeline breaks. What was begun and did
not come back is begun once more, by itself; what was not begun, until passes bring nothing back.
"""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pyarrow.dataset as pads
import ray
from numpy.typing import NDArray

from operators.schema import CALL, MANIFEST, OUTCOME, ROW_KEY
from operators.telemetry import TelemetrySetup
from pipeline.runs.backlog import Plan
from pipeline.runs.states import RowState
from pipeline.scoring.progress import Ledger, TallyGauge, new_ledger
from pipeline.scoring.run import Resources, build_pipeline, execute, model_resources, rows_per_task
from pipeline.scoring.seeds import answered_seeds
from pipeline.scoring.shown import names_in, say_no_gpu, shown_progress
from pipeline.scoring.work import Work
from pipeline.session import cluster_resources, ray_session
from pipeline.text import counted
from securevqa_core.errors import RunError
from securevqa_core.randomness import DrawSource

__all__ = ["run_passes"]

MAX_PASSES = 2  # in which a row is begun; so many in a row that bring nothing back end a run
Mask = NDArray[np.bool_]


def run_passes(work: Work, planned: Plan, *, after_call: int) -> None:
    """Score the rows that are planned; move their states, record those that no worker returned.

    Args:
        work: of its `ran`, run_id and deadline are given, and the rest is filled.
        planned: which rows, in which order.
        after_call: numbers of passes are above this one.

    Raises:
        RunError: Ray cannot be reached, or no video could be begun though there was time.
        OutputError: what was committed cannot be read, or the lock was lost.
    """
    job, ran, states = work.job, work.ran, planned.states
    times_begun = np.zeros(len(work.index), np.int8)
    left, passes_in_vain, started = planned.now, 0, time.time()
    with contextlib.ExitStack() as opened:
        with work.events.doing("starting Ray"):
            opened.enter_context(ray_session(job.config.address))
            seeds = opened.enter_context(answered_seeds(job.config.key))
        cluster = cluster_resources()
        resources = model_resources(
            cluster, gpus_per_actor=job.config.gpus_per_actor, num_videos=len(planned.now)
        )
        say_no_gpu(job.config.gpus_per_actor, work.events, is_there=bool(cluster.get("GPU")))
        ran.slots = resources.slots(cluster["CPU"])
        while len(left) and not ran.is_over and passes_in_vain < MAX_PASSES:
            call = job.state.number_call(after=after_call)
            ran.first_call = ran.first_call or call
            begun = _one_pass(work, left, seeds, resources, call=call)
            ran.seconds = time.time() - started
            back = _came_back(work, call)
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
    is_lost = (times_begun > 0) & states.are(RowState.LOST)
    if is_lost.any():
        job.state.record_lost(list(work.manifest.keys_at(is_lost)))
    if not ran.num_begun and not ran.is_over:
        reason = ran.broke or "see Ray's logs"
        raise RunError(f"none of {counted(len(planned.now), 'video')} could be begun: {reason}")


def _one_pass(
    work: Work, places: NDArray[np.int64], seeds: DrawSource, resources: Resources, *, call: int
) -> Mask:
    """Score the rows at `places` as far as that goes; return which rows of the manifest were begun."""
    begun = np.zeros(len(work.index), np.bool_)
    try:
        with new_ledger() as ledger:
            try:
                _pipe(work, places, seeds, resources, ledger, call=call)
            except RunError as error:
                work.ran.broke = str(error)
            for keys in ledger.begun_rows():
                found = work.index.places(keys)
                begun[found[found >= 0]] = True
    except (ray.exceptions.RayError, RuntimeError) as error:  # once Ray is gone
        work.ran.broke = f"{type(error).__name__}: {error}"
    if work.ran.broke:
        work.events.note(work.ran.broke)
    return begun


def _pipe(
    work: Work,
    places: NDArray[np.int64],
    seeds: DrawSource,
    resources: Resources,
    ledger: Ledger,
    *,
    call: int,
) -> None:
    """Run the pipeline over the rows at `places` to its end."""
    job, run_id, num_rows = work.job, work.ran.run_id, len(places)
    size = rows_per_task(num_rows, work.ran.slots["decode"])
    pipeline = build_pipeline(
        work.manifest.taken(places, MANIFEST.names, size=size),
        job.config,
        resources=resources,
        seeds=seeds,
        checkpoint=job.checkpoint,
        sampling=job.sampling,
        provenance=job.provenance | {CALL: call},
        telemetry=TelemetrySetup(
            run_id=run_id,
            num_clips=job.sampling.num_clips,
            tally=ledger.tally,
            tells_all=work.events.is_verbose,
        ),
        deadline=work.ran.deadline,
        more_columns=list(job.state.outcome)[len(OUTCOME) :],
    )
    gauge = TallyGauge(ledger.tally, total=num_rows)
    names = names_in(work.manifest)
    with shown_progress(gauge, run_id=run_id, total=num_rows, events=work.events, names=names):
        execute(pipeline, job.state, num_rows=num_rows)


def _came_back(work: Work, call: int) -> Mask:
    """Return which rows of the manifest a call has brought back."""
    back = np.zeros(len(work.index), np.bool_)
    for part in work.job.state.committed_parts([], where=pads.field(CALL) == call):
        places = work.index.places(part[ROW_KEY])
        back[places[places >= 0]] = True
    return back
