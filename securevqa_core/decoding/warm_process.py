"""Owns a worker's side of a warm process: starting it, having it fork a cell for a file, and ending both."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from securevqa_core.decoding.child import ENDED, FORKED, READY
from securevqa_core.decoding.wire import BadAnswerError, Request, Source, request_bytes

__all__ = ["CellError", "NoCellError", "WarmProcess"]

# The only variables a decoding process sees: no key, no credentials.
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
_PACKAGE_FOLDER = str(Path(__file__).parents[2])
_START_SECONDS = 60.0  # for the process to import and confine itself, on a loaded machine
_REPLY_SECONDS = 10.0  # for what takes it milliseconds
_LINGER_SECONDS = 5.0  # for a cell that has closed its channel to end
_LEAVE_SECONDS = 1.0  # for the warm process to leave nothing behind
_MAX_COMPLAINT_BYTES = 2048

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class NoCellError(Exception):
    """The warm process ended, or does not answer; no file had a part in it."""


class CellError(Exception):
    """A cell ended, or had to be ended, while it worked on a file."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class WarmProcess:
    """A process that has imported all that decoding needs, and forks a cell for every file."""

    def __init__(self, memory_bytes: int) -> None:
        lifeline, held_end = os.pipe()
        self._control, control = socket.socketpair()
        self._complaints, complaints = _bounded_pipe()
        self._popen = subprocess.Popen(  # noqa: S603 - no part of the command comes from outside
            [
                *(sys.executable, "-P", "-m", "securevqa_core.decoding.child"),
                *map(str, (memory_bytes, control.fileno(), lifeline)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            env=_clean_environment(),
            pass_fds=(control.fileno(), lifeline),
            start_new_session=True,  # which has no terminal
        )
        control.close()
        os.close(lifeline)
        os.close(complaints)
        self.pid = self._popen.pid
        self._is_ready = False
        self._is_killed = False
        self._is_ending_due = False  # of the last cell, which has answered
        self.end = weakref.finalize(
            self, _end, self._popen, self._control, (held_end, self._complaints)
        )  # also as this process exits

    def kill(self) -> None:
        """End this process, and with it its cells; whoever waits for an answer is told that there is none."""
        self._is_killed = True
        self._popen.kill()

    def ask(
        self, descriptor: int, request: Request, timeout_seconds: float, read: Callable[[Source], Answer]
    ) -> Answer:
        """Return what `read` makes of the answer of a new cell that is handed an open file.

        Raises:
            DecodeError: the answer is a failure.
            NoCellError, CellError: this process has to be replaced.
        """
        self._wait_until_ready()
        with self._cell(descriptor) as cell:
            return cell.ask(request, timeout_seconds, read)

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            self.reply(len(READY), _START_SECONDS)
        except NoCellError:
            if not self._is_killed:
                complaints = _read_complaints(self._complaints)
                logger.warning("the decoding process does not start: %s", complaints)
            raise
        self._is_ready = True

    @contextlib.contextmanager
    def _cell(self, descriptor: int) -> Iterator[_Cell]:
        """Have a cell forked, and end it."""
        reading, writing = _bounded_pipe()
        channel, theirs = socket.socketpair()
        try:
            with channel:
                with theirs:  # this side's copy has to go, so that the channel ends with the cell
                    pid = self._fork(descriptor, theirs.fileno(), writing)
                cell = _Cell(self, pid, channel)
                try:
                    yield cell
                except BaseException:
                    cell.end()
                    raise
                cell.end_later()
        finally:
            os.close(writing)
            if complaints := _read_complaints(reading):
                logger.info("a decoding process printed %s", complaints)
            os.close(reading)

    def _fork(self, *descriptors: int) -> int:
        """Return the process id of a cell that has been handed copies of `descriptors`."""
        if self._is_ending_due:
            self.reply(ENDED.size, _REPLY_SECONDS)
        self._is_ending_due = False
        try:
            socket.send_fds(self._control, [b"F"], descriptors)
        except OSError as error:
            raise NoCellError("the warm process cannot be asked") from error
        return int(FORKED.unpack(self.reply(FORKED.size, _REPLY_SECONDS))[0])

    def reply(self, num_bytes: int, seconds: float) -> bytes:
        """Return what the warm process says within so many seconds.

        Raises:
            NoCellError: it ends, or says nothing.
        """
        self._control.settimeout(seconds)
        try:
            reply = self._control.recv(num_bytes)  # it sends each of its few bytes at once
        except OSError as error:
            raise NoCellError("the warm process does not answer") from error
        if len(reply) != num_bytes:
            raise NoCellError("the warm process has ended")
        return reply

    def expect_ending(self) -> None:
        """Hear later how the cell has ended."""
        self._is_ending_due = True

    def release(self) -> None:
        """Say that no more signals are sent to the cell that has ended: its number may become another's."""
        with contextlib.suppress(OSError):
            self._control.sendall(b"E")


class _Cell:
    """A process for one file, as its worker sees it."""

    def __init__(self, parent: WarmProcess, pid: int, channel: socket.socket) -> None:
        self._parent, self._pid, self._channel = parent, pid, channel
        self._ending: tuple[int, int] | None = None  # as `waitid` says: how, and the exit code or the signal

    def ask(self, request: Request, timeout_seconds: float, read: Callable[[Source], Answer]) -> Answer:
        """Return what `read` makes of its answer; raises as `WarmProcess.ask`."""
        try:
            self._channel.settimeout(timeout_seconds)
            source = _TimedSource(self._channel, time.monotonic() + timeout_seconds)
            self._channel.sendall(request_bytes(request))
            return read(source)
        except TimeoutError as error:
            message = f"decoding took longer than {timeout_seconds:g} s"
            raise CellError("decode_timeout", message) from error
        except BadAnswerError as error:
            raise CellError("decode_crashed", f"the decoding process broke the rules: {error}") from error
        except (EOFError, OSError) as error:
            raise self._failure(timeout_seconds) from error

    def _failure(self, timeout_seconds: float) -> CellError:
        """Say what became of a cell that closed its channel."""
        with contextlib.suppress(NoCellError):
            self._wait(_LINGER_SECONDS)
        if self._ending is None:
            self._kill()
            self._wait(_REPLY_SECONDS)
            return CellError("decode_crashed", "the decoding process closed its channel")
        how, status = self._ending
        if how == os.CLD_EXITED:
            return CellError("decode_crashed", f"the decoding process ended with exit code {status}")
        if status == signal.SIGXCPU:
            message = f"decoding took more processor time than {timeout_seconds:g} s"
            return CellError("decode_timeout", message)
        known = status in signal.Signals.__members__.values()
        name = signal.Signals(status).name if known else f"signal {status}"
        return CellError("decode_crashed", f"the decoding process was ended by {name}")

    def end(self) -> None:
        """End it, if it has not ended, and have it forgotten."""
        try:
            if self._ending is None:
                self._kill()
                self._wait(_REPLY_SECONDS)
        except NoCellError:
            self._parent.expect_ending()
        else:
            self._parent.release()

    def end_later(self) -> None:
        """End it as it has answered, and let giving back its memory take no time of the next video's."""
        self._kill()
        self._parent.expect_ending()
        self._parent.release()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # where the warm process has been killed too
            os.kill(self._pid, signal.SIGKILL)

    def _wait(self, seconds: float) -> None:
        how, status = ENDED.unpack(self._parent.reply(ENDED.size, seconds))
        self._ending = (how, status)


class _TimedSource:
    """A socket to read from until a moment."""

    def __init__(self, channel: socket.socket, deadline: float) -> None:
        self._channel, self._deadline = channel, deadline

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the beginning of `buffer`.

        Raises:
            TimeoutError: the moment has passed.
        """
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self._channel.settimeout(seconds)
        return self._channel.recv_into(buffer)


def _bounded_pipe() -> tuple[int, int]:
    """Return a pipe that takes what it can hold and loses the rest, so that it makes nobody wait."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _read_complaints(pipe: int) -> str:
    """Return the beginning of what was printed, fit for a log; "" where nothing was."""
    try:
        return ascii(os.read(pipe, _MAX_COMPLAINT_BYTES).decode(errors="replace").strip()).strip("'\"")
    except BlockingIOError:
        return ""


def _end(popen: subprocess.Popen[bytes], control: socket.socket, descriptors: tuple[int, ...]) -> None:
    control.close()  # then it ends the cell that waits, and itself
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(_LEAVE_SECONDS)
    popen.kill()
    for descriptor in descriptors:
        os.close(descriptor)
    popen.wait()


def _clean_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    modules = os.pathsep.join([_PACKAGE_FOLDER, *sys.path])
    # One thread for NumPy, as the buffers of each count as memory.
    return kept | {"PYTHONPATH": modules, "OPENBLAS_NUM_THREADS": "1"}
