"""How a cluster is given to the models: an actor must fit, or it waits for ever, and decoders need a CPU."""

from __future__ import annotations

import pytest

from pipeline.scoring.run import MAX_TASKS, model_resources, rows_per_task
from securevqa_core.errors import RunError

MANY = 10_000  # videos


@pytest.mark.parametrize(
    ("gpus", "gpus_per_actor", "num_actors"),
    [
        (1, 1, 1),
        (1, 0.5, 2),
        (1, 0.25, 4),
        (2, 1, 2),
        (8, 0.5, 16),
        (8, 1, 8),
        (3, 0.4, 6),
        (4, 2, 2),
        (2, 0.6, 2),
    ],
)
def test_as_many_actors_as_fit_on_the_gpus(gpus: int, gpus_per_actor: float, num_actors: int) -> None:
    cluster = {"CPU": 16, "GPU": gpus}
    resources = model_resources(cluster, gpus_per_actor=gpus_per_actor, num_videos=MANY)
    assert (resources.num_actors, resources.num_gpus) == (num_actors, gpus_per_actor)


@pytest.mark.parametrize(("gpus", "gpus_per_actor"), [(1, 2), (2, 4)])
def test_gpus_that_hold_no_actor_are_refused(gpus: int, gpus_per_actor: float) -> None:
    with pytest.raises(RunError, match=rf"{gpus_per_actor:g}$"):
        model_resources({"CPU": 16, "GPU": gpus}, gpus_per_actor=gpus_per_actor, num_videos=MANY)


@pytest.mark.parametrize(("cluster", "gpus_per_actor"), [({"CPU": 3.0}, 0.5), ({"CPU": 3.0, "GPU": 1.0}, 0)])
def test_without_gpus_or_when_told_so_the_cpus_are_used(
    cluster: dict[str, float], gpus_per_actor: float
) -> None:
    resources = model_resources(cluster, gpus_per_actor=gpus_per_actor, num_videos=MANY)
    assert (resources.num_gpus, resources.num_actors) == (0, 2)


@pytest.mark.parametrize(
    ("num_videos", "cpus", "num_actors"), [(1, 3, 1), (16, 64, 1), (17, 3, 2), (200, 64, 13), (MANY, 64, 32)]
)
def test_few_videos_have_few_actors_each_of_which_takes_long_to_start(
    num_videos: int, cpus: float, num_actors: int
) -> None:
    resources = model_resources({"CPU": cpus}, gpus_per_actor=0.5, num_videos=num_videos)
    assert resources.num_actors == num_actors


@pytest.mark.parametrize(
    ("num_rows", "num_slots", "size"),
    [(1, 2.5, 1), (79, 2.5, 1), (80, 2.5, 2), (200, 2.5, 4), (200, 64, 1), (10_000, 2.5, 4)],
)
def test_videos_share_tasks_where_that_leaves_every_decoder_many(
    num_rows: int, num_slots: float, size: int
) -> None:
    assert rows_per_task(num_rows, num_slots) == size


def test_a_million_videos_have_no_more_tasks_than_a_driver_can_hold() -> None:
    assert 1_000_000 / rows_per_task(1_000_000, 64) <= MAX_TASKS
