"""Owns the wiring: a configuration becomes a Ray Data pipeline, and the pipeline is run to its end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset
from ray.data.checkpoint import CheckpointConfig
from ray.util.annotations import RayDeprecationWarning

from operators.commit import CommittedElsewhere
from operators.decode import Decode
from operators.embed import ScoreAndEmbed
from operators.fragment import Fragment
from operators.model import FusedScore, ModelSetup, ModelStages
from operators.read import ReadManifest
from operators.schema import ROW_KEY, Row
from operators.telemetry import TelemetrySetup
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from securevqa_core.errors import RunError
from securevqa_core.randomness import DrawSource
from securevqa_core.types import SamplingConfig
from securevqa_core.weights import Checkpoint

__all__ = ["Resources", "build_pipeline", "execute", "model_resources", "rows_per_task"]

MAX_RETRIES = 3  # of a task or actor whose worker died; then the row is `worker_lost`
CPUS_PER_ACTOR = 0.25  # a whole CPU each would leave none for decoding on two cores
CPUS_PER_WRITE = 0.25
ROWS_PER_GPU_BATCH = 8  # videos that a GPU sees at once; a row is below 100 MiB
CPUS_PER_MODEL = 2  # there is one actor for every so many
LEAST_ACTORS = 2  # of a long run, so that two cores are full where models take longer than decoding
VIDEOS_PER_ACTOR = 16  # an actor starts in the time that it takes over so many, in seconds
# Read tasks of a run; beyond it several videos share one. A task, with what it leads to, costs the driver
# 60 ms of its one thread and 5 to 10 kB: tasks of one video each would hold a large cluster back.
MAX_TASKS = 5_000
# A worker waits for its next task, too: 160 videos on two cores took 0.76 of the time with four a task. Few
# videos have a task each, so that one which kills its worker, and is begun once more, costs no other.
ROWS_PER_TASK = 4
TASKS_PER_SLOT = 16
COMMITS = 200  # how often a long run commits rows
MAX_ROWS_PER_COMMIT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the model stages run on."""

    num_gpus: float  # of one actor
    num_actors: int

    def slots(self, num_cpus: float) -> dict[str, float]:
        """Return how many videos a cluster of `num_cpus` works on at once: decoding them, and in a model."""
        decoding = max(1.0, num_cpus - self.num_actors * CPUS_PER_ACTOR)
        return {"decode": decoding, "model": float(self.num_actors)}


def build_pipeline(
    parts: Iterable[pa.Table],
    config: ScoreConfig,
    *,
    resources: Resources,
    seeds: DrawSource,
    checkpoint: Checkpoint,
    sampling: SamplingConfig,
    provenance: Row,
    telemetry: TelemetrySetup,
    deadline: float | None = None,
    more_columns: Sequence[pa.Field[Any]] = (),
) -> Dataset:
    """Wire the stages: decode -> fragment -> inter features and fused score.

    Args:
        parts: row_key, video_id, uri of the videos to score, those of one read task each.
        config: the run's settings; its key goes nowhere.
        resources: of the model stages.
        seeds: where workers come by the seeds of videos.
        checkpoint: weights of both backbones and the head.
        sampling: what the model looks at.
        provenance: columns that every row is given.
        telemetry: who is told of finished videos, and of those not begun.
        deadline: seconds since the epoch after which no video is begun.
        more_columns: of the embeddings, where the configuration asks for them.

    Returns:
        A lazy dataset of `operators.schema.OUTCOME` rows, with `more_columns`.
    """
    assert config.num_draws is not None, "the model's own number of draws is filled in before"
    weights = ray.put(checkpoint)
    setup = ModelSetup(
        checkpoint=weights,
        sampling=sampling,
        precision=config.precision,
        device="cuda" if resources.num_gpus else "cpu",
    )
    decode = Decode(
        sampling=sampling,
        key=seeds,
        num_draws=config.num_draws,
        scratch_dir=config.scratch_dir,
        decode_limits=config.decode_limits,
        fetch_limits=config.fetch_limits,
        decoder=config.decoder,
        checkpoint=weights if sampling.picture_rate else None,
        precision=config.precision,
        takes_fingerprints=config.backlog.looks_for_copies,
        rendition=config.rendition,
        compared=config.compared,
        needs_compared=config.cap is not None,
        deadline=deadline,
        tally=telemetry.tally,
    )
    source = ReadManifest(parts)
    task = {"num_cpus": 1, "max_retries": MAX_RETRIES}
    arrow = {"batch_format": "pyarrow", "batch_size": None}  # a block at a time, however many rows it has
    actor = arrow | {
        "batch_size": ROWS_PER_GPU_BATCH if resources.num_gpus else None,  # Ray wants a number for GPUs
        "compute": ActorPoolStrategy(size=resources.num_actors),
        "num_cpus": CPUS_PER_ACTOR,
        "num_gpus": resources.num_gpus,
        "max_restarts": MAX_RETRIES,
        "max_task_retries": MAX_RETRIES,
    }
    stages = {
        "setup": setup,
        "last": FusedScore,
        "provenance": provenance,
        "thresholds": config.thresholds,
        "telemetry": telemetry,
    }
    if config.compared is not None:
        stages |= {"clean": config.clean(checkpoint), "caps": config.cap is not None}
    if config.embeddings is not None:
        stages |= {"last": ScoreAndEmbed, "embeddings": config.embeddings, "fields": list(more_columns)}
    with warnings.catch_warnings():  # Ray deprecates this way of setting retries and names no other
        warnings.simplefilter("ignore", RayDeprecationWarning)
        pipeline: Dataset = (
            ray.data.read_datasource(source, ray_remote_args=task)
            .map_batches(decode, **arrow, **task)
            .map_batches(Fragment(sampling=sampling), **arrow, **task)
            .map_batches(ModelStages, fn_constructor_kwargs=stages, **actor)
        )
    return pipeline


