"""Owns the lock on an output: one writer at a time, and none shut out by a writer that has crashed.

On a local disk the kernel holds the lock and lets go of it with the process. On S3 it is a small object that
its writer renews; another one watches, by its own clock, whether it is still renewed, so that no two clocks
need to agree. Other stores are refused: nothing here has shown that two writers cannot both succeed there.

    renewed at 0 s                 gives up    may be taken over
       |------- it may write --------|------------|------>        by the holder's clock, by the other's
       0                            35           45 s

A holder that stalls, and wakes up to find its time over, renews first, which fails where another has taken
over. What it still writes between that look and the write is refused where it counts: run.json is replaced
only as it was last seen.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operators.exclusive import ExclusiveObject, Seen
from operators.storage import StorageError, join, scheme_of
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError

__all__ = ["Lease", "Lock", "alone", "locked"]

_LOCKABLE = ("file", "s3")

LOCK_NAME = ".lock"
LOOK_SECONDS = 0.1  # between two looks whether a local lock is still the file that others would lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a lock on S3 outlives its writer."""

    renew_seconds: float = 10.0
    expire_seconds: float = 45.0  # without a renewal, as another writer sees it
    poll_seconds: float = 1.0

    @property
    def hold_seconds(self) -> float:
        """For how long after it asked for a renewal its writer may write: shorter than others wait."""
        return self.expire_seconds - self.renew_seconds


class Lock:
    """The right to write an output, for as long as it is held.

    Args:
        output_name: the output, for people.
        renew: makes sure again that the lock is held: calls `hold` or `lose`, or neither where the store
            does not answer.
    """

    def __init__(self, output_name: str, *, renew: Callable[[Lock], None] | None = None) -> None:
        self.shown = output_name
        self._renew = renew
        self._is_lost = threading.Event()
        self._until_seconds = self._renew_at_seconds = math.inf if renew is None else -math.inf

    def hold(self, *, until_seconds: float = math.inf, renew_at_seconds: float | None = None) -> None:
        """Record until when, by `clock_seconds`, no other writer can have taken over.

        Args:
            until_seconds: as long as nobody looks again, for ever by default.
            renew_at_seconds: when to make sure again; default: at the end of that.
        """
        self._until_seconds = until_seconds
        self._renew_at_seconds = until_seconds if renew_at_seconds is None else renew_at_seconds

    def lose(self) -> None:
        """Record that another writer has taken over."""
        self._is_lost.set()

    def require_held(self) -> None:
        """Refuse to go on once the lock is lost, or may be.

        Raises:
            OutputError: another writer has taken over, as this one did not renew its lock in time; or it may
                have, and the store does not tell.
        """
        if self._renew and not self._is_lost.is_set() and clock_seconds() >= self._renew_at_seconds:
            self._renew(self)
        if self._is_lost.is_set():
            raise OutputError(
                f"output {self.shown!r} was taken over by another writer; nothing more is written"
            )
        if clock_seconds() >= self._until_seconds:
            raise OutputError(
                f"output {self.shown!r}: the lock was not renewed in time, and another writer may have taken "
                "over; nothing more is written"
            )


def clock_seconds() -> float:
    """Return seconds by a clock that is never set, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def locked(directory: RunDirectory, *, lease: Lease | None = None) -> Iterator[Lock]:
    """Hold the lock of a run directory for as long as the block runs; it looks at it before every write.

    Raises:
        OutputError: another writer holds it, the store failed, or it is neither a disk nor S3.
    """
    scheme = scheme_of(directory.uri)
    if scheme not in _LOCKABLE:
        shown = directory.shown()
        raise OutputError(f"output must be a local path or s3://, where it can be locked, got {shown!r}")
    held = _held_by_kernel(directory) if scheme == "file" else _held_by_lease(directory, lease or Lease())
    with held as lock, directory.fenced(lock.require_held):
        yield lock


def alone(directory: RunDirectory) -> contextlib.AbstractContextManager[object]:
    """Keep another writer from among the files of a folder that is no run's, where it can be locked."""
    return locked(directory) if scheme_of(directory.uri) in _LOCKABLE else contextlib.nullcontext()


@contextlib.contextmanager
def _held_by_kernel(directory: RunDirectory) -> Iterator[Lock]:
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

        def look(lock: Lock) -> None:  # the kernel keeps the lock of a file that somebody has removed
            if _is_at(path, file.fileno()):
                lock.hold(renew_at_seconds=clock_seconds() + LOOK_SECONDS)
            else:
                lock.lose()

        yield Lock(directory.shown(), renew=look)
        file.truncate(0)  # the file stays: who removed it could remove another writer's


def _is_at(path: Path, descriptor: int) -> bool:
    """Tell whether an open file is the one at a path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


@contextlib.contextmanager
def _held_by_lease(directory: RunDirectory, lease: Lease) -> Iterator[Lock]:
    try:
        place = ExclusiveObject(join(directory.uri, LOCK_NAME))
        renewal = _Renewal(place, _take(place, directory, lease), lease)
    except StorageError as error:
        raise OutputError(f"output {directory.shown()!r} cannot be locked: {error}") from error
    lock, stop = Lock(directory.shown(), renew=renewal.renew), threading.Event()
    thread = threading.Thread(target=renewal.run, args=(lock, stop), daemon=True)
    thread.start()
    try:
        yield lock
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

    def __init__(self, place: ExclusiveObject, held: Seen, lease: Lease) -> None:
        self.last = held
        self._place = place
        self._lease = lease
        self._one_at_a_time = threading.Lock()

    def run(self, lock: Lock, stop: threading.Event) -> None:
        while not stop.wait(self._lease.renew_seconds):
            self.renew(lock)

    def renew(self, lock: Lock) -> None:
        """Rewrite the lock, and say until when it is held from now; a store that is down takes none away."""
        with self._one_at_a_time, contextlib.suppress(StorageError):
            asked_seconds = clock_seconds()
            renewed = self._place.replace(_renewed(self.last.content), self.last)
            if renewed:
                self.last = renewed
                lock.hold(until_seconds=asked_seconds + self._lease.hold_seconds)
            elif not self._was_written():
                lock.lose()

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
