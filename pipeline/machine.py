"""Owns what is known of this machine, without Ray."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

__all__ = ["available_cores"]


def available_cores() -> int:
    """Return the cores this process may use: fewer than the machine's under an affinity or a quota."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores
