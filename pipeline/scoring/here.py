"""Owns scoring in this process, without Ray: the rows that the pipeline would make, one after another.

The next video is brought and decoded while one is in the model. Few videos are done before Ray has started.
"""

from __future__ import annotations

import datetime
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass

import torch

from operators.decode import fetch_into, fingerprint_of, scratch_file
from operators.schema import ROW_KEY, Row
from operators.stage import FAILED, SCORED, failure_of
from pipeline.environment import undumpable
from pipeline.machine import available_cores
from pipeline.manifests.rows import Refusal
from pipeline.scoring.config import ScoreConfig
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import ERROR_CODES, VideoError
from securevqa_core.scorer import Sampled, Scorer
from securevqa_core.scoring import verdict
from securevqa_core.video_score import VideoScore
from securevqa_core.weights import Checkpoint

__all__ = [
    "MAX_VIDEOS_HERE",
    "MAX_VIDEOS_ON_TWO_CORES",
    "failed_row",
    "has_gpu",
    "outcome_rows",
    "runs_here",
]

# Up to so many, two cores are done with before Ray has started on them; see docs/operator/costs.md.
MAX_VIDEOS_HERE = 20
# Of models that take about as long as decoding does, one process fills two cores: 200 videos take 0.67 of the
# time that they do on Ray. Several threads with a model each were slower: they wait for the interpreter.
MAX_VIDEOS_ON_TWO_CORES = 1_000
_AS_LONG_AS_DECODING = frozenset({"secure-vqa-compact"})
_NUM_BEGUN = 1  # videos that are brought and decoded while another is in the model


def runs_here(config: ScoreConfig, num_videos: int, architecture: str) -> bool:
    """Tell whether a run needs no Ray: few videos for the cores, and no cluster that was asked for."""
    asked = config.address or os.environ.get("RAY_ADDRESS")
    is_even = architecture in _AS_LONG_AS_DECODING and available_cores() == 2
    most = MAX_VIDEOS_ON_TWO_CORES if is_even else MAX_VIDEOS_HERE
    return not asked and config.embeddings is None and num_videos <= most


def has_gpu() -> bool:
    """Tell whether this process can compute on a GPU."""
    return torch.cuda.is_available()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A video whose first half is done."""

    known: Row  # columns
    sampled: Sampled | None = None
    error: VideoError | None = None


def outcome_rows(
    rows: Iterable[Row],
    config: ScoreConfig,
    *,
    checkpoint: Checkpoint,
    sandbox: DecodeSandbox | None = None,
    deadline: float | None = None,
    begin: Callable[[Row], None] = lambda _: None,
    skip: Callable[[str], None] = lambda _: None,
) -> Iterator[Row]:
    """Score videos and yield the row of each as it is finished: what it has of `operators.schema.OUTCOME`.

    Args:
        rows: row_key, video_id, uri of the videos.
        config: the run's settings.
        checkpoint: to score with.
        sandbox: a decoding process that was started before; it is ended with the last row.
        deadline: seconds since the epoch after which no video is begun.
        begin: is told the row of each video that is begun.
        skip: is told the row key of each that is not, as the deadline has passed.
    """
    provenance = config.provenance(checkpoint)
    device = "cuda" if config.gpus_per_actor and has_gpu() else "cpu"
    scorer = Scorer(
        checkpoint,
        key=config.key,
        draws=config.num_draws,
        precision=config.precision,
        decoder=config.decoder,
        as_delivered=config.as_delivered,
        notice=config.notice,
        cap=config.cap,
        limits=config.decode_limits,
        device=device,
        sandbox=sandbox,
        takes_glances=config.backlog.looks_for_copies,
    )

    def finished(row: Row, begun: Future[_Begun]) -> Row:
        try:
            done = row | _finish(begun.result(), scorer)
        except Exception as error:  # noqa: BLE001 - becomes the row's failure, and costs no other
            done = row | failure_of(error, stage="score", video_id=row["video_id"])
        return _judged(done, config, provenance)

    waiting: deque[tuple[Row, Future[_Begun]]] = deque()
    with undumpable(), scorer:
        try:
            for row in rows:
                if deadline is not None and time.time() >= deadline:
                    skip(row[ROW_KEY])
                    continue
                begin(row)
                waiting.append((row, _in_thread(functools.partial(_begin, row["uri"], scorer, config))))
                if len(waiting) > _NUM_BEGUN:
                    yield finished(*waiting.popleft())
            while waiting:
                yield finished(*waiting.popleft())
        except BaseException:
            scorer.abandon()
            raise


def failed_row(row: Row, refusal: Refusal, provenance: Row) -> Row:
    """Return a row of a manifest that is refused, as a report has it."""
    failure = {
        "status": FAILED,
        "stage": ERROR_CODES[refusal.code].stage,
        "error_code": refusal.code,
        "error_message": refusal.message,
        "verdict": "review",
        "scored_at": datetime.datetime.now(datetime.UTC),
    }
    return row | failure | provenance


def _in_thread(work: Callable[[], _Begun]) -> Future[_Begun]:
    """Do some work in a thread that an interruption does not wait for."""
    future: Future[_Begun] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _begin(uri: str, scorer: Scorer, config: ScoreConfig) -> _Begun:
    known: Row = {}
    try:
        with scratch_file(config.scratch_dir) as target:
            known = fetch_into(uri, target, config.fetch_limits)
            sampled = scorer.take_open(target.fileno(), name=uri, content_sha256=known["content_sha256"])
    except VideoError as error:
        return _Begun(known=known, error=error)
    return _Begun(known=known, sampled=sampled)


def _finish(begun: _Begun, scorer: Scorer) -> Row:
    if begun.error is not None:
        attempts = getattr(begun.error, "attempts", None)
        begun.error.known = begun.known | ({} if attempts is None else {"attempts": attempts})
        raise begun.error
    assert begun.sampled is not None
    scored = scorer.finish(begun.sampled)
    row = begun.known | _columns(scored)
    if begun.sampled.sample is not None:
        row["picture_fingerprint"] = fingerprint_of(begun.sampled.sample)
    if scored.failure is not None:
        failure = VideoError(scored.failure.code, scored.failure.message)
        failure.known = row
        raise failure
    return row | {"status": SCORED}


def _columns(scored: VideoScore) -> Row:
    """Return what a report has of a score, and no column of what is not known."""
    row: Row = {"decode_seconds": scored.decode_seconds}
    if scored.video is not None:
        row |= asdict(scored.video) | {"decoder": scored.decoder, "decode_warnings": list(scored.warnings)}
    elif scored.warnings:
        row["decode_warnings"] = list(scored.warnings)
    if scored.suspicion_reasons is not None:
        row["suspicion_reasons"] = list(scored.suspicion_reasons)
    if scored.failure is None:
        row |= {
            "suspicion": scored.suspicion,
            "rendition_score": scored.rendition_score,
            "upload_score": scored.upload_score,
            "score": scored.score,
            "score_sd": scored.score_sd,
            "score_lower": scored.score_lower,
            "raw_score": scored.raw_score,
            "clip_scores": [clip.score for clip in scored.clips],
            "model_seconds": scored.model_seconds,
        }
    return row


def _judged(row: Row, config: ScoreConfig, provenance: Row) -> Row:
    """Add what every row has, scored or not."""
    judged = verdict(
        None if row["status"] == FAILED else row["score_lower"],
        checkpoint_status=provenance["checkpoint_status"],
        thresholds=config.thresholds,
        warnings=row.get("decode_warnings"),
    )
    now = datetime.datetime.now(datetime.UTC)
    return row | provenance | {"verdict": judged, "scored_at": now}
