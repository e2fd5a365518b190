"""Owns where the key comes from, that nothing but the key itself keeps it, and when credentials must go."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator

from securevqa_core.randomness import KEY_VARIABLE, Key

__all__ = ["forget_credentials", "forget_key_variable", "given_key", "undumpable"]

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4

# What a variable is called that a store, a cluster or a service is opened with.
_SECRET = re.compile(
    r"(AWS|AZURE|GOOGLE|GCSFS|GCLOUD)_.*|.*(KEY|TOKEN|SECRET|PASSW|CREDENTIAL|NETRC|_SAS).*",
    re.IGNORECASE,
)


def given_key(key_file: str | None) -> Key | None:
    """Return the key of a file, else of `SECUREVQA_KEY`, which is forgotten; None where there is neither.

    Raises:
        ConfigurationError: the file cannot be read, or there are too few bytes.
    """
    try:
        return Key.from_file(key_file) if key_file is not None else Key.from_environment()
    finally:
        forget_key_variable()


def forget_key_variable() -> None:
    """Take `SECUREVQA_KEY` out of the environment, and overwrite it where /proc/PID/environ shows it.

    Taking it out hides it from processes that are started from now on; what this one was started with stays
    where the kernel put it, for whoever may read it, until it is overwritten.
    """
    _forget(KEY_VARIABLE)


def forget_credentials() -> None:
    """Do the same with every variable that may hold a secret, before hostile files may be opened here."""
    for name in [name for name in os.environ if _SECRET.fullmatch(name)]:
        _forget(name)


def _forget(variable: str) -> None:
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
