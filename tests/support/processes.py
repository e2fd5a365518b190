"""Says of other processes whether they live, whose they are, and how much they have worked and held."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

__all__ = [
    "cpu_ticks",
    "descendants",
    "is_alive",
    "kill_tree",
    "object_store_megabytes",
    "peak_megabytes",
    "title",
]


def is_alive(pid: int) -> bool:
    """Tell whether `pid` is a process that has not ended; a zombie has."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_ticks(pid: int) -> int:
    """Return the processor time of `pid` outside the kernel, in hundredths of a second."""
    return int(_stat(pid)[11])


def descendants(ancestor: int) -> list[int]:
    """Return the processes that `ancestor` started, and those that they started, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, open_ends = [], [ancestor]
    while open_ends:
        found += (born := children.get(open_ends.pop(), []))
        open_ends += born
    return found


def kill_tree(ancestor: int) -> None:
    """Kill a process and all that it started, at once."""
    for pid in (ancestor, *descendants(ancestor)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def title(pid: int) -> str:
    """Return the command line of `pid`, or the title it gave itself; "" once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def peak_megabytes(pid: int) -> float:
    """Return the most memory `pid` has held so far, shared pages included; 0 once it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def object_store_megabytes(raylet: int) -> float:
    """Return the most that Ray's object store on this node has held so far; 0 once it has ended."""
    found = 0
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{raylet}/fd").iterdir():
            if "plasma" in str(file.readlink()):
                found = max(found, file.stat().st_blocks * 512)
    return found / 2**20


def _stat(pid: int) -> list[str]:
    """State, then the other fields of /proc/<pid>/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
