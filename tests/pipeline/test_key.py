"""The key decides every score, and shows nowhere."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import finish, read_report, securevqa, start
from ray.cluster_utils import Cluster

CANARY = "canary-3f9a1c5e7b2d-never-to-be-seen"
NAMES = ("bikes_h264.mp4", "carphone_vp9.webm", "two_by_two.mp4", "text.mp4")


@pytest.fixture(scope="module")
def backlog(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("keyed")
    return [Path(shutil.copy(videos[name], folder / name)) for name in NAMES]


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A short path for Ray's sessions: its sockets' names may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder)


def manifest(folder: Path, paths: list[Path]) -> str:
    file = folder / "manifest.csv"
    file.write_text("\n".join(["uri", *map(str, paths)]) + "\n")
    return str(file)


def raw_scores(output: Path) -> dict[str, float | None]:
    return {row["uri"]: row["raw_score"] for row in read_report(str(output)).to_pylist()}


def process_traces(driver: subprocess.Popen[str], stop: threading.Event, seen: set[str]) -> None:
    """Note every process but the driver's whose command line or environment shows the canary."""
    while not stop.wait(0.2):
        for entry in Path("/proc").iterdir():
            for name in ("cmdline", "environ"):
                if entry.name.isdigit() and int(entry.name) != driver.pid:
                    try:
                        content = (entry / name).read_bytes()
                    except OSError:
                        continue
                    if CANARY.encode() in content:
                        seen.add(f"{entry.name}/{name}")


def files_with_canary(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


def test_same_key_same_scores_on_other_workers_and_no_trace_of_it(
    backlog: list[Path], tmp_path: Path, ray_folder: Path
) -> None:
    driver = start(
        "score",
        manifest(tmp_path, backlog),
        "--output",
        str(tmp_path / "run"),
        env={"SECUREVQA_KEY": CANARY, "RAY_TMPDIR": str(ray_folder)},
    )
    stop, seen = threading.Event(), set[str]()
    watch = threading.Thread(target=process_traces, args=(driver, stop, seen))
    watch.start()
    done = finish(driver)
    stop.set()
    watch.join()
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert not seen
    assert list(ray_folder.rglob("*.log")), "Ray wrote no logs where this test looks"
    assert not files_with_canary(ray_folder)
    assert not files_with_canary(tmp_path / "run")

    key_file = tmp_path / "key"
    key_file.write_text(CANARY + "\n")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 40, "include_dashboard": False})
    try:
        securevqa(
            "score",
            manifest(tmp_path, backlog[::-1]),
            "--output",
            str(tmp_path / "many"),
            "--key-file",
            str(key_file),
            "--address",
            cluster.address,
        )
    finally:
        cluster.shutdown()
    assert raw_scores(tmp_path / "many") == raw_scores(tmp_path / "run")


def test_public_randomness_is_marked_and_differs(backlog: list[Path], tmp_path: Path) -> None:
    file = manifest(tmp_path, backlog)
    securevqa("score", file, "--output", str(tmp_path / "one"), "--seed", "1")
    securevqa("score", file, "--output", str(tmp_path / "two"), "--seed", "2")
    one, two = raw_scores(tmp_path / "one"), raw_scores(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(score is None or score != two[uri] for uri, score in one.items())
    assert set(read_report(str(tmp_path / "one"))["randomness"].to_pylist()) == {"public"}
