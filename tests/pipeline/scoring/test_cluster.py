"""Many nodes: work spreads over them, and whatever is lost, the report has every video once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import finish, read_json, read_report, securevqa, start, wait_until
from media import make_copies
from processes import descendants, kill_tree, title
from ray.cluster_utils import Cluster
from s3server import S3Server

from operators.storage import open_filesystem

pytestmark = pytest.mark.ray

KEY = {"SECUREVQA_KEY": "a key that outlives every node"}
NUM_VIDEOS = 16
CPUS: dict[str, Any] = {"num_cpus": 2}
STORE_BYTES = 200 << 20  # of each node
# A GPU that only the scheduler believes in: actors are placed by it, and compute on the CPU.
FAKE_GPU = """
from operators.model import ModelSetup
from pipeline import cli
from pipeline.scoring import run
run.ModelSetup = lambda **given: ModelSetup(**given | {"device": "cpu"})
cli.main()
"""


@pytest.fixture
def backlog(videos: dict[str, Path], tmp_path: Path) -> Path:
    return make_copies(tmp_path / "backlog", videos, number=NUM_VIDEOS)


@contextlib.contextmanager
def cluster(*workers: dict[str, Any]) -> Iterator[tuple[Cluster, list[Any]]]:
    """Start a head that does no video, and nodes that do; all is gone afterwards."""
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    ours = set(descendants(os.getpid()))
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [kill_tree(pid) for pid in set(descendants(os.getpid())) - ours])
        made = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args=head)
        stack.callback(made.shutdown)  # which knows nothing of a node that did not come up
        yield made, [made.add_node(object_store_memory=STORE_BYTES, **worker) for worker in workers]


def kill(cluster: Cluster, node: Any) -> None:
    """Kill a node's processes at once, as a machine that is taken away."""
    cluster.remove_node(node, allow_graceful=False)


def decodes(node: Any) -> bool:
    """Tell whether a worker of this node is decoding now."""
    (raylet,) = node.all_processes["raylet"]
    return any("Decode" in title(pid) for pid in descendants(raylet.process.pid))


def committed(output: str) -> int:
    """Row files that Ray Data has committed so far."""
    fs, path = open_filesystem(f"{output}/checkpoint/ids")
    with contextlib.suppress(FileNotFoundError):
        return len([name for name in fs.find(path) if ".pending." not in name])
    return 0


def require_every_video_once(output: str) -> None:
    names = sorted(uri.rpartition("/")[2] for uri in read_report(output)["uri"].to_pylist())
    assert names == sorted(["text.mp4", *(f"{number}.mkv" for number in range(NUM_VIDEOS - 1))])
    assert read_json(f"{output}/run.json")["rows"] == NUM_VIDEOS


def require_complete(output: str) -> None:
    require_every_video_once(output)
    assert read_json(f"{output}/run.json")["counts"]["error_code"] == {"not_a_video": 1}


def until(driver: subprocess.Popen[str], output: str, num_commits: int) -> None:
    wait_until(lambda: committed(output) >= num_commits or driver.poll() is not None, seconds=240)


@pytest.mark.timeout(600)
def test_work_spreads_over_nodes_and_those_that_are_killed_or_replaced_cost_no_row(
    backlog: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "run")
    gpu = {"num_cpus": 1, "num_gpus": 1}
    with cluster(CPUS, CPUS, gpu) as (made, (*cpus, with_gpu)):
        command = [sys.executable, "-c", FAKE_GPU, "score", str(backlog), "--output", output]
        driver = subprocess.Popen(
            [*command, "--address", made.address],
            env=os.environ | KEY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        idle = list(cpus)

        def have_all_decoded() -> bool:
            idle[:] = [node for node in idle if not decodes(node)]
            return not idle or driver.poll() is not None

        wait_until(have_all_decoded)
        assert not idle
        until(driver, output, 2)
        kill(made, cpus[1])
        until(driver, output, 4)
        assert committed(output) < NUM_VIDEOS
        kill(made, with_gpu)
        made.add_node(object_store_memory=STORE_BYTES, **gpu)
        done = finish(driver)
    assert done.returncode == 0, done.stderr
    require_complete(output)


def test_a_head_that_is_lost_ends_the_run_and_another_cluster_goes_on(
    backlog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path / "run")
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "10")  # a minute by default
    call = ("score", str(backlog), "--output", output)
    with cluster(CPUS) as (made, _):
        driver = start(*call, "--address", made.address, env=KEY)
        until(driver, output, 2)
        kill(made, made.head_node)
        assert finish(driver).returncode != 0
    assert not (tmp_path / "run" / "run.json").exists()
    survived = committed(output)
    assert survived >= 2
    with cluster(CPUS) as (made, _):
        securevqa(*call, "--address", made.address, env=KEY)
    require_complete(output)
    assert read_json(f"{output}/run.json")["num_scored_now"] <= NUM_VIDEOS - survived


def test_a_store_that_is_gone_for_ten_seconds_costs_no_row(
    backlog: Path, s3: S3Server, tmp_path: Path
) -> None:
    folder = f"{s3.bucket_uri}/{tmp_path.name}"
    s3.fs.put(str(backlog), f"{s3.bucket}/{tmp_path.name}/backlog", recursive=True)
    output = f"{folder}/run"
    call = ("score", f"{folder}/backlog/", "--output", output)
    driver = start(*call, env=KEY)
    until(driver, output, 2)
    with s3.stopped():
        time.sleep(10)
    done = finish(driver)
    assert done.returncode == 0, done.stderr
    require_every_video_once(output)
    securevqa(*call, "--retry-failed", env=KEY)
    require_complete(output)
