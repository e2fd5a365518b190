"""Owns that no secret outlives its use: variables that hold one go, and so does the sight of this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator

__all__ = ["forget", "forget_credentials", "undumpable"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4

# What a variable is called that a store, a cluster or a service is opened with.
_SECRET = re.compile(
    r"(AWS|AZURE|GOOGLE|GCSFS|GCLOUD)_.*|.*(KEY|TOKEN|SECRET|PASSW|CREDENTIAL|NETRC|_SAS).*",
    re.IGNORECASE,
)


def forget_credentials() -> None:
    """Forget every variable that may hold a secret, before hostile files may be opened here."""
    for name in [name for name in os.environ if _SECRET.fullmatch(name)]:
        forget(name)


def forget(variable: str) -> None:
    """Take a variable out of the environment, and overwrite it where /proc/PID/environ shows it.

    Taking it out hides it from processes that are started from now on; what this one was started with stays
    where the kernel put it, for whoever may read it, until it is overwritten.
    """
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    name = os.fsencode(variable)
    while (address := libc.getenv(name)) is not None:
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
        libc.unsetenv(name)
    os.environ.pop(variable, None)


@contextlib.contextmanager
def undumpable() -> Iterator[None]:
    """Let no core be dumped of this process, nor its memory be read by others of its user."""
    libc = ctypes.CDLL(None)
    before = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_DUMPABLE, before, 0, 0, 0)
