"""A Ray that is started here has the processes that a run needs, and leaves Ray as it was."""

from __future__ import annotations

import os

import pytest
import ray
from processes import descendants, title
from ray._private.node import Node

from pipeline.session import UNHEARD, ray_session

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:::ray.data.context"),  # of settings that are Ray's own
]


def test_no_process_is_started_that_nobody_hears_of() -> None:
    methods = {name: getattr(Node, name) for name in UNHEARD}  # those of the Ray that is installed
    with ray_session(None):
        started = [title(pid) for pid in descendants(os.getpid())]
        for needed in ("gcs_server", "raylet"):
            assert any(needed in one for one in started), started
        for unheard in ("dashboard.py", "log_monitor.py", "monitor.py"):
            assert not any(unheard in one for one in started), started
    assert {name: getattr(Node, name) for name in UNHEARD} == methods


def test_workers_are_as_nice_as_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def niceness() -> int:
        return os.nice(0)

    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    with ray_session(None):
        of_worker = ray.get(ray.remote(num_cpus=0.1)(niceness).remote(), timeout=200)
    assert of_worker == niceness()
