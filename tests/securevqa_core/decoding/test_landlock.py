"""Where the kernel has Landlock no file is opened, even by a process that no list of calls holds."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from securevqa_core.decoding import landlock

_HELD = """
import ctypes, os, sys
from securevqa_core.decoding.landlock import shut_out_files
held = open(sys.argv[1])
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
print(shut_out_files())
print(held.read())
name = sys.argv[1]
for attempt in (lambda: open(name), lambda: os.unlink(name), lambda: os.mkdir(name + 'x')):
    try: attempt()
    except OSError as error: print(error.errno)
    else: print('done')
"""


def _kernels_version() -> int:
    """Ask as the kernel's documentation does."""
    return max(0, int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)))


def test_what_is_open_can_be_read_and_nothing_else_where_the_kernel_has_landlock(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    done = subprocess.run(
        [sys.executable, "-c", _HELD, str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    version, content, *outcomes = done.stdout.split()
    assert (int(version), content) == (_kernels_version(), "content")
    assert outcomes == (["13"] * 3 if int(version) else ["done"] * 3)


@pytest.mark.parametrize("number", [38, 95, 1], ids=["ENOSYS", "EOPNOTSUPP", "EPERM"])
def test_a_kernel_without_landlock_is_said_and_no_error(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: _Libc([-1]))
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    assert landlock.shut_out_files() == 0


@pytest.mark.parametrize(
    ("results", "message"),
    [([-1], "does not tell"), ([3, -1], "Landlock 3 makes no rules"), ([3, 9, -1], "3 does not restrict")],
)
def test_a_landlock_that_refuses_is_an_error(
    monkeypatch: pytest.MonkeyPatch, results: list[int], message: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: _Libc(results))
    monkeypatch.setattr(ctypes, "get_errno", lambda: 22)
    with pytest.raises(OSError, match=message):
        landlock.shut_out_files()


class _Libc:
    """A C library whose calls give these results, one after another."""

    def __init__(self, results: list[int]) -> None:
        self._results = list(results)

    def syscall(self, *_: object) -> int:
        return self._results.pop(0)


# <linux/landlock.h>: files up to REFER, TRUNCATE and IOCTL_DEV; bind and connect; sockets and signals
@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (1, [(1 << 13) - 1]),
        (2, [(1 << 14) - 1]),
        (3, [(1 << 15) - 1]),
        (4, [(1 << 15) - 1, 3]),
        (5, [(1 << 16) - 1, 3]),
        (6, [(1 << 16) - 1, 3, 3]),
        (99, [(1 << 16) - 1, 3, 3]),
    ],
)
def test_a_version_is_asked_for_all_that_it_knows_and_no_more(version: int, fields: list[int]) -> None:
    assert landlock._attributes(version) == struct.pack(f"={len(fields)}Q", *fields)
