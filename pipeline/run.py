"""Owns the wiring: a configuration becomes a Ray Data pipeline, and the pipeline is run to its end."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import CheckpointManager
from ray.util.annotations import RayDeprecationWarning

from operators.decode import Decode
from operators.fragment import Fragment
from operators.model import FusedScore, InterFeature, ModelSetup
from operators.read import ReadManifest
from operators.schema import ROW_KEY, Row
from pipeline.config import ScoreConfig
from pipeline.rundir import RunDirectory
from securevqa_core.types import SamplingConfig
from securevqa_core.weights import Checkpoint

__all__ = ["build_pipeline", "execute"]

MAX_RETRIES = 3  # of a task or actor whose worker died; then the row is `worker_lost`
CPUS_PER_ACTOR = 0.25  # a whole CPU each would leave none for decoding on two cores
MAX_THREADS = 8  # of one actor
MAX_TASKS = 20_000  # read tasks of a run; beyond it several videos share one
COMMITS = 200  # how often a long run commits rows
MAX_ROWS_PER_COMMIT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the model stages run on."""

    num_gpus: float  # of one actor
    max_actors: int  # of one stage
    num_threads: int  # of one actor


class _CommittedElsewhere(CheckpointManager):
    """Cleans up after interrupted commits, but filters nothing: the driver reads only what is left to do.

    Ray's own filter is an actor pool that takes a CPU and a gigabyte, and would find nothing.
    """

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: Any = None
    ) -> tuple[None, int]:
        self._clean_pending_checkpoints(data_file_dir, data_file_filesystem)
        return None, 0


def build_pipeline(
    rows: pa.Table,
    config: ScoreConfig,
    *,
    checkpoint: Checkpoint,
    sampling: SamplingConfig,
    provenance: Row,
    tally: Any,
) -> Dataset:
    """Wire the stages: decode -> fragment -> inter features -> fused score.

    Args:
        rows: row_key, video_id, uri of the videos to score.
        config: the run's settings.
        checkpoint: weights of both backbones and the head.
        sampling: what the model looks at.
        provenance: columns that every row is given.
        tally: actor that counts finished videos.

    Returns:
        A lazy dataset of `operators.schema.OUTCOME` rows.
    """
    resources = _resources(config)
    setup = ModelSetup(
        checkpoint=ray.put(checkpoint),
        sampling=sampling,
        precision=config.precision,
        device="cuda" if resources.num_gpus else "cpu",
        num_threads=resources.num_threads,
    )
    decode = Decode(
        sampling=sampling,
        key=config.key,
        num_draws=config.num_draws,
        scratch_dir=config.scratch_dir,
        decode_limits=config.decode_limits,
        fetch_limits=config.fetch_limits,
    )
    source = ReadManifest(rows, rows_per_task=math.ceil(rows.num_rows / MAX_TASKS))
    task = {"num_cpus": 1, "max_retries": MAX_RETRIES}
    arrow = {"batch_format": "pyarrow", "batch_size": None}
    actor = {
        "compute": ActorPoolStrategy(min_size=1, max_size=resources.max_actors),
        "num_cpus": CPUS_PER_ACTOR,
        "num_gpus": resources.num_gpus,
        "max_restarts": MAX_RETRIES,
        "max_task_retries": MAX_RETRIES,
    }
    final = {"setup": setup, "provenance": provenance, "thresholds": config.thresholds, "tally": tally}
    with warnings.catch_warnings():  # Ray deprecates this way of setting retries and names no other
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return (
            ray.data.read_datasource(source, ray_remote_args=task)
            .map_batches(decode, **arrow, **task)
            .map_batches(Fragment(sampling=sampling), **arrow, **task)
            .map_batches(InterFeature, fn_constructor_kwargs={"setup": setup}, **arrow, **actor)
            .map_batches(FusedScore, fn_constructor_kwargs=final, **arrow, **actor)
        )


def _resources(config: ScoreConfig) -> Resources:
    cluster = ray.cluster_resources()
    gpus = cluster.get("GPU", 0)
    if not gpus or not config.gpus_per_actor:
        # Half the cores for each of the two model stages: threads that outnumber cores wait for each other, and
        # then cost ten times what they save.
        threads = min(max(1, (os.cpu_count() or 1) // 2), MAX_THREADS)
        return Resources(num_gpus=0, max_actors=max(1, int(cluster["CPU"]) // 16), num_threads=threads)
    per_stage = max(1, int(gpus / config.gpus_per_actor) // 2)
    return Resources(num_gpus=config.gpus_per_actor, max_actors=per_stage, num_threads=1)


def execute(pipeline: Dataset, directory: RunDirectory, *, num_rows: int) -> None:
    """Run the pipeline and commit its rows below `directory`; a row that is lost is left out, not fatal."""
    context = pipeline.context
    context.checkpoint_config = CheckpointConfig(
        ROW_KEY,
        directory.path("checkpoint", "ids"),
        delete_checkpoint_on_success=False,
        override_filesystem=directory.arrow_filesystem,
        checkpoint_manager_cls=_CommittedElsewhere,
    )
    context.max_errored_blocks = -1
    rows_per_commit = max(1, min(MAX_ROWS_PER_COMMIT, num_rows // COMMITS))
    pipeline.write_parquet(
        directory.path("checkpoint", "rows"),
        filesystem=directory.arrow_filesystem,
        min_rows_per_file=rows_per_commit,
        ray_remote_args={"num_cpus": 0.1, "max_retries": MAX_RETRIES},
    )
