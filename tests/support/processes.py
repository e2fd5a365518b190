"""Says of another process whether it lives and how much it has worked."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_ticks", "is_alive"]


def is_alive(pid: int) -> bool:
    """Tell whether `pid` is a process that has not ended; a zombie has."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_ticks(pid: int) -> int:
    """Return the processor time of `pid` outside the kernel, in hundredths of a second."""
    return int(_stat(pid)[11])


def _stat(pid: int) -> list[str]:
    """State, then the other fields of /proc/<pid>/stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
