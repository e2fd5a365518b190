"""How a cluster is divided between the two model stages: both must fit, or one waits for ever."""

from __future__ import annotations

import pytest

from pipeline.scoring.run import model_resources
from securevqa_core.errors import RunError


@pytest.mark.parametrize(
    ("gpus", "gpus_per_actor", "num_actors"),
    [(1, 0.5, 1), (1, 0.25, 2), (2, 1, 1), (8, 0.5, 8), (8, 1, 4), (3, 0.4, 3), (4, 2, 1), (2, 0.6, 1)],
)
def test_both_stages_fit_on_the_gpus(gpus: int, gpus_per_actor: float, num_actors: int) -> None:
    resources = model_resources({"CPU": 16, "GPU": gpus}, gpus_per_actor=gpus_per_actor)
    assert (resources.num_actors, resources.num_gpus) == (num_actors, gpus_per_actor)


@pytest.mark.parametrize(("gpus", "gpus_per_actor"), [(1, 1), (1, 0.75), (2, 4)])
def test_gpus_that_hold_one_stage_only_are_refused(gpus: int, gpus_per_actor: float) -> None:
    with pytest.raises(RunError, match=rf"{gpus_per_actor:g}$"):
        model_resources({"CPU": 16, "GPU": gpus}, gpus_per_actor=gpus_per_actor)


@pytest.mark.parametrize(("cluster", "gpus_per_actor"), [({"CPU": 3.0}, 0.5), ({"CPU": 3.0, "GPU": 1.0}, 0)])
def test_without_gpus_or_when_told_so_the_cpus_are_used(
    cluster: dict[str, float], gpus_per_actor: float
) -> None:
    resources = model_resources(cluster, gpus_per_actor=gpus_per_actor)
    assert (resources.num_gpus, resources.num_actors) == (0, 1)
