"""Owns what runs inside the decoding process: its limits, and the loop that answers requests."""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import io
import os
import pkgutil
import resource
import socket
import sys
from typing import IO

import av
from av.video.frame import VideoFrame

from securevqa_core.decoding.decord_backend import load_decord
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.decoding.seccomp import forbid_system_calls
from securevqa_core.decoding.wire import read_request, write_error, write_sample
from securevqa_core.errors import DecodeError
from securevqa_core.types import SamplingConfig

__all__ = ["ACCEPTED", "READY", "answer", "confine"]

READY = b"R"  # sent once, when the process is up and confined
ACCEPTED = b"A"  # sent when a request has been read: from here on a death is that file's doing

_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 64


def confine(memory_bytes: int) -> None:
    """Give up, for good, what decoding does not need; called once as the process starts.

    Raises:
        OSError: the kernel refuses; nothing may be decoded then.
    """
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
    forbid_system_calls()


def _limit_processor_time(seconds: float) -> None:
    """Have the kernel end this process once it has used `seconds` more, should nobody else do so."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = int(used.ru_utime + used.ru_stime + seconds) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (total, hard))


def _die_with(lifeline: int) -> None:
    """Have the kernel end this process when the worker, which holds the other end of `lifeline`, is gone.

    The worker never writes to that pipe, so the only event on it is its closing; the signal for it, SIGIO,
    ends a process that does not handle it. Unlike PR_SET_PDEATHSIG it does not fire when a mere thread ends.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def answer(descriptor: int, request: DecodeRequest) -> DecodedSample:
    """Decode one file; every failure that Python can see becomes a DecodeError.

    Raises:
        DecodeError: as `extract_sample`; decode_memory where memory ran out, decode_failed for the rest.
    """
    try:
        return extract_sample(descriptor, request)
    except DecodeError:
        raise
    except MemoryError as error:
        limit = request.limits.memory_bytes
        raise DecodeError("decode_memory", f"the decoder outgrew its limit of {limit} bytes") from error
    except Exception as error:
        raise DecodeError("decode_failed", f"unexpected {type(error).__name__} while decoding") from error


def _serve(requests: socket.socket, replies: IO[bytes]) -> None:
    _say(replies, READY)
    while (asked := read_request(requests)) is not None:
        descriptor, request = asked
        _limit_processor_time(request.limits.timeout_seconds)
        _say(replies, ACCEPTED)
        outcome = _outcome(descriptor, request)
        if isinstance(outcome, DecodeError):
            write_error(replies, outcome)
        else:
            write_sample(replies, outcome)
        del outcome  # its pixels would count against the next video's memory


def _outcome(descriptor: int, request: DecodeRequest) -> DecodedSample | DecodeError:
    """Return what is answered; the file is closed by then."""
    try:
        return answer(descriptor, request)
    except DecodeError as error:
        return error.with_traceback(None)
    finally:
        os.close(descriptor)


def _say(replies: IO[bytes], message: bytes) -> None:
    replies.write(message)
    replies.flush()


def _load_everything() -> None:
    """Import what would be imported on the way; once confined, this process can open no file."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(("__main__", ".datasets")):
            importlib.import_module(module.name)
    importlib.import_module("numpy.ma")  # np.isin asks whether it was given a masked array
    load_decord()
    descriptor = os.memfd_create("warm_up")
    os.write(descriptor, _tiny_video())
    draw = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
    sampling = SamplingConfig(num_clips=1, clip_frames=2, grid_size=1, num_segments=1, segment_frames=2)
    extract_sample(descriptor, DecodeRequest(sampling=sampling, draws=(draw,)))
    os.close(descriptor)


def _tiny_video() -> bytes:
    content = io.BytesIO()
    with av.open(content, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in (VideoFrame(64, 64, "yuv420p"), VideoFrame(64, 64, "yuv420p"), None):
            container.mux(stream.encode(frame))
    return content.getvalue()


def main(memory_bytes: int, lifeline: int) -> None:
    """Answer requests on standard input, a socket, until it closes."""
    _load_everything()
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not end up in an answer
    _die_with(lifeline)
    confine(memory_bytes)
    _serve(requests, replies)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
