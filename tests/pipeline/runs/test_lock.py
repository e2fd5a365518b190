"""One writer at a time, on a disk and in object storage; a crashed writer shuts no one out."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import is_alive
from s3server import S3Server

from operators.exclusive import ExclusiveFile, ExclusiveObject
from pipeline.runs import lock as locks
from pipeline.runs.lock import LOOK_SECONDS, Lease, Lock, clock_seconds, locked
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError

FAST = Lease(renew_seconds=0.1, expire_seconds=1.0, poll_seconds=0.05)
# One that takes the lock, finds it held, and stops (as with its machine) at a point on the way to run.json.
STALL = """
import os, signal, sys
from operators.exclusive import ExclusiveObject
from pipeline.runs.lock import Lease, locked
from pipeline.runs.rundir import RunDirectory
uri, name, point = sys.argv[1:]
def stall(*_):
    print("stalls", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
def stalling(method):
    def stalled(self, *arguments):
        if str(self._path).endswith("run.json"):
            stall()
        return method(self, *arguments)
    return stalled
lease = Lease(renew_seconds=0.2, expire_seconds=1.0, poll_seconds=0.05)
directory = RunDirectory(uri)
with locked(directory, lease=lease) as lock:
    last = directory.read_run()
    lock.require_held()
    if point == "before the last look":
        stall()
    elif point == "after the last look":
        ExclusiveObject.create = stalling(ExclusiveObject.create)
        ExclusiveObject.replace = stalling(ExclusiveObject.replace)
    elif point == "before a report file":
        stall()
        directory.write_file(name.encode(), "report", "part")
    directory.write_run({"generation": 2, "writer": name}, last=last)
    print("wrote", flush=True)
"""
CRASH = """
import os, sys
from pipeline.runs.lock import locked
from pipeline.runs.rundir import RunDirectory
with locked(RunDirectory(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), 9)
"""


def test_a_second_writer_is_refused_and_told_who_the_first_is(place: str) -> None:
    with locked(RunDirectory(place), lease=FAST) as lock:
        started = time.monotonic()
        with (
            pytest.raises(OutputError, match=rf"{place}.*process {os.getpid()} on "),
            locked(RunDirectory(place), lease=FAST),
        ):
            pytest.fail("two writers")
        assert time.monotonic() - started < FAST.expire_seconds
        lock.require_held()
    with locked(RunDirectory(place), lease=FAST):
        pass  # free again


def test_a_writer_that_fails_lets_go(place: str) -> None:
    with pytest.raises(ZeroDivisionError), locked(RunDirectory(place), lease=FAST):
        raise ZeroDivisionError
    with locked(RunDirectory(place), lease=FAST):
        pass


def test_a_crashed_writer_of_this_machine_shuts_no_one_out(place: str) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", CRASH, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "held\n"
    writer.communicate(timeout=30)
    assert not is_alive(writer.pid)
    started = time.monotonic()
    with locked(RunDirectory(place)):
        assert time.monotonic() - started < 5  # and not after `expire_seconds`


def test_a_lock_that_nobody_renews_is_taken_over_once_it_has_expired(s3: S3Server, tmp_path: Path) -> None:
    uri = f"{s3.bucket_uri}/{tmp_path.name}"
    foreign = {"token": "t", "host": "elsewhere", "pid": 1, "process": ["boot", "ns", "1"], "renewals": 3}
    s3.fs.pipe_file(f"{uri}/.lock", json.dumps(foreign).encode())
    started = time.monotonic()
    with locked(RunDirectory(uri), lease=FAST) as lock:
        assert time.monotonic() - started >= FAST.expire_seconds
        time.sleep(3 * FAST.renew_seconds)
        lock.require_held()
    assert not s3.fs.exists(f"{uri}/.lock")


def test_a_writer_whose_lock_was_taken_over_writes_nothing_more(s3: S3Server, tmp_path: Path) -> None:
    uri = f"{s3.bucket_uri}/{tmp_path.name}"
    with locked(RunDirectory(uri), lease=FAST) as lock:
        s3.fs.pipe_file(f"{uri}/.lock", b'{"token": "of another"}')
        time.sleep(5 * FAST.renew_seconds)
        with pytest.raises(OutputError, match=f"{uri}.*taken over"):
            lock.require_held()
    assert s3.fs.cat_file(f"{uri}/.lock") == b'{"token": "of another"}'  # which is not ours to remove


def test_of_many_that_find_an_expired_lock_one_takes_it(s3: S3Server, tmp_path: Path) -> None:
    uri = f"{s3.bucket_uri}/{tmp_path.name}"
    s3.fs.pipe_file(f"{uri}/.lock", b"not even JSON")
    holders, most, together = [0], [0], threading.Lock()

    def write(_: int) -> bool:
        try:
            with locked(RunDirectory(uri), lease=FAST):
                with together:
                    holders[0] += 1
                    most[0] = max(most[0], holders[0])
                time.sleep(0.5)
                with together:
                    holders[0] -= 1
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        took = list(pool.map(write, range(6)))
    assert (sum(took) >= 1, most[0]) == (True, 1)


def test_an_exclusive_object_changes_only_as_it_was_last_seen(s3: S3Server, tmp_path: Path) -> None:
    one = ExclusiveObject(f"{s3.bucket_uri}/{tmp_path.name}/object")
    assert one.read() is None
    first = one.create(b"1")
    assert first is not None
    assert one.create(b"2") is None
    second = one.replace(b"2", first)
    assert second is not None
    assert one.replace(b"3", first) is None
    one.remove(first)
    assert one.read() == second
    one.remove(second)
    assert one.read() is None
    assert one.replace(b"3", second) is None


def test_a_store_that_does_not_answer_gives_no_lock(silent_store: str) -> None:
    with pytest.raises(OutputError, match=silent_store), locked(RunDirectory(silent_store)):
        pytest.fail("no store")


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_place_that_holds_no_file_gives_no_lock(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=name), locked(RunDirectory(str(tmp_path / name / "run"))):
        pytest.fail("no folder")


def test_a_store_whose_locks_nobody_has_tried_is_refused() -> None:
    with pytest.raises(OutputError, match="memory://bucket/run"), locked(RunDirectory("memory://bucket/run")):
        pytest.fail("no lock")


def test_a_lock_is_held_until_it_is_lost() -> None:
    lock = Lock("/night")
    lock.require_held()
    lock.lose()
    with pytest.raises(OutputError, match="/night"):
        lock.require_held()


def writer(place: str, name: str, point: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STALL, place, name, point]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("point", ["before the last look", "after the last look", "before a report file"])
@pytest.mark.parametrize("earlier", [None, {"generation": 1, "writer": "yesterday's"}])
def test_a_writer_that_stalls_leaves_its_successor_s_report_alone(
    s3: S3Server, tmp_path: Path, earlier: dict[str, object] | None, point: str
) -> None:
    uri = f"{s3.bucket_uri}/{tmp_path.name}"
    if earlier:
        RunDirectory(uri).write_run(earlier, last=None)
    with writer(uri, "stalled", point) as stalled:
        try:
            assert stalled.stdout is not None
            assert stalled.stdout.readline() == "stalls\n"
            with writer(uri, "successor", "nowhere") as successor:
                said, complaints = successor.communicate(timeout=60)
            assert said == "wrote\n", complaints
            stalled.send_signal(signal.SIGCONT)
            said, complaints = stalled.communicate(timeout=60)
        finally:
            stalled.kill()
    assert (stalled.returncode, said) == (1, "")
    assert "is left as it is" in complaints or "nothing more is written" in complaints
    assert RunDirectory(uri).read_run() == {"generation": 2, "writer": "successor"}
    assert not s3.fs.exists(f"{uri}/report/part")


def test_a_local_writer_whose_lock_file_was_removed_leaves_its_successor_s_report_alone(
    tmp_path: Path,
) -> None:
    directory, successor = RunDirectory(str(tmp_path)), RunDirectory(str(tmp_path))
    with locked(directory) as lock:
        lock.require_held()
        (tmp_path / ".lock").unlink()
        time.sleep(2 * LOOK_SECONDS)
        with locked(successor):
            successor.write_run({"generation": 1}, last=None)
        with pytest.raises(OutputError, match=f"{tmp_path}.*taken over"):
            directory.write_file(b"", "report")
    with pytest.raises(OutputError, match=r"run\.json.* is another writer's by now"):
        directory.write_run({"generation": 2}, last=None)
    assert successor.read_run() == {"generation": 1}


def test_a_local_writer_on_a_machine_with_too_much_to_do_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel holds the lock, however long it lets the writer wait between two lines."""
    waited = itertools.count()
    monkeypatch.setattr(locks, "clock_seconds", lambda: clock_seconds() + next(waited))
    directory = RunDirectory(str(tmp_path))
    with locked(directory) as lock:
        for _ in range(3):
            lock.require_held()
        directory.write_run({"generation": 1}, last=None)
        (tmp_path / ".lock").unlink()
        with pytest.raises(OutputError, match="taken over"):
            lock.require_held()


def test_a_writer_goes_on_after_its_store_was_down_if_nobody_else_wrote(s3: S3Server, tmp_path: Path) -> None:
    directory = RunDirectory(f"{s3.bucket_uri}/{tmp_path.name}", patience_seconds=60)
    with locked(directory, lease=FAST) as lock:
        lock.require_held()
        with s3.stopped():
            time.sleep(FAST.expire_seconds)
            with pytest.raises(OutputError, match="not renewed in time"):
                lock.require_held()
        directory.write_run({"generation": 1}, last=None)
    assert directory.read_run() == {"generation": 1}


def test_a_lease_ends_by_its_holder_s_clock_before_another_takes_it() -> None:
    asked = list[float]()

    def renew(lock: Lock) -> None:
        asked.append(clock_seconds())
        if len(asked) == 1:
            lock.hold(until_seconds=asked[0] + 0.2)

    lock = Lock("/night", renew=renew)
    lock.require_held()
    lock.require_held()
    assert len(asked) == 1
    time.sleep(0.25)
    with pytest.raises(OutputError, match=r"/night.*may have taken over"):
        lock.require_held()
    assert len(asked) == 2
    assert 0 < Lease().hold_seconds < Lease().expire_seconds


def test_a_run_json_whose_acknowledgement_was_lost_is_written_once(place: str) -> None:
    directory = RunDirectory(place)
    for last in (None, None, {"generation": 1}):
        directory.write_run({"generation": 1}, last=last)
    directory.write_run({"generation": 2}, last={"generation": 1})
    with pytest.raises(OutputError, match="another writer's"):
        directory.write_run({"generation": 3}, last={"generation": 1})
    with pytest.raises(OutputError, match="another writer's"):
        directory.write_run({"generation": 3}, last=None)
    assert directory.read_run() == {"generation": 2}


def test_of_many_that_create_a_file_one_does(tmp_path: Path) -> None:
    one = ExclusiveFile(str(tmp_path / "run.json"))
    with ThreadPoolExecutor(6) as pool:
        made = [seen for seen in pool.map(one.create, [bytes([n]) for n in range(30)]) if seen]
    assert len(made) == 1
    assert one.read() == made[0]
    assert one.replace(b"new", made[0])
    assert one.replace(b"newer", made[0]) is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
