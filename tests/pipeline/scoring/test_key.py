"""The key decides every score, and shows nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli import finish, read_report, securevqa, start, wait_until
from memory import holds
from processes import descendants, title
from ray.cluster_utils import Cluster

from securevqa_core.randomness import Key

pytestmark = pytest.mark.ray

CANARY = "canary-3f9a1c5e7b2d-never-to-be-seen"
NAMES = ("bikes_h264.mp4", "carphone_vp9.webm", "two_by_two.mp4", "text.mp4")
STORE_BYTES = 80 << 20  # the least that Ray takes; what a row of pixels does not leave room for is spilled
NUM_CPUS = 8  # two actors in each stage where a machine of two cores has one

# Forks, as every start of a process does, and starts what leaks as `cat`; all end with their standard input.
LEAKY = """
import os, subprocess, sys
if os.fork():
    {leak}
sys.stdin.read()
"""


# Takes what room there is in the object store, so that what is in it is spilled.
FILLER = """
import sys, numpy, ray
ray.init(sys.argv[1], log_to_driver=False)
kept = [ray.put(numpy.zeros(8 << 20, numpy.uint8)) for _ in range(16)]
print(len(kept), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run whose key came from the environment, and what other processes showed of it."""

    done: subprocess.CompletedProcess[str]
    traces: set[str]  # PID/cmdline or PID/environ
    ray_folder: Path
    output: Path


@pytest.fixture(scope="module")
def backlog(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("keyed")
    return [Path(shutil.copy(videos[name], folder / name)) for name in NAMES]


@pytest.fixture(scope="module")
def watched(backlog: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    ray_folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the names of Ray's sockets may not be long
    arguments = ("score", manifest(folder, backlog), "--output", str(folder / "run"))
    try:
        driver = start(*arguments, env={"SECUREVQA_KEY": CANARY, "RAY_TMPDIR": str(ray_folder)})
        with watching(driver.pid) as traces:
            done = finish(driver)
        assert done.returncode == 0, done.stderr
        yield Watched(done=done, traces=traces, ray_folder=ray_folder, output=folder / "run")
    finally:
        shutil.rmtree(ray_folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": NUM_CPUS, "include_dashboard": False})
    yield started.address
    started.shutdown()


@pytest.fixture
def spilling(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A cluster whose object store is too small, its address and where it spills."""
    spilled = tmp_path / "spilled"
    spilled.mkdir()
    settings = {
        "object_spilling_config": json.dumps(
            {"type": "filesystem", "params": {"directory_path": str(spilled)}}
        ),
        "min_spilling_size": 1,
        "local_fs_capacity_threshold": 1,  # a disk that others have nearly filled takes it too
    }
    head = {"num_cpus": 3, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head | {"_system_config": settings})
    yield started.address, spilled
    started.shutdown()


@contextlib.contextmanager
def full_store(address: str) -> Iterator[None]:
    command = [sys.executable, "-c", FILLER, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as filler:
        try:
            assert filler.stdout is not None
            assert filler.stdout.readline() == b"16\n"
            yield
        finally:
            filler.communicate(timeout=60)


def manifest(folder: Path, paths: list[Path]) -> str:
    file = folder / "manifest.csv"
    file.write_text("\n".join(["uri", *map(str, paths)]) + "\n")
    return str(file)


def raw_scores(output: Path) -> dict[str, float | None]:
    return {row["uri"]: row["raw_score"] for row in read_report(str(output)).to_pylist()}


@contextlib.contextmanager
def watching(driver: int) -> Iterator[set[str]]:
    """Collect the traces of the canary in all processes but the driver, five times a second."""
    stop, seen = threading.Event(), set[str]()

    def watch() -> None:
        while not stop.wait(0.2):
            seen.update(traces(driver))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()


def traces(driver: int) -> set[str]:
    """Return what shows the canary now: command lines, and environments that a process was given.

    Between fork and exec a child shows the command line and the environment that the driver was started with.
    That gives nothing away which the driver does not; what it is given at its exec shows from then on. So the
    command line is read first: once it is no longer the driver's, the environment is the child's own.
    """
    found = set()
    copied = read_process(driver, "cmdline")
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        command = read_process(pid, "cmdline")
        if pid == driver or command == copied:
            continue
        for name, content in (("cmdline", command), ("environ", read_process(pid, "environ"))):
            if CANARY.encode() in content:
                found.add(f"{pid}/{name}")
    return found


def read_process(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended
        return b""


def files_with_canary(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


@contextlib.contextmanager
def leaky_driver(leak: str) -> Iterator[int]:
    environment = dict(os.environ) | {"SECUREVQA_KEY": CANARY}
    command = [sys.executable, "-c", LEAKY.format(leak=leak)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        try:
            yield driver.pid
        finally:
            driver.communicate(timeout=30)


def test_the_watcher_takes_no_fork_of_the_driver_for_a_leak() -> None:
    with leaky_driver("pass") as driver:
        wait_until(lambda: bool(descendants(driver)), seconds=30)
        (fork,) = descendants(driver)
        assert CANARY.encode() in read_process(fork, "environ")
        assert holds(fork, CANARY.encode())  # as in every process that has it
        assert not holds(fork, CANARY[::-1].encode())
        assert not traces(driver)


@pytest.mark.parametrize(
    ("leak", "shown"),
    [
        ("subprocess.Popen(['cat'])", "environ"),
        ("subprocess.Popen(['cat', '-', os.environ['SECUREVQA_KEY']], env={})", "cmdline"),
    ],
    ids=["environment", "command line"],
)
def test_the_watcher_sees_what_a_process_is_given(leak: str, shown: str) -> None:
    with leaky_driver(leak) as driver, watching(driver) as seen:
        wait_until(lambda: bool(seen), seconds=30)
        (child,) = [pid for pid in descendants(driver) if read_process(pid, "cmdline").startswith(b"cat\0")]
        assert seen == {f"{child}/{shown}"}


def test_no_process_log_or_report_shows_the_key(watched: Watched) -> None:
    assert CANARY not in watched.done.stdout + watched.done.stderr
    assert not watched.traces
    assert list(watched.ray_folder.rglob("*.log")), "Ray wrote no logs where this test looks"
    assert not files_with_canary(watched.ray_folder)
    assert not files_with_canary(watched.output)


def test_no_worker_and_no_object_holds_the_key_in_memory_or_spilled(
    backlog: list[Path], spilling: tuple[str, Path], tmp_path: Path
) -> None:
    address, spilled = spilling
    output = str(tmp_path / "run")
    arguments = ("score", manifest(tmp_path, backlog), "--output", output, "--address", address)
    driver = start(*arguments, env={"SECUREVQA_KEY": CANARY})
    seen = set()

    def look_at_workers() -> bool:
        working = {pid for pid in descendants(os.getpid()) if pid != driver.pid}
        found = {title(pid).split(" ")[0] for pid in working if holds(pid, CANARY.encode())}
        assert not found
        seen.update(title(pid) for pid in working)
        return any("Decode" in one for one in seen) and any("ModelStages" in one for one in seen)

    def has_ended() -> bool:
        return driver.poll() is not None

    wait_until(lambda: has_ended() or any("SeedDesk" in title(pid) for pid in descendants(os.getpid())))
    assert not has_ended(), finish(driver).stderr
    assert CANARY.encode() not in read_process(driver.pid, "environ")
    wait_until(lambda: has_ended() or look_at_workers())
    with full_store(address):
        look_at_workers()
        done = finish(driver)
        assert any(path.is_file() for path in spilled.rglob("*"))
        assert not files_with_canary(spilled)
    assert done.returncode == 0, done.stderr


def test_same_key_same_scores_on_other_workers(
    backlog: list[Path], watched: Watched, cluster: str, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(CANARY + "\n")
    output = tmp_path / "many"
    file = manifest(tmp_path, backlog[::-1])
    securevqa("score", file, "--output", str(output), "--key-file", str(key_file), "--address", cluster)
    assert raw_scores(output) == raw_scores(watched.output)


def test_public_randomness_is_marked_and_differs(
    backlog: list[Path], watched: Watched, cluster: str, tmp_path: Path
) -> None:
    file, output = manifest(tmp_path, backlog), tmp_path / "public"
    securevqa("score", file, "--output", str(output), "--seed", "7", "--address", cluster)
    public, keyed = raw_scores(output), raw_scores(watched.output)
    assert public.keys() == keyed.keys()
    assert all(score is None or score != keyed[uri] for uri, score in public.items())
    report = read_report(str(output))
    assert set(report["randomness"].to_pylist()) == {"public"}
    assert set(report["key_id"].to_pylist()) == {Key.public(7).key_id}
