"""Owns what a command costs: processor seconds of all it starts, and the peak memory of each process."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securevqa_core.errors import RunError

__all__ = ["Cost", "measured", "securevqa_command"]

_INTERVAL_SECONDS = 0.02  # between two looks at the processes; a peak is the kernel's, whenever it is read
_PACKAGE_FOLDER = str(Path(__file__).parents[2])
_SHOWN_CHARACTERS = 500  # of what a command says that fails
_OF_RAY = ("raylet", "gcs_server")  # its programs, by their names
_DECODING = "securevqa_core.decoding.child"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command took."""

    processor_seconds: float  # of it and of all that it started and waited for
    wall_seconds: float
    peak_bytes: dict[str, int] = field(default_factory=dict)  # kind of process -> most memory that one held

    @property
    def largest_bytes(self) -> int:
        """Most memory that one process held."""
        return max(self.peak_bytes.values(), default=0)


def securevqa_command(*arguments: str) -> list[str]:
    """Return the command that runs this very code."""
    return [sys.executable, "-m", "securevqa", *arguments]


def measured(
    command: Sequence[str], *, timeout_seconds: float, environment: dict[str, str] | None = None
) -> Cost:
    """Run a command to its end, with one thread for tensors, and return what it took.

    Memory is what the kernel counts as resident at most, shared libraries and what a process shares with the
    one it was forked from included. A process that ends between two looks, 20 ms, counts as it was before.

    Args:
        command: a program and its arguments.
        timeout_seconds: on the clock; then it is ended, and all that it started.
        environment: variables besides those of this process.

    Raises:
        RunError: it fails or takes longer.
    """
    modules = os.pathsep.join(filter(None, [_PACKAGE_FOLDER, os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": modules, "OMP_NUM_THREADS": "1", **(environment or {})}
    started, peaks = time.monotonic(), dict[int, tuple[str, int]]()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 - the command is the caller's
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=os.environ | own
        )
        try:
            usage = _watch(child, started + timeout_seconds, peaks)
        except BaseException:
            _end(child)
            raise
        if usage is None:
            raise RunError(f"{' '.join(command)} took more than {timeout_seconds:g} s")
        if child.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
            raise RunError(f"{' '.join(command)} ended with {child.returncode}: {words}")
    largest: dict[str, int] = {}
    for kind, peak in peaks.values():
        largest[kind] = max(largest.get(kind, 0), peak)
    return Cost(
        processor_seconds=usage.ru_utime + usage.ru_stime,
        wall_seconds=time.monotonic() - started,
        peak_bytes=largest,
    )


def _watch(
    child: subprocess.Popen[bytes], deadline: float, peaks: dict[int, tuple[str, int]]
) -> resource.struct_rusage | None:
    """Look at a process and all below it until it ends; return what it used, None past the deadline."""
    while time.monotonic() < deadline:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            child.returncode = os.waitstatus_to_exitcode(status)  # as `child` has not waited for it itself
            return usage
        for pid in _family(child.pid):
            _look(pid, peaks)
        time.sleep(_INTERVAL_SECONDS)
    _end(child)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    for pid in list(_family(child.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait()


def _family(root: int) -> Iterator[int]:
    """Yield a process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):  # ended meanwhile
                after_name = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(after_name[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += parents.get(pid, [])


def _look(pid: int, peaks: dict[int, tuple[str, int]]) -> None:
    with contextlib.suppress(OSError, StopIteration, ValueError):  # ended meanwhile
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
        peaks[pid] = (_kind(pid), peak)


def _kind(pid: int) -> str:
    """Return what a process is, in the words of the table."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
    program, rest = Path(words[0]).name, words[1:]
    if words[0].startswith("ray::"):
        return words[0].partition("(")[0]
    if _DECODING in rest:
        return "decoding"
    if program in _OF_RAY:
        return program
    if "securevqa" in rest:
        return "securevqa"
    modules = [Path(word).name for word in rest if "ray" in word and word.endswith(".py")]
    return f"ray {modules[0]}" if modules else program
