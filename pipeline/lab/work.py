"""Owns where videos are attacked: one after the other in this process, or several at a time with Ray."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ray
import torch
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
from torch import Tensor

from operators.schema import Row
from pipeline.lab.config import AttackRunConfig
from pipeline.lab.video import KeptPictures, Lab
from pipeline.session import cluster_resources, ray_session
from securevqa_core.errors import RunError
from securevqa_core.types import require_range

__all__ = ["Runner", "Task", "lab_of", "run_here", "runner"]

MAX_RETRIES = 2  # of a video whose worker died
_AHEAD = 2  # tasks handed to Ray for every one that runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One video to score as it is, or to attack once that is known."""

    config: AttackRunConfig
    uri: str
    row: Row  # what is known of it: with a status, its clean scores
    goal: float | None = None  # the raw score that direction boundary wants
    tile: Tensor | None = None  # of the universal perturbation
    kept: KeptPictures = field(default_factory=KeptPictures)

    def run(self) -> Row:
        """Return the row with what was found; one that could not be read stays as it is."""
        lab, status = lab_of(self.config), self.row.get("status")
        if status is None:
            return self.row | lab.clean_row(self.uri)
        if status == "failed":
            return self.row
        return self.row | lab.attacked_row(self.uri, self.row, goal=self.goal, tile=self.tile, kept=self.kept)


Runner: TypeAlias = Callable[[Sequence[Task]], Iterator[tuple[int, Row]]]


@functools.lru_cache(maxsize=1)
def lab_of(config: AttackRunConfig) -> Lab:
    """Return the lab of a run, loaded once in a process."""
    torch.set_num_threads(1)  # more would make the last bits of a score depend on the machine
    surrogate = None if config.surrogate is None else config.surrogate.load()
    return Lab(config=config, target=config.target.load(), surrogate=surrogate)


def run_here(tasks: Sequence[Task]) -> Iterator[tuple[int, Row]]:
    """Yield the number and the row of each task, in order."""
    for number, task in enumerate(tasks):
        yield number, task.run()


@contextlib.contextmanager
def runner(workers: int | None, address: str | None) -> Iterator[Runner]:
    """Yield what runs tasks.

    Args:
        workers: videos at a time; 1: in this process, without Ray; None: as many as the cluster has CPUs.
        address: of a Ray cluster; None: RAY_ADDRESS, or this machine.

    Raises:
        ConfigurationError: `workers` is out of range.
        RunError: the cluster cannot be reached.
    """
    require_range("workers", 1 if workers is None else workers, low=1, high=100_000)
    if workers == 1:
        yield run_here
        return
    with ray_session(address):
        slots = workers or int(cluster_resources()["CPU"])
        yield functools.partial(_run_on_ray, num_waiting=slots if workers else _AHEAD * slots)


def _run_on_ray(tasks: Sequence[Task], *, num_waiting: int) -> Iterator[tuple[int, Row]]:
    """Yield the number and the row of each task as it ends."""
    remote = ray.remote(Task.run).options(num_cpus=1, max_retries=MAX_RETRIES)
    left = iter(enumerate(tasks))
    numbers: dict[Any, int] = {}
    while True:
        for number, task in itertools.islice(left, num_waiting - len(numbers)):
            numbers[remote.remote(task)] = number
        if not numbers:
            return
        (done,), _ = ray.wait(list(numbers))
        number = numbers.pop(done)
        try:
            yield number, ray.get(done)
        except RayTaskError as error:
            raise error.cause from None
        except (WorkerCrashedError, OutOfMemoryError, NodeDiedError) as error:
            video = tasks[number].row["video_id"]
            raise RunError(
                f"the worker died {MAX_RETRIES + 1} times over video {video!r}: {error}"
            ) from error
