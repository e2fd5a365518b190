"""Owns a scoring job from its settings to its report: what is left to do, doing it, run.json last."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from operators.schema import MANIFEST, OUTCOME, REPORT, ROW_KEY, Row, rows_of, texts
from operators.stage import finished_table
from operators.storage import join, redact, scheme_of
from pipeline.manifests.formats import suffix_of
from pipeline.manifests.given import is_video, read_given
from pipeline.runs.backlog import Tries, adopt, plan, read_tries, untouched
from pipeline.runs.generations import archive_report, clear_report, last_generation
from pipeline.runs.lock import Lock, locked
from pipeline.runs.marks import mark_begun, mark_shared, unmark_begun
from pipeline.runs.record import bottleneck, run_record, stage_timings
from pipeline.runs.report import STAGE_SECONDS, require_parquet, state_digest, write_report
from pipeline.runs.row_keys import SHARED, row_keys
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.here import outcome_rows, runs_here
from securevqa_core import weights, zoo
from securevqa_core.embeddings import embedding_dims
from securevqa_core.errors import ConfigurationError, ManifestError, RunError
from securevqa_core.scoring import Thresholds
from securevqa_core.types import SamplingConfig

__all__ = ["Outcome", "score"]

STORE_PATIENCE_SECONDS = 60.0  # with an output that does not answer, once a run has begun
MAX_PASSES = 2  # over rows that no worker returned


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call of `score` did."""

    run: dict[str, Any]  # the contents of run.json
    is_new: bool  # False where the run was finished before
    report_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a run works with once everything that could be wrong at the start has been checked."""

    config: ScoreConfig
    checkpoint: weights.Checkpoint
    sampling: SamplingConfig
    provenance: Row
    directory: RunDirectory
    state: RunDirectory  # where rows are committed: the same, unless several outputs share it


@dataclass(slots=True)
class _Ran:
    """What the pipeline came to in this call."""

    run_id: str  # of this call, in run.json and in every line of log
    skipped: set[str] = field(default_factory=set)  # row keys that the deadline left undone
    slots: dict[str, float] = field(default_factory=dict)  # videos worked on at once, when it began
    seconds: float = 0.0


def score(config: ScoreConfig, *, console: Console) -> Outcome:
    """Score a manifest, or what an interrupted run left of it.

    Raises:
        ManifestError, ConfigurationError: the call is wrong; nothing was started.
        CheckpointError, OutputError: before any video is touched.
        RunError: Ray cannot be reached.
    """
    _require_apart(config)
    embedding_names = config.embeddings.features if config.embeddings else ()
    manifest = read_given(
        [config.manifest, *config.more_videos],
        uri_column=config.uri_column,
        allow_schemes=config.allow_schemes,
        reserved_columns=frozenset((ROW_KEY, *REPORT.names, *embedding_names)),
    )
    require_parquet(manifest)
    job = _prepare(config)
    with contextlib.ExitStack() as locks:
        held = [locks.enter_context(locked(place)) for place in _places(job)]
        return _score(job, manifest, held, console)


def _score(job: _Job, manifest: pa.Table, locks: list[Lock], console: Console) -> Outcome:
    started = time.time()
    config, backlog = job.config, job.config.backlog
    if job.state is not job.directory:
        mark_shared(job.state)
    if backlog.since_run is not None:
        adopt(job.state, backlog.since_run, texts(manifest, "video_id"), shared=_shared(job))
    manifest = manifest.add_column(
        0, ROW_KEY, pa.array(row_keys(job.state, manifest, provenance=job.provenance))
    )
    previous = job.directory.read_run()
    tries = read_tries(job.state, manifest)
    planned = plan(manifest, tries, backlog, retry_failed=config.retry_failed, limits=config.limits())
    fingerprint = _fingerprint(manifest, config.thresholds)
    report_uri = job.directory.shown("report")
    is_finished = previous is not None and previous.get("fingerprint") == fingerprint
    state = state_digest(job.state, manifest)
    is_current = previous is not None and previous.get("state_digest") == state
    if previous and is_finished and is_current and not planned.now.num_rows:
        clear_report(job.directory, previous)  # of what a killed writer left
        unmark_begun(job.directory)
        return Outcome(run=previous, is_new=False, report_uri=report_uri)
    ran = _Ran(run_id=uuid.uuid4().hex[:12])
    mark_begun(job.directory, job.state, run_id=ran.run_id)
    if planned.now.num_rows:
        budget = backlog.time_budget_seconds
        deadline = None if budget is None else started + budget
        if runs_here(config, planned.now.num_rows):
            _run_here(job, planned.now, ran, deadline=deadline, console=console)
        else:
            _run(job, planned.now, tries, ran, total=manifest.num_rows, deadline=deadline, console=console)
        state = state_digest(job.state, manifest)
    for lock in locks:
        lock.require_held()
    job.state.compact_commits()
    generation = last_generation(job.directory, previous) + 1
    if previous:
        archive_report(job.directory, previous)
    later = ran.skipped | planned.later
    summary = write_report(
        job.directory,
        manifest,
        provenance=job.provenance,
        state=job.state,
        pending=later,
        thresholds=config.thresholds,
        generation=generation,
        writer=ran.run_id,
    )
    record = run_record(
        config.public_settings(),
        provenance=job.provenance,
        architecture=job.checkpoint.architecture,
        summary=summary,
        started=started,
    )
    timings = _timings(job, planned.now, ran, started=started)
    run = record | {
        "run_id": ran.run_id,
        "stages": timings,
        "bottleneck": bottleneck(timings),
        "fingerprint": fingerprint,
        "state_digest": state,
        "generation": generation,
        "num_scored_now": planned.now.num_rows - len(ran.skipped),
        "num_left": len(later),
    }
    job.directory.write_json(run, "run.json")
    clear_report(job.directory, run)
    unmark_begun(job.directory)
    if backlog.keep_days is not None:
        oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=backlog.keep_days)
        job.state.forget_commits(before=oldest, keep=texts(manifest, ROW_KEY))
    return Outcome(run=run, is_new=True, report_uri=report_uri)


def _places(job: _Job) -> list[RunDirectory]:
    """Return what has one writer at a time, the shared one first, in the same order for all."""
    return [job.directory] if job.state is job.directory else [job.state, job.directory]


def _shared(job: _Job) -> Row:
    return {name: job.provenance[name] for name in SHARED}


def _require_apart(config: ScoreConfig) -> None:
    """Refuse an output that is the state too, or that a listing of the manifest would take for videos."""
    incremental = config.backlog.incremental
    if incremental is not None and _is_same(config.output, incremental):
        raise ConfigurationError(
            "incremental must be another folder than output, which keeps its own rows without it, "
            f"got {redact(incremental)!r} for both"
        )
    for location in (config.manifest, *config.more_videos):
        if not suffix_of(location) and not is_video(location):
            _require_outside(location, config)


def _require_outside(location: str, config: ScoreConfig) -> None:
    folder = f"{join(location, '').rstrip('/')}/".partition("**")[0]
    for name, uri in (("output", config.output), ("incremental", config.backlog.incremental)):
        place = f"{join(uri, '').rstrip('/')}/" if uri else ""
        if place.startswith(folder):
            raise ConfigurationError(
                f"{name} must not lie inside the manifest {redact(folder)!r}, got {redact(place)!r}"
            )


def _is_same(one: str, other: str) -> bool:
    if scheme_of(one) == scheme_of(other) == "file":
        return Path(join(one, "")).resolve() == Path(join(other, "")).resolve()
    return join(one, "").rstrip("/") == join(other, "").rstrip("/")


def _prepare(config: ScoreConfig) -> _Job:
    checkpoint = config.load_checkpoint()
    sampling = zoo.spec(checkpoint.architecture).sampling
    config = config.settled(checkpoint)
    more_columns = _more_columns(config, checkpoint, sampling)
    opened = functools.partial(
        RunDirectory, more_columns=more_columns, patience_seconds=STORE_PATIENCE_SECONDS
    )
    directory = opened(config.output)
    directory.require_writable()
    state = directory
    if config.backlog.incremental is not None:
        state = opened(config.backlog.incremental)
        state.require_writable()
    return _Job(
        config=config,
        checkpoint=checkpoint,
        sampling=sampling,
        provenance=config.provenance(checkpoint),
        directory=directory,
        state=state,
    )


def _more_columns(
    config: ScoreConfig, checkpoint: weights.Checkpoint, sampling: SamplingConfig
) -> list[pa.Field[Any]]:
    """Return the columns of the embeddings that were asked for, none in a scoring run."""
    if config.embeddings is None:
        return []
    dims = embedding_dims(weights.build(checkpoint), name=checkpoint.architecture)
    for feature in config.embeddings.features:
        if feature not in dims:
            known = ", ".join(dims)
            raise ConfigurationError(f"features of {checkpoint.architecture} are {known}, got {feature!r}")
    assert config.num_draws is not None
    from operators.embed import embedding_fields  # noqa: PLC0415 - it needs Ray

    return embedding_fields(config.embeddings, dims, sampling=sampling, num_draws=config.num_draws)


def _run_here(job: _Job, rows: pa.Table, ran: _Ran, *, deadline: float | None, console: Console) -> None:
    """Score `rows` in this process; fill `ran`."""
    began = time.time()
    ran.slots = {"decode": 1.0, "model": 1.0}
    scored = outcome_rows(
        rows_of(rows.select(MANIFEST.names)),
        job.config,
        checkpoint=job.checkpoint,
        deadline=deadline,
        skip=ran.skipped.add,
    )
    with console.status(f"scoring {rows.num_rows} videos") as status:
        for number, row in enumerate(scored, start=1):
            table = finished_table(row, stage="score", schema=job.state.outcome)
            job.state.commit(table, uuid.uuid4().hex)
            status.update(f"scored {number} of {rows.num_rows} videos")
    ran.seconds = time.time() - began


def _run(
    job: _Job,
    rows: pa.Table,
    before: Tries,
    ran: _Ran,
    *,
    total: int,
    deadline: float | None,
    console: Console,
) -> None:
    """Score `rows`, and once more what a worker took down with it; fill `ran`."""
    # Ray takes a second to import, and few videos need none of it.
    from operators.telemetry import TelemetrySetup  # noqa: PLC0415
    from pipeline.scoring.progress import new_tally, shown_progress, skipped_rows  # noqa: PLC0415
    from pipeline.scoring.run import build_pipeline, execute, model_resources  # noqa: PLC0415
    from pipeline.scoring.seeds import answered_seeds  # noqa: PLC0415
    from pipeline.session import cluster_resources, ray_session  # noqa: PLC0415

    left, began = rows, time.time()
    with ray_session(job.config.address), answered_seeds(job.config.key) as seeds:
        cluster = cluster_resources()
        resources = model_resources(cluster, gpus_per_actor=job.config.gpus_per_actor)
        ran.slots = resources.slots(cluster["CPU"])
        for _ in range(MAX_PASSES):
            tally = new_tally()
            pipeline = build_pipeline(
                left,
                job.config,
                seeds=seeds,
                checkpoint=job.checkpoint,
                sampling=job.sampling,
                provenance=job.provenance,
                telemetry=TelemetrySetup(run_id=ran.run_id, num_clips=job.sampling.num_clips, tally=tally),
                deadline=deadline,
                more_columns=list(job.state.outcome)[len(OUTCOME) :],
            )
            done_before = total - left.num_rows
            with shown_progress(
                tally, run_id=ran.run_id, total=total, done_before=done_before, console=console
            ):
                execute(pipeline, job.state, num_rows=left.num_rows)
            ran.seconds = time.time() - began
            ran.skipped |= skipped_rows(tally)
            left = untouched(rows, before, read_tries(job.state, rows), ran.skipped)
            if not left.num_rows:
                return
            if deadline is not None and time.time() >= deadline:
                break
    job.state.record_lost(texts(left, ROW_KEY))
    if left.num_rows + len(ran.skipped) == rows.num_rows:
        raise RunError(f"none of {left.num_rows} videos came back from the workers; see Ray's logs")


def _timings(job: _Job, rows: pa.Table, ran: _Ran, *, started: float) -> dict[str, dict[str, float]]:
    """Return the timings of the rows that came back of those that this call began."""
    if not ran.seconds:
        return {}
    back = job.state.committed_rows(list(STAGE_SECONDS.values()), keys=texts(rows, ROW_KEY))
    since = pa.scalar(datetime.datetime.fromtimestamp(started, datetime.UTC), back["scored_at"].type)
    return stage_timings(back.filter(pc.field("scored_at") >= since), ran.slots, wall_seconds=ran.seconds)


def _fingerprint(manifest: pa.Table, thresholds: Thresholds) -> str:
    """Digest everything the report depends on, columns that pass through included."""
    digest = hashlib.sha256(f"{thresholds} {manifest.schema}".encode())
    try:
        for batch in manifest.to_batches(max_chunksize=10_000):  # as Python objects all rows would be large
            for row in batch.to_pylist():
                digest.update(repr(row).encode())
    except (OverflowError, ValueError, pa.ArrowException) as error:
        raise ManifestError(f"a column of the manifest holds a value out of range: {error}") from error
    return digest.hexdigest()[:32]
