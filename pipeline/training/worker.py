"""Owns what a Ray Train worker does: train on every split in turn, and write what came of it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
import torch.distributed as dist
from ray.train import get_context
from ray.train.torch import get_device
from torch import Tensor

from pipeline.files import write_json
from pipeline.training.config import CHECKPOINT_FILE
from securevqa_core import metrics, weights, zoo
from securevqa_core.calibration import Calibration, fit_calibration
from securevqa_core.errors import OutputError, UndefinedError
from securevqa_core.training.baseline import Regression, fit_baseline
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.loop import Fitted, TrainingData, fit
from securevqa_core.training.steps import Workers
from securevqa_core.training.validation import Scorer
from securevqa_core.verification import FINGERPRINT, fingerprint

__all__ = ["RESULT_FILE", "Job", "Plan", "work"]

RESULT_FILE = "result.json"  # written last: a job with one is done
RAY_FOLDER = ".ray"  # what Ray itself keeps of a training while it lasts, and we beside it
STAGE_FILE = "stage"  # in that folder: what is being done, for the driver to tell
LOCK_FILE = ".lock"
LOCK_SECONDS = 60.0  # that a killed training's workers may take to end
_MEASURES = {
    "srcc": metrics.srcc,
    "krcc": metrics.krcc,
    "plcc": metrics.plcc,
    "plcc_fitted": metrics.plcc_fitted,
    "rmse_fitted": metrics.rmse_fitted,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training."""

    output: Path
    train: Sequence[CachedVideo]
    validation: Sequence[CachedVideo]
    test: Sequence[CachedVideo]  # scored once, after training
    card: dict[str, Any]  # what the checkpoint says of its making


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the workers are sent."""

    init: ray.ObjectRef[weights.Checkpoint]
    config: TrainConfig
    output: Path  # of the whole training
    jobs: Sequence[Job]
    threads: int  # of a worker on the CPU


class _Group:
    """The workers of this training, joined by torch.distributed."""

    rank: int
    size: int

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def average(self, tensors: list[Tensor]) -> None:
        """Average in one message for each type of number."""
        for dtype in {tensor.dtype for tensor in tensors}:
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in alike])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, part in zip(
                alike, torch.split(flat, [tensor.numel() for tensor in alike]), strict=True
            ):
                tensor.copy_(part.view_as(tensor))

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def work(settings: dict[str, Any]) -> None:
    """Run as one worker of Ray Train; `settings` holds a `Plan` under "plan"."""
    plan: Plan = settings["plan"]
    context = get_context()
    group = _Group(context.get_world_rank(), context.get_world_size())
    device = get_device()
    torch.set_num_threads(plan.threads)  # Ray chooses 1, and the last bits depend on it
    init: weights.Checkpoint = ray.get(plan.init)
    with _only_writer(plan.output) if group.rank == 0 else contextlib.nullcontext():
        for job in plan.jobs:
            if any(group.gather((job.output / RESULT_FILE).exists())):
                continue
            model = weights.build(init)
            told = functools.partial(_tell_stage, plan.output, job) if group.rank == 0 else _tell_nobody
            _train(job, model, init.architecture, plan.config, device=device, group=group, on_stage=told)


def _tell_stage(output: Path, job: Job, stage: str) -> None:
    path = output / RAY_FOLDER / STAGE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{job.output.name}: {stage}\n")


def _tell_nobody(_stage: str) -> None:
    pass


@contextlib.contextmanager
def _only_writer(output: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the output's lock, which ends with its process: a killed driver's workers may still be writing.

    Raises:
        OutputError: another training holds it for longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    with (output / LOCK_FILE).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"output {str(output)!r} is being written by another training for {seconds:g} s"
                    raise OutputError(message) from None
                time.sleep(0.1)
        yield


def _train(
    job: Job,
    model: Any,
    architecture: str,
    config: TrainConfig,
    *,
    device: torch.device,
    group: Workers,
    on_stage: Callable[[str], None],
) -> None:
    data = TrainingData(train=job.train, validation=job.validation)
    if isinstance(model, Regression):
        on_stage("fitting the regression")
        fitted = fit_baseline(model, data)  # seconds: every worker does the same
        model.to(device)
    else:
        fitted = fit(model, data, config, output=job.output, device=device, workers=group, on_stage=on_stage)
    scorer = Scorer(job.test, device=device, precision=config.precision, frozen_inter=True)
    tested = agreement(scorer.scores(model, group).tolist(), [video.label for video in job.test])
    if group.rank == 0:
        result = {
            "best_epoch": fitted.best_epoch,
            "num_videos": {"train": len(job.train), "validation": len(job.validation), "test": len(job.test)},
            "validation": agreement(fitted.validation_scores, [video.label for video in job.validation]),
            "test": tested if job.test else None,
            "data_digest": data.digest,
        }
        checkpoint_id = _save(job, model.cpu(), architecture, fitted, result)
        write_json(job.output / RESULT_FILE, result | {"checkpoint_id": checkpoint_id})
    group.gather(None)  # nobody starts the next one before this one is written


def agreement(scores: Sequence[float], labels: Sequence[float]) -> dict[str, float | None]:
    """Return every measure of agreement, None where one is not defined."""
    measured: dict[str, float | None] = {}
    for name, measure in _MEASURES.items():
        try:
            measured[name] = measure(scores, labels)
        except UndefinedError:
            measured[name] = None
    return measured


def _save(job: Job, model: Any, architecture: str, fitted: Fitted, result: dict[str, Any]) -> str:
    labels = [video.label for video in job.validation]
    calibration, note = calibrate(fitted.validation_scores, labels)
    card = job.card | {
        "result": result,
        "calibration": note,
        FINGERPRINT: list(fingerprint(model, zoo.spec(architecture).sampling)),
    }
    return weights.save(
        job.output / CHECKPOINT_FILE,
        model,
        architecture=architecture,
        calibration=calibration,
        status="trained",
        card=card,
    )


def calibrate(scores: Sequence[float], labels: Sequence[float]) -> tuple[Calibration, str]:
    """Return the calibration from raw validation scores to labels, and how it came about.

    Where the labels fix none, raw scores are spread over the range by their mean and standard deviation: the
    weights of hours are not lost, and the card says so.
    """
    try:
        return fit_calibration(scores, labels), "fitted on the validation split"
    except UndefinedError as error:
        spread = float(np.std(scores)) or 1.0
        return Calibration(midpoint=float(np.mean(scores)), scale=spread), f"not fitted: {error}"
