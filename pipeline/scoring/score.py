"""Owns a scoring job from its settings to its report: what is left to do, doing it, run.json last."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from operators.schema import CALL, MANIFEST, REPORT, ROW_KEY, Row, rows_of, texts
from operators.stage import finished_table
from operators.storage import join, redact, scheme_of
from pipeline.events import Events
from pipeline.manifests.formats import suffix_of
from pipeline.manifests.given import is_video, read_given_rows
from pipeline.manifests.pieces import read_pieces
from pipeline.manifests.rows import Refusal, require_all
from pipeline.runs.backlog import Plan, adopt, plan, read_tries
from pipeline.runs.copies import NearCopies, near_copies
from pipeline.runs.generations import archive_report, clear_report, last_generation
from pipeline.runs.key_index import KeyIndex
from pipeline.runs.lock import locked
from pipeline.runs.marks import mark_begun, mark_shared, unmark_begun
from pipeline.runs.record import bottleneck, run_record, stage_timings
from pipeline.runs.report import STAGE_SECONDS, write_report
from pipeline.runs.row_keys import SHARED
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.spool import Spool
from pipeline.runs.states import RowState
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.here import has_gpu, outcome_rows, runs_here
from pipeline.scoring.one_key import require_one_key
from pipeline.scoring.refused import keyed_rows
from pipeline.scoring.shown import (
    GaugeHere,
    names_in,
    say_ephemeral,
    say_left_out,
    say_likely_lists,
    say_no_gpu,
    say_refused,
    shown_progress,
)
from pipeline.scoring.work import Job, Ran, Work
from pipeline.tables import plain, require_parquet
from pipeline.text import counted
from securevqa_core import weights, zoo
from securevqa_core.embeddings import embedding_dims
from securevqa_core.errors import ConfigurationError, ManifestError, OutputError, RunError
from securevqa_core.scoring import Thresholds
from securevqa_core.types import SamplingConfig

__all__ = ["Outcome", "score"]

STORE_PATIENCE_SECONDS = 60.0  # with an output that does not answer, once a run has begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call of `score` did."""

    run: dict[str, Any]  # the contents of run.json
    is_new: bool  # False where the run was finished before
    run_uri: str  # of the run directory, for people


@dataclass(frozen=True, slots=True)
class _AllBut:
    """All row keys but some, which are few."""

    others: frozenset[str]

    def __contains__(self, key: object) -> bool:
        return key not in self.others


