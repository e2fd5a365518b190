"""Looks at the process that decodes a file while it does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from processes import descendants

from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import DecodeError

__all__ = ["confined_cell", "confined_cells", "working_cell"]


def confined_cells(sandbox: DecodeSandbox) -> set[int]:
    """Return the cells of `sandbox` whose filter is in force; one that has answered may not be gone yet."""
    found = set()
    for pid in descendants(sandbox.pid) if sandbox.pid is not None else []:
        with contextlib.suppress(OSError):
            if "Seccomp_filters:\t2" in Path(f"/proc/{pid}/status").read_text():
                found.add(pid)
    return found


def confined_cell(sandbox: DecodeSandbox, *, other_than: set[int], timeout_seconds: float = 30) -> int:
    """Wait for the cell that `sandbox` has decode in another thread, until its filter is in force."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        for pid in confined_cells(sandbox) - other_than:
            return pid
        time.sleep(0.005)
    raise TimeoutError(f"no cell decodes after {timeout_seconds:g} s")


@contextlib.contextmanager
def working_cell(sandbox: DecodeSandbox, path: str, request: DecodeRequest) -> Iterator[int]:
    """Give the process id of a cell that works on `path`, which takes it long, and kill it at the end."""

    def work() -> None:
        with contextlib.suppress(DecodeError):
            sandbox.decode(path, request)

    before = confined_cells(sandbox)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        pid = confined_cell(sandbox, other_than=before)
        yield pid
        os.kill(pid, signal.SIGKILL)
    finally:
        thread.join()
