"""Owns what runs inside the decoding process: its limits, and the loop that answers requests."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import sys
from typing import IO

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, extract_sample
from securevqa_core.decoding.wire import read_request, write_error, write_sample
from securevqa_core.errors import DecodeError

__all__ = ["ACCEPTED", "READY", "answer", "confine"]

READY = b"R"  # sent once, when the process is up and confined
ACCEPTED = b"A"  # sent when a request has been read: from here on a death is that file's doing

_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 64


def confine(memory_bytes: int) -> None:
    """Give up, for good, what decoding does not need; called once as the process starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _MAX_OPEN_FILES,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def _die_with(lifeline: int) -> None:
    """Have the kernel end this process when the worker, which holds the other end of `lifeline`, is gone.

    The worker never writes to that pipe, so the only event on it is its closing; the signal for it, SIGIO,
    ends a process that does not handle it. Unlike PR_SET_PDEATHSIG it does not fire when a mere thread ends.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


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
        limit = request.limits.memory_bytes
        raise DecodeError("decode_memory", f"the decoder outgrew its limit of {limit} bytes") from error
    except Exception as error:
        raise DecodeError("decode_failed", f"unexpected {type(error).__name__} while decoding") from error


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    _say(replies, READY)
    while (asked := read_request(requests)) is not None:
        _say(replies, ACCEPTED)
        try:
            sample = answer(*asked)
        except DecodeError as error:
            write_error(replies, error)
        else:
            write_sample(replies, sample)
            del sample  # its pixels would count against the next video's memory


def _say(replies: IO[bytes], message: bytes) -> None:
    replies.write(message)
    replies.flush()


def main(memory_bytes: int, lifeline: int) -> None:
    """Answer requests on standard input until it closes."""
    _die_with(lifeline)
    confine(memory_bytes)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not end up in an answer
    _serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
