"""Owns running Ray Train: how many workers on what, failures as ours, and what a person sees meanwhile."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from rich.console import Console

from pipeline.session import available_cores, cluster_resources
from pipeline.show import literal
from pipeline.train_config import TrainRun
from pipeline.train_worker import RESULT_FILE, Job, Plan, work
from securevqa_core import weights
from securevqa_core.errors import RunError, SecureVqaError
from securevqa_core.training_state import METRICS_FILE

__all__ = ["launch"]

MAX_FAILURES = 3  # of workers, after which the training ends; the same command goes on
POLL_SECONDS = 1.0


def launch(
    run: TrainRun, init: weights.Checkpoint, jobs: Sequence[Job], *, output: Path, console: Console
) -> None:
    """Train what is left of `jobs`, inside a Ray session.

    Raises:
        RunError: the training failed; or the error of this project that a worker raised.
    """
    if all((job.output / RESULT_FILE).exists() for job in jobs):
        return
    num_gpus = int(cluster_resources().get("GPU", 0))
    use_gpu = run.use_gpu == "yes" or (run.use_gpu == "auto" and num_gpus > 0)
    num_workers = run.workers or (max(num_gpus, 1) if use_gpu else 1)
    threads = run.threads or max(1, available_cores() // num_workers)
    storage = output / f".ray-{uuid.uuid4().hex[:8]}"
    trainer = TorchTrainer(
        work,
        train_loop_config={
            "plan": Plan(
                init=ray.put(init), config=run.train, output=output, jobs=tuple(jobs), threads=threads
            )
        },
        # One logical CPU a worker, whatever its threads: Ray counts tasks, and caching is over.
        scaling_config=ScalingConfig(
            num_workers=num_workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": 1} | ({"GPU": 1} if use_gpu else {}),
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            name="train", storage_path=str(storage), failure_config=FailureConfig(max_failures=MAX_FAILURES)
        ),
    )
    try:
        with _told([job.output for job in jobs], console):
            trainer.fit()
    except Exception as error:
        raise _reason(error) from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _reason(error: BaseException) -> Exception:
    """Return this project's own error where a worker raised one, else a RunError."""
    for one in getattr(error, "worker_failures", {}).values():
        if isinstance(one, SecureVqaError):
            return one
    return RunError(f"training failed: {error}")


@contextlib.contextmanager
def _told(folders: Sequence[Path], console: Console) -> Iterator[None]:
    """Print the metrics of every epoch as they are written."""
    is_over = threading.Event()
    teller = threading.Thread(target=_tell, args=(folders, console, is_over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_over.set()
        teller.join()


def _tell(folders: Sequence[Path], console: Console, is_over: threading.Event) -> None:
    told = {folder: len(_lines(folder)) for folder in folders}
    while True:
        is_last = is_over.wait(POLL_SECONDS)
        for folder in folders:
            for line in _lines(folder)[told[folder] :]:
                text = f"{folder.name} {_shown(json.loads(line))}"
                console.print(literal(text, console), soft_wrap=True)
                told[folder] += 1
        if is_last:
            return


def _lines(folder: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [
            line
            for line in (folder / METRICS_FILE).read_text().splitlines(keepends=True)
            if line[-1:] == "\n"
        ]
    return []


def _shown(metrics: dict[str, Any]) -> str:
    srcc = metrics["validation_srcc"]
    agreement = "undefined" if srcc is None else f"{srcc:.3f}"
    seconds = metrics["train_seconds"] + metrics["validation_seconds"]
    return (
        f"epoch {metrics['epoch']}: loss {metrics['loss']:.4f}, validation SRCC {agreement}, {seconds:.0f} s"
    )
