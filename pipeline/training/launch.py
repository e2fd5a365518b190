"""Owns running Ray Train: how many workers on what, failures as ours, and what a person sees meanwhile."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from pipeline.events import Events
from pipeline.machine import available_cores
from pipeline.session import cluster_resources
from pipeline.training.config import TrainRun
from pipeline.training.worker import RAY_FOLDER, RESULT_FILE, STAGE_FILE, Job, Plan, work
from securevqa_core import weights
from securevqa_core.errors import RunError, SecureVqaError
from securevqa_core.training.state import METRICS_FILE

__all__ = ["Placement", "launch", "our_error", "placement"]

MAX_FAILURES = 3  # of workers, after which the training ends; the same command goes on
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the workers of a training run."""

    num_workers: int
    use_gpu: bool  # one GPU a worker
    threads: int  # of a worker on the CPU


def placement(run: TrainRun, resources: Mapping[str, float], *, cores: int) -> Placement:
    """Return how many workers run on what.

    Args:
        run: the settings.
        resources: of the cluster, by Ray's names.
        cores: of this machine.

    Raises:
        RunError: the cluster is too small, where Ray would wait for ever.
    """
    num_gpus, num_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    use_gpu = run.use_gpu == "yes" or (run.use_gpu == "auto" and num_gpus > 0)
    num_workers = run.workers or (max(num_gpus, 1) if use_gpu else 1)
    for name, num_available, is_needed in (("GPUs", num_gpus, use_gpu), ("CPUs", num_cpus, True)):
        if is_needed and num_workers > num_available:
            raise RunError(f"workers must be <= {num_available}, the {name} that Ray has, got {num_workers}")
    return Placement(
        num_workers=num_workers, use_gpu=use_gpu, threads=run.threads or max(1, cores // num_workers)
    )


def launch(
    run: TrainRun, init: weights.Checkpoint, jobs: Sequence[Job], *, output: Path, events: Events
) -> None:
    """Train what is left of `jobs`, inside a Ray session; after the death of a worker, from the last state.

    Raises:
        RunError: the cluster is too small, or workers died too often; or the error of this project that a
            worker raised.
    """
    if all((job.output / RESULT_FILE).exists() for job in jobs):
        return
    place = placement(run, cluster_resources(), cores=available_cores())
    plan = Plan(init=ray.put(init), config=run.train, output=output, jobs=tuple(jobs), threads=place.threads)
    with _told(output, [job.output for job in jobs], events):
        for failure in range(MAX_FAILURES + 1):
            try:
                _fit(plan, place)
            except TrainingFailedError as error:
                # What we raise ourselves would be raised again; a lost worker is worth another try.
                if (ours := our_error(error)) is not None:
                    raise ours from error
                if failure == MAX_FAILURES:
                    raise RunError(f"training failed {failure + 1} times: {error}") from error
            else:
                return


class _Trainer(TorchTrainer):
    """Trains, and leaves Ctrl-C to us: Ray's own handler ends the command with exit code 1 and no word."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Register none; an interruption ends the session, and with it the controller and its workers."""


def _fit(plan: Plan, place: Placement) -> None:
    storage = plan.output / RAY_FOLDER
    # What a killed driver left there Ray would take up; the place in training is kept by us.
    shutil.rmtree(storage, ignore_errors=True)
    trainer = _Trainer(
        work,
        train_loop_config={"plan": plan},
        # One logical CPU a worker, whatever its threads: Ray counts tasks, and caching is over.
        scaling_config=ScalingConfig(
            num_workers=place.num_workers,
            use_gpu=place.use_gpu,
            resources_per_worker={"CPU": 1, "GPU": 1} if place.use_gpu else {"CPU": 1},
        ),
        torch_config=TorchConfig(backend="nccl" if place.use_gpu else "gloo"),
        run_config=RunConfig(name="train", storage_path=str(storage)),
    )
    try:
        trainer.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def our_error(error: TrainingFailedError) -> SecureVqaError | None:
    """Return the error of this project that a worker raised, None where there is none.

    Ray wraps what workers raise, so the causes are searched too.
    """
    open_ends: list[object] = list(getattr(error, "worker_failures", {}).values())
    while open_ends:
        one = open_ends.pop(0)
        if isinstance(one, SecureVqaError):
            return one
        wrapped = (getattr(one, name, None) for name in ("_base_exc", "cause", "__cause__"))
        open_ends += [inner for inner in wrapped if inner is not None]
    return None


@contextlib.contextmanager
def _told(output: Path, folders: Sequence[Path], events: Events) -> Iterator[None]:
    """Say what worker 0 does, and the metrics of every epoch, as they are written."""
    is_over = threading.Event()
    teller = threading.Thread(target=_tell, args=(output, folders, events, is_over), daemon=True)
    with events.doing("starting the workers"):
        teller.start()
        try:
            yield
        finally:
            is_over.set()
            teller.join()


def _tell(output: Path, folders: Sequence[Path], events: Events, is_over: threading.Event) -> None:
    told = {folder: len(_lines(folder)) for folder in folders}
    last_stage: list[str] = []
    while True:
        is_last = is_over.wait(POLL_SECONDS)
        stage = _lines_of(output / RAY_FOLDER / STAGE_FILE)
        if stage and stage != last_stage:
            events.turn_to(stage[0].strip())
            last_stage = stage
        for folder in folders:
            for line in _lines(folder)[told[folder] :]:
                events.note(f"{folder.name} {_shown(json.loads(line))}")
                told[folder] += 1
        if is_last:
            return


def _lines(folder: Path) -> list[str]:
    return _lines_of(folder / METRICS_FILE)


def _lines_of(path: Path) -> list[str]:
    """Return the lines that are written to their end, none of a file that is not there."""
    with contextlib.suppress(FileNotFoundError):
        return [line for line in path.read_text().splitlines(keepends=True) if line[-1:] == "\n"]
    return []


def _shown(metrics: dict[str, Any]) -> str:
    srcc = metrics["validation_srcc"]
    agreement = "undefined" if srcc is None else f"{srcc:.3f}"
    seconds = metrics["train_seconds"] + metrics["validation_seconds"]
    return (
        f"epoch {metrics['epoch']}: loss {metrics['loss']:.4f}, validation SRCC {agreement}, {seconds:.0f} s"
    )