def score(config: ScoreConfig, *, events: Events) -> Outcome:
    """Score a manifest, or what an interrupted run left of it.

    Raises:
        ManifestError, ConfigurationError: the call is wrong; nothing was started.
        CheckpointError, OutputError: before any video is touched.
        RunError: Ray cannot be reached, or no video could be begun; the rows that are known are reported.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # others keep what rows no longer need
    RunDirectory(config.output).require_store()  # before a manifest is listed, which may take minutes
    _require_apart(config)
    require_one_key(config, events)
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="securevqa-")))
        with events.doing("looking for videos"):
            listed, refused = _listed(config, folder, events)
        say_refused(refused, events)
        require_parquet(listed.schema)
        with events.doing("loading the model"):
            job = _prepare(config)
        if job.provenance["checkpoint_status"] == "untrained":
            meaning = "these scores mean nothing, and every verdict is review"
            events.note(f"checkpoint_status = untrained: {meaning}")
        for place in _places(job):
            held.enter_context(locked(place))
        started = time.time()
        if job.state is not job.directory:
            mark_shared(job.state, provenance=job.provenance)
        if config.backlog.since_run is not None:
            adopt(job.state, config.backlog.since_run, _video_ids(listed), shared=_shared(job))
        with events.doing(f"looking up the versions of {counted(listed.num_rows, 'video')}"):
            keyed = keyed_rows(job.state, listed.pieces(), refused, provenance=job.provenance)
            manifest = Spool(folder / "keyed", keyed)
        return _score(job, manifest, events, started=started)


def _listed(config: ScoreConfig, folder: Path, events: Events) -> tuple[Spool, Mapping[int, Refusal]]:
    """Return the videos that are asked for, and what is refused; a sound manifest by pieces."""
    embedding_names = config.embeddings.features if config.embeddings else ()
    options: dict[str, Any] = {
        "uri_column": config.uri_column,
        "allow_schemes": config.allow_schemes,
        "reserved_columns": frozenset((ROW_KEY, *REPORT.names, *embedding_names)),
    }
    if not config.more_videos and not is_video(config.manifest):
        others: list[str] = []
        try:
            listed = Spool(folder / "listed", read_pieces(config.manifest, others=others, **options))
        except ManifestError:
            if config.strict:
                raise
        else:
            say_left_out(others, events)
            return listed, {}
    say_likely_lists([config.manifest, *config.more_videos], events)
    given = read_given_rows([config.manifest, *config.more_videos], **options)
    if config.strict:
        require_all(given, config.manifest)
    say_left_out(given.others, events)
    return Spool(folder / "given", [given.table]), given.refused


def _score(job: Job, manifest: Spool, events: Events, *, started: float) -> Outcome:
    config, backlog = job.config, job.config.backlog
    previous = job.directory.read_run()
    index = KeyIndex(manifest.row_keys())
    tries = read_tries(job.state, index)
    planned = plan(tries, backlog, retry_failed=config.retry_failed, limits=config.limits())
    fingerprint = _fingerprint(manifest, config.thresholds)
    is_finished = previous is not None and previous.get("fingerprint") == fingerprint
    is_current = previous is not None and previous.get("state_digest") == tries.digest()
    if previous and is_finished and is_current and not len(planned.now):
        clear_report(job.directory, previous)  # of what a killed writer left
        unmark_begun(job.directory)
        return Outcome(run=previous, is_new=False, run_uri=job.directory.shown())
    budget, failure = backlog.time_budget_seconds, None
    ran = Ran(run_id=uuid.uuid4().hex[:12], deadline=None if budget is None else started + budget)
    mark_begun(job.directory, job.state, run_id=ran.run_id)
    if len(planned.now):
        say_ephemeral(config.key, events)
        work = Work(job=job, manifest=manifest, index=index, ran=ran, events=events)
        failure = _fill(work, planned, after_call=tries.last_call)
        if failure is not None and ((is_finished and is_current) or not tries.counts.any()):
            raise failure  # there is nothing new to report, or nothing at all
        tries = read_tries(job.state, index)
    job.state.compact_commits()
    generation = last_generation(job.directory, previous) + 1
    if previous:
        archive_report(job.directory, previous)
    is_pending = planned.states.are(RowState.PENDING)
    with _copies(job) as copies:
        summary = write_report(
            job.directory,
            manifest,
            provenance=job.provenance,
            state=job.state,
            pending=_AllBut(frozenset(manifest.keys_at(planned.states.are(RowState.LOST)))),
            thresholds=config.thresholds,
            generation=generation,
            writer=ran.run_id,
            index=index,
            copies=copies,
        )
    record = run_record(
        config.public_settings(),
        provenance=job.provenance,
        architecture=job.checkpoint.architecture,
        summary=summary,
        started=started,
    )
    timings = _timings(job, ran)
    run = record | {
        "run_id": ran.run_id,
        "stages": timings,
        "bottleneck": bottleneck(timings),
        "fingerprint": fingerprint,
        "state_digest": tries.digest(),
        "generation": generation,
        "num_worked_on_now": ran.num_begun,  # those that failed too
        "num_scored_now": ran.num_begun,  # as it was called before
        "num_left": int(is_pending.sum()),
    }
    if ran.broke:
        run["broke"] = ran.broke
    job.directory.write_run(run, last=previous)
    clear_report(job.directory, run)
    unmark_begun(job.directory)
    if backlog.keep_days is not None:
        oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=backlog.keep_days)
        job.state.forget_commits(before=oldest, keep=_video_ids(manifest))
    if failure is not None:
        raise failure
    return Outcome(run=run, is_new=True, run_uri=job.directory.shown())


def _fill(work: Work, planned: Plan, *, after_call: int) -> RunError | None:
    """Work on what is planned; return why nothing could be begun, or what broke; None where it went well."""
    try:
        architecture = work.job.checkpoint.architecture
        if runs_here(work.job.config, len(planned.now), architecture):
            _run_here(work, planned, after_call=after_call)
        else:
            from pipeline.scoring.passes import run_passes  # noqa: PLC0415 - it needs Ray

            run_passes(work, planned, after_call=after_call)
    except OutputError:
        raise
    except RunError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a GPU that is full, say; the rows that are known are reported
        broke = RunError(f"scoring broke: {type(error).__name__}: {error}")
        broke.__cause__ = error
        return broke
    return None


def _run_here(work: Work, planned: Plan, *, after_call: int) -> None:
    """Score what is planned in this process; move the states of its rows."""
    job, ran, started = work.job, work.ran, time.time()
    ran.slots, ran.first_call = {"decode": 1.0, "model": 1.0}, job.state.number_call(after=after_call)
    rows = [row for part in work.manifest.taken(planned.now, MANIFEST.names, size=1) for row in rows_of(part)]
    say_no_gpu(job.config.gpus_per_actor, work.events, is_there=has_gpu())
    begun: list[str] = []
    scored = outcome_rows(
        rows,
        job.config,
        checkpoint=job.checkpoint,
        deadline=ran.deadline,
        begin=lambda row: begun.append(row[ROW_KEY]),
    )
    gauge = GaugeHere(total=len(rows))
    work.events.detail(f"scoring {counted(len(rows), 'video')} in this process, without Ray")
    names = names_in(work.manifest)
    with shown_progress(gauge, run_id=ran.run_id, total=len(rows), events=work.events, names=names):
        for row in scored:
            numbered = row | {CALL: ran.first_call}
            job.state.commit(
                finished_table(numbered, stage="score", schema=job.state.outcome), uuid.uuid4().hex
            )
            gauge.rows.append(row)
    is_done = np.zeros(len(work.index), np.bool_)
    is_done[work.index.places(begun)] = True
    planned.states.move("begin", is_done)
    planned.states.move("return", is_done)
    ran.seconds, ran.num_begun = time.time() - started, len(begun)


def _places(job: Job) -> list[RunDirectory]:
    """Return what has one writer at a time, the shared one first, in the same order for all."""
    return [job.directory] if job.state is job.directory else [job.state, job.directory]


def _video_ids(manifest: Spool) -> list[str]:
    return [one for piece in manifest.pieces(["video_id"]) for one in texts(piece, "video_id")]


def _shared(job: Job) -> Row:
    return {name: job.provenance[name] for name in SHARED}


def _require_apart(config: ScoreConfig) -> None:
    """Refuse a state that is an output too, and what a listing of the manifest would take for videos."""
    incremental = config.backlog.incremental
    if incremental is not None and _is_same(config.output, incremental):
        raise ConfigurationError(
            "incremental and output must be two folders, as an output keeps its own rows without it, "
            f"got {redact(incremental)!r} for both"
        )
    if incremental is not None and RunDirectory(incremental).read_run() is not None:
        raise ConfigurationError(
            "incremental must be a folder of its own that nights share, not the output of a run (--since-run "
            f"takes its rows), got {redact(incremental)!r}, which holds run.json"
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
    return scheme_of(one) == scheme_of(other) and RunDirectory(one).path() == RunDirectory(other).path()


def _prepare(config: ScoreConfig) -> Job:
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
    return Job(
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


def _copies(job: Job) -> contextlib.AbstractContextManager[NearCopies | None]:
    """Give what is known of near copies, nothing where no rows are shared."""
    if not job.config.backlog.looks_for_copies:
        return contextlib.nullcontext()
    return near_copies(job.state, checkpoint_id=job.provenance["checkpoint_id"])


def _timings(job: Job, ran: Ran) -> dict[str, dict[str, float]]:
    """Return the timings of the rows that this call brought back."""
    if ran.first_call is None or not ran.seconds:
        return {}
    names = list(STAGE_SECONDS.values())
    parts = job.state.committed_parts(names, where=pads.field(CALL) >= ran.first_call)
    back = pa.concat_tables([part.select(names) for part in parts])
    return stage_timings(back, ran.slots, wall_seconds=ran.seconds)


def _fingerprint(manifest: Spool, thresholds: Thresholds) -> str:
    """Digest everything the report depends on, columns that pass through included."""
    digest = hashlib.sha256(f"{thresholds} {manifest.schema}".encode())
    try:
        for piece in manifest.pieces():  # as Python objects all rows would be large
            for row in plain(piece).to_pylist():
                digest.update(repr(row).encode())
    except (OverflowError, ValueError, pa.ArrowException) as error:
        raise ManifestError(f"a column of the manifest holds a value out of range: {error}") from error
    return digest.hexdigest()[:32]
