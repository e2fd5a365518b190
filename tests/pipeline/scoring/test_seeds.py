"""Workers get the seeds of what they ask for from the driver, whatever happens to the desk between them."""

from __future__ import annotations

import faulthandler
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle

from operators.decode import Decode
from operators.seeds import AskedSeeds
from pipeline.scoring.seeds import answered_seeds
from pipeline.session import ray_session
from securevqa_core.randomness import Key
from securevqa_core.types import SamplingConfig

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:::ray.data.context"),  # of settings that are Ray's own
]

SECRET = b"canary-71d0-of-the-seed-giver-never-sent"
KEY = Key(SECRET, randomness="keyed")
DIGESTS = [f"{number:064x}" for number in range(200)]


@pytest.fixture(scope="module")
def source() -> Iterator[AskedSeeds]:
    with ray_session(None), answered_seeds(KEY) as source:
        yield source


@ray.remote(num_cpus=0.1)
def asked(source: AskedSeeds, digests: list[str]) -> list[Any]:
    return [source.draws(one, 2) for one in digests]


def expected(digests: list[str]) -> list[Any]:
    return [KEY.draws(one, 2) for one in digests]


def test_many_workers_get_the_seeds_of_the_key(source: AskedSeeds) -> None:
    parts = [DIGESTS[place::4] for place in range(4)]
    found = ray.get([asked.remote(source, part) for part in parts], timeout=200)
    assert found == [expected(part) for part in parts]


def test_a_desk_that_dies_is_replaced_and_asked_again(source: AskedSeeds) -> None:
    slow = asked.remote(source, DIGESTS)
    ray.kill(source.desk, no_restart=False)
    assert ray.get(slow, timeout=200) == expected(DIGESTS)


def test_a_stage_that_is_sent_to_workers_holds_no_key(source: AskedSeeds) -> None:
    stage = Decode(sampling=SamplingConfig(), key=source, num_draws=1, scratch_dir=None)
    assert SECRET in cloudpickle.dumps(KEY)  # so this is what it would look like
    assert SECRET not in cloudpickle.dumps(stage)


def test_no_core_is_dumped_of_the_process_that_has_the_key(source: AskedSeeds, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:  # shares the driver's flag, and would leave a core if it could
        faulthandler.disable()
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.abort()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []
