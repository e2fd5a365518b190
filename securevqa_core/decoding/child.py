"""Owns what runs inside the decoding process: its limits, and the one call it answers."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, extract_sample
from securevqa_core.errors import DecodeError

__all__ = ["answer", "confine"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 64


def confine(memory_bytes: int) -> None:
    """Give up, for good, what decoding does not need; called once as the process starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, argument in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, argument, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))


def answer(path: str, request: DecodeRequest) -> DecodedSample:
    """Decode one file; every failure that Python can see becomes a DecodeError.

    Raises:
        DecodeError: as `extract_sample`; decode_memory where memory ran out, decode_failed for the rest.
    """
    try:
        return extract_sample(path, request)
    except DecodeError:
        raise
    except MemoryError as error:
        raise DecodeError("decode_memory", "the decoder outgrew its memory limit") from error
    except Exception as error:
        raise DecodeError("decode_failed", f"{type(error).__name__} (process {os.getpid()})") from error