def rows_per_task(num_rows: int, num_slots: float) -> int:
    """Return how many videos share a read task, of so many, where so many are decoded at once."""
    few = min(ROWS_PER_TASK, int(num_rows / (TASKS_PER_SLOT * num_slots)))
    return max(1, few, math.ceil(num_rows / MAX_TASKS))


def model_resources(cluster: Mapping[str, float], *, gpus_per_actor: float, num_videos: int) -> Resources:
    """Give the model stages their part of a cluster: its GPUs, or a share of its cores where it has none.

    An actor on a CPU has one thread: with more, the order of additions, and so the last bits of a score,
    would depend on the machine. Few videos have few actors.

    Raises:
        RunError: the GPUs do not suffice for one actor, which would wait for ever.
    """
    gpus, cpus = cluster.get("GPU", 0.0), cluster["CPU"]
    most = min(int((cpus - 1) / CPUS_PER_ACTOR), math.ceil(num_videos / VIDEOS_PER_ACTOR))
    most = max(1, most)  # and one CPU must be left to decode
    if not gpus or not gpus_per_actor:
        return Resources(num_gpus=0, num_actors=min(most, max(LEAST_ACTORS, int(cpus) // CPUS_PER_MODEL)))
    per_gpu = int(1 / gpus_per_actor) if gpus_per_actor < 1 else 1 / gpus_per_actor
    num_actors = int(gpus * per_gpu)
    if not num_actors:
        most_gpus = f"at most {gpus:g}, the cluster's GPUs"
        raise RunError(f"--gpus-per-actor must be {most_gpus}, got {gpus_per_actor:g}")
    return Resources(num_gpus=gpus_per_actor, num_actors=min(most, num_actors))


def execute(pipeline: Dataset, directory: RunDirectory, *, num_rows: int) -> None:
    """Run the pipeline and commit its rows below `directory`; a row that is lost is left out, not fatal."""
    context = pipeline.context
    context.checkpoint_config = CheckpointConfig(
        ROW_KEY,
        directory.path("checkpoint", "ids"),
        delete_checkpoint_on_success=False,
        override_filesystem=directory.arrow_filesystem,
        checkpoint_manager_cls=CommittedElsewhere,
    )
    context.max_errored_blocks = -1
    rows_per_commit = max(1, min(MAX_ROWS_PER_COMMIT, num_rows // COMMITS))
    try:
        pipeline.write_parquet(
            directory.path("checkpoint", "rows"),
            filesystem=directory.arrow_filesystem,
            min_rows_per_file=rows_per_commit,
            ray_remote_args={"num_cpus": CPUS_PER_WRITE, "max_retries": MAX_RETRIES},
        )
    except Exception as error:  # Ray's, Arrow's or the store's, as they come
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise RunError(f"the pipeline broke; run the same command again to go on: {reason[0]}") from error
