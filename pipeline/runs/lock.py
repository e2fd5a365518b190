"""Owns the lock on an output: one writer at a time, and none shut out by a writer that has crashed.

On a local disk the kernel holds the lock and lets go of it with the process. On S3 it is a small object that
its writer renews; another one watches, by its own clock, whether it is still renewed, so that no two clocks
need to agree. Other stores are refused: nothing here has shown that two writers cannot both succeed there.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.exclusive import ExclusiveObject, Seen
from operators.storage import StorageError, join, scheme_of
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError

__all__ = ["Lease", "Lock", "locked"]

LOCK_NAME = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a lock on S3 outlives its writer."""

    renew_seconds: float = 10.0
    expire_seconds: float = 45.0  # without a renewal, as another writer sees it
    poll_seconds: float = 1.0


class Lock:
    """The right to write an output, for as long as it is held."""

    def __init__(self, output_name: str) -> None:
        self.shown = output_name  # the output, for people
        self._is_lost = threading.Event()

    def lose(self) -> None:
        """Record that another writer has taken over."""
        self._is_lost.set()

    def require_held(self) -> None:
        """Refuse to go on once the lock is lost.

        Raises:
            OutputError: another writer has taken over, as this one did not renew its lock in time.
        """
        if self._is_lost.is_set():
            raise OutputError(
                f"output {self.shown!r} was taken over by another writer; nothing more is written"
            )


@contextlib.contextmanager
def locked(directory: RunDirectory, *, lease: Lease | None = None) -> Iterator[Lock]:
    """Hold the lock of a run directory for as long as the block runs.

    Raises:
        OutputError: another writer holds it, the store failed, or it is neither a disk nor S3.
    """
    lock = Lock(directory.shown())
    scheme = scheme_of(directory.uri)
    if scheme not in {"file", "s3"}:
        raise OutputError(f"output must be a local path or s3://, where it can be locked, got {lock.shown!r}")
    with (
        _held_by_kernel(directory) if scheme == "file" else _held_by_lease(directory, lock, lease or Lease())
    ):
        yield lock


@contextlib.contextmanager
def _held_by_kernel(directory: RunDirectory) -> Iterator[None]:
    path = Path(directory.path(LOCK_NAME))
    try:
        file = path.open("a+b")  # not inherited by the processes this one starts
    except OSError as error:
        raise OutputError(f"output {directory.shown()!r} cannot be locked: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(directory, path.read_bytes()) from error
        except OSError as error:
            raise OutputError(f"output {directory.shown()!r} cannot be locked: {error.strerror}") from error
        file.truncate(0)
        file.write(_holder())
        file.flush()
        yield
        file.truncate(0)  # the file stays: who removed it could remove another writer's


@contextlib.contextmanager
def _held_by_lease(directory: RunDirectory, lock: Lock, lease: Lease) -> Iterator[None]:
    try:
        place = ExclusiveObject(join(directory.uri, LOCK_NAME))
        held = _take(place, directory, lease)
    except StorageError as error:
        raise OutputError(f"output {directory.shown()!r} cannot be locked: {error}") from error
    stop = threading.Event()
    renewal = _Renewal(place, held, lock, lease)
    thread = threading.Thread(target=renewal.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(StorageError):  # else it expires
            place.remove(renewal.last)


def _take(place: ExclusiveObject, directory: RunDirectory, lease: Lease) -> Seen:
    """Create the lock, or replace one that is not renewed any more.

    Raises:
        OutputError: it is renewed, or another writer was quicker.
    """
    if held := place.create(_holder()):
        return held
    seen = place.read()
    deadline = time.monotonic() + lease.expire_seconds
    while seen and not _is_dead(seen.content) and time.monotonic() < deadline:
        time.sleep(lease.poll_seconds)
        if (now := place.read()) is None:
            break
        if now != seen:
            raise _busy(directory, now.content)
    held = (place.replace(_holder(), seen) if seen else None) or place.create(_holder())
    if held is None:
        raise _busy(directory, (place.read() or seen or Seen(b"", "")).content)
    return held


class _Renewal:
    """Rewrites the lock again and again, so that others see that its writer lives."""

    def __init__(self, place: ExclusiveObject, held: Seen, lock: Lock, lease: Lease) -> None:
        self.last = held
        self._place = place
        self._lock = lock
        self._lease = lease

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self._lease.renew_seconds):
            with contextlib.suppress(StorageError):  # a store that is down for a moment takes no lock away
                renewed = self._place.replace(_renewed(self.last.content), self.last)
                if renewed is None and not self._was_written():
                    self._lock.lose()
                    return
                self.last = renewed or self.last

    def _was_written(self) -> bool:
        """Tell whether an earlier renewal succeeded whose answer was lost."""
        seen = self._place.read()
        if seen is None or _facts(seen.content).get("token") != _facts(self.last.content).get("token"):
            return False
        self.last = seen
        return True


def _holder() -> bytes:
    return _encoded(
        {
            "token": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _process(os.getpid()),
            "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "renewals": 0,
        }
    )


def _renewed(content: bytes) -> bytes:
    facts = _facts(content)
    return _encoded(facts | {"renewals": facts["renewals"] + 1})


def _encoded(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _facts(content: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_dead(content: bytes) -> bool:
    """Tell whether the writer was a process of this machine that has ended: then nobody needs to wait."""
    facts = _facts(content)
    was, pid = facts.get("process"), facts.get("pid")
    ours = _process(os.getpid())
    if not isinstance(pid, int) or not isinstance(was, list) or not ours or was[:2] != ours[:2]:
        return False
    return _process(pid) != was


def _process(pid: int) -> list[str]:
    """Return what tells a process from all others: boot of its machine, pid namespace, start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [boot, namespace, started[19]] if started[0] != "Z" else []


def _busy(directory: RunDirectory, content: bytes) -> OutputError:
    facts = _facts(content)
    who = (
        f"process {facts.get('pid')} on {facts.get('host')}, since {facts.get('since')}"
        if facts
        else "another"
    )
    return OutputError(f"output {directory.shown()!r} is being written by {who}; one writer at a time")
