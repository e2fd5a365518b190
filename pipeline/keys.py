"""Owns where the key comes from, and that nothing but the key itself keeps it."""

from __future__ import annotations

import ctypes
import os

from securevqa_core.randomness import KEY_VARIABLE, Key

__all__ = ["forget_key_variable", "given_key"]


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
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    while (address := libc.getenv(KEY_VARIABLE.encode())) is not None:
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
        libc.unsetenv(KEY_VARIABLE.encode())
    os.environ.pop(KEY_VARIABLE, None)
