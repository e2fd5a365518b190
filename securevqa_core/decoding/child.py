"""Owns what runs confined: the warm process, which reads no file, and the cells it forks, one for each file.

    worker ──── control ────> warm process      one byte and three descriptors a video; never a byte of a file
      │                            │ fork, handover
      └── channel, complaints ── cell           the request inwards, the answer outwards; then it ends

A cell that its file has taken over holds the file, its two pipes to the worker and nothing of the warm
process or of another cell: no descriptor, no shared memory, no call that reaches one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import platform
import resource
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator
from typing import IO, NoReturn

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, extract_sample
from securevqa_core.decoding.frames import stream_frames
from securevqa_core.decoding.landlock import shut_out_files
from securevqa_core.decoding.seccomp import allow_only, filter_program, install
from securevqa_core.decoding.system_calls import cell_calls, warm_process_calls
from securevqa_core.decoding.warm_up import rehearse, warm_up
from securevqa_core.decoding.wire import (
    FrameWriter,
    PictureWriter,
    Request,
    read_request,
    write_error,
    write_rate,
    write_sample,
)
from securevqa_core.errors import DecodeError
from securevqa_core.whole_frames import WholeSink

__all__ = ["ENDED", "FORKED", "READY", "answer", "confine"]

READY = b"R"  # sent once, when the warm process is up and confined
FORKED = struct.Struct("<i")  # sent when a cell has been forked: its process id
ENDED = struct.Struct("<ii")  # sent when it has ended: how, as `waitid` says, and with which code or signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 64
_STANDARD_OUTPUTS = (1, 2)
_FIRST_OTHER = 3  # descriptor after the standard three


def confine(memory_bytes: int) -> None:
    """Give up, for good, what no decoding process needs; called once as the warm process starts.

    Raises:
        OSError: the kernel refuses; nothing may be decoded then.
    """
    _control_process(_PR_SET_NO_NEW_PRIVS, 1)
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _MAX_OPEN_FILES,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    shut_out_files()
    allow_only(warm_process_calls())


def _control_process(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _die_with(lifeline: int) -> None:
    """Have the kernel end this process when the worker, which holds the other end of `lifeline`, is gone.

    The worker never writes to that pipe, so the only event on it is its closing; the signal for it, SIGIO,
    ends a process that does not handle it. Unlike PR_SET_PDEATHSIG it does not fire when a mere thread ends.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def answer(descriptor: int, request: DecodeRequest, sink: WholeSink | None = None) -> DecodedSample:
    """Decode one file.

    Raises:
        DecodeError: as `extract_sample`; decode_memory where memory ran out, decode_failed for the rest.
    """
    with _as_decode_errors(request):
        return extract_sample(descriptor, request, sink)


def _reply(descriptor: int, request: Request, replies: IO[bytes]) -> None:
    """Decode one file and answer with what was asked for, or with why there is none."""
    try:
        if isinstance(request, DecodeRequest):
            write_sample(replies, answer(descriptor, request, PictureWriter(replies)))
            return
        with _as_decode_errors(request):
            fps = stream_frames(descriptor, request, FrameWriter(replies))
        write_rate(replies, fps)
    except DecodeError as error:
        write_error(replies, error)


@contextlib.contextmanager
def _as_decode_errors(request: Request) -> Iterator[None]:
    """Make every failure that Python can see a DecodeError."""
    try:
        yield
    except DecodeError:
        raise
    except MemoryError as error:
        limit = request.limits.memory_bytes
        raise DecodeError("decode_memory", f"the decoder outgrew its limit of {limit} bytes") from error
    except Exception as error:
        raise DecodeError("decode_failed", f"unexpected {type(error).__name__} while decoding") from error


def _serve(control: socket.socket, rehearsed: int) -> None:
    """Hand every video to a cell of its own, one at a time, until the worker closes its end."""
    os.write(control.fileno(), READY)  # few bytes, taken at once
    pid, handover = _waiting_cell(rehearsed)
    while _hand_over(control, handover):
        os.write(control.fileno(), FORKED.pack(pid))
        next_pid, handover = _waiting_cell(rehearsed)  # while this one decodes
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        os.write(control.fileno(), ENDED.pack(ended.si_code, ended.si_status))
        # Its number is nobody else's until the worker says that it sends no more signals to it.
        os.read(control.fileno(), 1)
        os.waitpid(pid, 0)
        pid = next_pid
    os.waitpid(pid, 0)


def _waiting_cell(rehearsed: int) -> tuple[int, socket.socket]:
    """Fork a cell before there is a video for it, and return its process id and where to hand it one."""
    warm_process = os.getpid()
    handover, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        handover.close()  # or it would not notice that the warm process has closed it
        _be_a_cell(warm_process, theirs, rehearsed)
    theirs.close()
    return pid, handover


def _hand_over(control: socket.socket, handover: socket.socket) -> bool:
    """Pass on the descriptors of the next video; False where there is none."""
    with handover:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if len(descriptors) != 3:
            return False
        os.read(handover.fileno(), 1)  # when it is ready; the next would read the same video on
        socket.send_fds(handover, [b"F"], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def _be_a_cell(warm_process: int, handover: socket.socket, rehearsed: int) -> NoReturn:
    """Wait for a request and answer it in this process, which ends with it."""
    code = 1
    try:
        _die_after(warm_process)
        rehearse(rehearsed)
        program = filter_program(cell_calls(os.getpid()), platform.machine())
        os.write(handover.fileno(), READY)
        _, descriptors, _, _ = socket.recv_fds(handover, 1, 3)
        if len(descriptors) != 3:
            os._exit(0)
        file, channel, complaints = descriptors
        _keep_only(file, channel, complaints)
        with os.fdopen(channel, "rb", buffering=0, closefd=False) as requests:
            request = read_request(requests)
        _limit_processor_time(request.limits.timeout_seconds)
        with os.fdopen(channel, "wb") as replies:
            install(program)
            _reply(file, request, replies)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends with it
        traceback.print_exc()
    finally:
        os._exit(code)


def _die_after(parent: int) -> None:
    """Have the kernel end this process when the thread that forked it, its parent's only one, has ended."""
    _control_process(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the warm process has ended")


def _keep_only(file: int, channel: int, complaints: int) -> None:
    for output in _STANDARD_OUTPUTS:
        os.dup2(complaints, output)
    low, high = sorted((file, channel))
    for first, end in ((_FIRST_OTHER, low), (low + 1, high), (high + 1, _MAX_OPEN_FILES)):
        os.closerange(first, end)


def _limit_processor_time(seconds: float) -> None:
    """Have the kernel end this process once it has used so much, should nobody else do so."""
    total = int(seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (total, total + 1))


def _moved_down(descriptor: int) -> int:
    """Give a descriptor the lowest number that is free: cells close all that may be open, up to the limit."""
    lower = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
    os.close(descriptor)
    return lower


def main(memory_bytes: int, control: int, lifeline: int) -> None:
    """Fork cells as the worker at the other end of `control` asks for them."""
    rehearsed = warm_up()
    worker = socket.socket(fileno=_moved_down(control))
    _die_with(_moved_down(lifeline))
    confine(memory_bytes)
    gc.collect()
    gc.freeze()  # a collection in a cell would write to, and so copy, every page
    _serve(worker, rehearsed)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
