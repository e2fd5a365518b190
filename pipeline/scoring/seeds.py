"""Owns the giving of seeds: the key stays in this process, workers are answered what they ask."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from operators.seeds import AskedSeeds, SeedDesk
from pipeline.environment import undumpable
from securevqa_core.randomness import Key

__all__ = ["answered_seeds"]

MAX_WAITING = 100_000  # workers that wait for an answer at once
PAUSE_SECONDS = 1.0  # while the desk is started again
JOIN_SECONDS = 10.0


@contextlib.contextmanager
def answered_seeds(key: Key) -> Iterator[AskedSeeds]:
    """Answer workers for as long as the block runs; what is yielded holds no key and may be sent to them."""
    here = ray.get_runtime_context().get_node_id()
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "max_concurrency": MAX_WAITING,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    desk: Any = ray.remote(**options)(SeedDesk).remote()
    stop = threading.Event()
    thread = threading.Thread(target=_answer, args=(desk, key, stop), daemon=True)
    with undumpable():
        thread.start()
        try:
            yield AskedSeeds(desk)
        finally:
            stop.set()
            desk.close.remote()  # it ends with the last who knows of it
            thread.join(timeout=JOIN_SECONDS)


def _answer(desk: Any, key: Key, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            asked = ray.get(desk.questions.remote())
            if asked and not stop.is_set():
                ray.get(desk.answer.remote({question: key.draws(*question) for question in asked}))
        except ray.exceptions.RayError:  # the desk is started again, and asked again
            stop.wait(PAUSE_SECONDS)
