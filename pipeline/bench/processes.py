"""Owns what a command costs: processor seconds of all it starts, and what each process took and held."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securevqa_core.errors import RunError

__all__ = ["HERE", "Cost", "Process", "environment_of", "machine", "measured", "securevqa_command"]

HERE = Path(__file__).parents[2]  # the checkout, or the folder, that this very code is in

_INTERVAL_SECONDS = 0.02  # between two looks at the processes; a peak is the kernel's, whenever it is read
_SHOWN_CHARACTERS = 500  # of what a command says that fails
_OF_RAY = ("raylet", "gcs_server")  # its programs, by their names
_DECODING = "securevqa_core.decoding.child"
_EARLIER = "from pipeline.cli import main; main()"  # the command, before there was a package of its name
_IDLE = "ray::IDLE"  # a worker between two tasks
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of a command, as it was when it was last looked at."""

    kind: str  # in the words of a table
    start_seconds: float  # after the command
    processor_seconds: float  # its own
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command took."""

    processor_seconds: float  # of it and of all that it started and waited for
    wall_seconds: float
    peak_bytes: dict[str, int] = field(default_factory=dict)  # kind of process -> most memory that one held
    processes: tuple[Process, ...] = ()  # all that were seen, waited for or not

    @property
    def largest_bytes(self) -> int:
        """Most memory that one process held."""
        return max(self.peak_bytes.values(), default=0)

    @property
    def seen_seconds(self) -> float:
        """Processor seconds of all that was seen, those that nobody waited for included, as Ray's are."""
        return sum(one.processor_seconds for one in self.processes)


def machine() -> str:
    """Say what the measurements below a table are worth."""
    return f"{os.cpu_count()} processors, load over 15 minutes {os.getloadavg()[2]:.1f}"


def securevqa_command(*arguments: str, checkout: Path = HERE) -> list[str]:
    """Return the command that runs this very code, or that of another checkout."""
    has_package = checkout == HERE or (checkout / "securevqa").is_dir()
    return [sys.executable, *(("-m", "securevqa") if has_package else ("-c", _EARLIER)), *arguments]


def environment_of(checkout: Path) -> dict[str, str]:
    """Return what a process needs in its environment to run a checkout's code, tensors on one thread."""
    modules = os.pathsep.join(filter(None, [str(checkout), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": modules, "OMP_NUM_THREADS": "1"}


def measured(
    command: Sequence[str],
    *,
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
    checkout: Path = HERE,
    interval_seconds: float = _INTERVAL_SECONDS,
) -> Cost:
    """Run a command to its end, with one thread for tensors, and return what it took.

    Memory is what the kernel counts as resident at most, shared libraries and what a process shares with the
    one it was forked from included. A process that ends between two looks counts as it was before.

    Args:
        command: a program and its arguments.
        timeout_seconds: on the clock; then it is ended, and all that it started.
        environment: variables besides those of this process.
        checkout: folder whose code Python runs.
        interval_seconds: between two looks.

    Raises:
        RunError: it fails or takes longer.
    """
    started, seen = time.monotonic(), dict[int, Process]()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 - the command is the caller's
            command,
            cwd=checkout,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment_of(checkout) | dict(environment or {}),
        )
        try:
            usage = _watch(child, started + timeout_seconds, seen, interval_seconds)
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
    for one in seen.values():
        largest[one.kind] = max(largest.get(one.kind, 0), one.peak_bytes)
    return Cost(
        processor_seconds=usage.ru_utime + usage.ru_stime,
        wall_seconds=time.monotonic() - started,
        peak_bytes=largest,
        processes=tuple(seen.values()),
    )


def _watch(
    child: subprocess.Popen[bytes], deadline: float, seen: dict[int, Process], interval_seconds: float
) -> resource.struct_rusage | None:
    """Look at a process and all below it until it ends; return what it used, None past the deadline."""
    command_ticks = int(_stat(child.pid)[19])
    while time.monotonic() < deadline:
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        if ended:
            child.returncode = os.waitstatus_to_exitcode(status)  # as `child` has not waited for it itself
            return usage
        for pid in _family(child.pid):
            with contextlib.suppress(OSError, IndexError, StopIteration, ValueError):  # ended meanwhile
                seen[pid] = _look(pid, command_ticks, seen.get(pid))
        time.sleep(interval_seconds)
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
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += parents.get(pid, [])


def _look(pid: int, command_ticks: int, before: Process | None) -> Process:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    stat, kind = _stat(pid), _kind(pid)
    return Process(
        kind=before.kind if before is not None and kind == _IDLE else kind,  # what it worked on last
        start_seconds=(int(stat[19]) - command_ticks) / _TICKS_PER_SECOND,
        processor_seconds=(int(stat[11]) + int(stat[12])) / _TICKS_PER_SECOND,
        peak_bytes=next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:")),
    )


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process after its name: state, parent, and so on (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


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
    if {"securevqa", _EARLIER} & set(rest):
        return "securevqa"
    modules = [Path(word).name for word in rest if "ray" in word and word.endswith(".py")]
    return f"ray {modules[0]}" if modules else program
