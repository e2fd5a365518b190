"""Owns the process in which untrusted files are decoded: killable, limited, kept warm between videos."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from securevqa_core.decoding.child import ACCEPTED, READY
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest
from securevqa_core.decoding.probe import open_file
from securevqa_core.decoding.wire import BadAnswerError, read_answer, write_request
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits

__all__ = ["DecodeSandbox"]

# The only variables a decoding process sees: no key, no credentials.
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
_PACKAGE_FOLDER = str(Path(__file__).parents[2])
_START_SECONDS = 60.0  # for the process to import and confine itself, on a loaded machine
_MAX_STARTS = 2  # for one video


class DecodeSandbox:
    """One decoding process behind a wall-clock limit; a process that dies or hangs is replaced.

    For one thread at a time. Use as a context manager, or call `close`.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: _Process | None = None

    def __enter__(self) -> DecodeSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the decoding process; None where there is none now."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the decoding process; the next `decode` starts another."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def decode(self, path: str, request: DecodeRequest) -> DecodedSample:
        """Decode the file at `path` within the limits.

        Where PyAV's decoder crashes and the request leaves the choice, decord is tried in a new process.

        Raises:
            DecodeError: as `extract_sample`, and decode_timeout, decode_crashed, decode_memory.
        """
        with open_file(path) as descriptor:  # which the process, that can open none, is handed
            try:
                return self._decode(descriptor, request)
            except DecodeError as error:
                if error.code != "decode_crashed" or request.decoder != "auto":
                    raise
                try:
                    return self._decode(descriptor, replace(request, has_crashed_pyav=True))
                except DecodeError:
                    raise error from None

    def _decode(self, descriptor: int, request: DecodeRequest) -> DecodedSample:
        for _ in range(_MAX_STARTS):
            if self._process is None:
                self._process = _Process(self._limits.memory_bytes)
            try:
                return self._process.decode(descriptor, request, self._limits.timeout_seconds)
            except _NotAcceptedError:  # it died between two videos, which is not this one's fault
                self.close()
            except _EndedError as error:
                self.close()
                raise DecodeError(error.code, str(error)) from error
            except BaseException as error:
                if not isinstance(error, DecodeError):
                    self.close()  # interrupted half-way through an answer
                raise
        raise DecodeError(
            "decode_crashed", f"the decoding process cannot be started, tried {_MAX_STARTS} times"
        )


class _NotAcceptedError(Exception):
    """The process ended before it took the request."""


class _EndedError(Exception):
    """The process ended, or had to be ended, while it worked on a file."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class _Process:
    """A decoding process and the pipes to it."""

    def __init__(self, memory_bytes: int) -> None:
        lifeline, self._held_end = os.pipe()
        self._requests, theirs = socket.socketpair()  # a pipe passes no open files
        self._popen = subprocess.Popen(  # noqa: S603 - no part of the command comes from outside
            [sys.executable, "-P", "-m", "securevqa_core.decoding.child", str(memory_bytes), str(lifeline)],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            env=_clean_environment(),
            pass_fds=(lifeline,),
        )
        os.close(lifeline)
        theirs.close()
        self.pid = self._popen.pid
        self._is_ready = False
        self.end = weakref.finalize(
            self, _end, self._popen, self._requests, self._held_end
        )  # also as this process exits

    def decode(self, descriptor: int, request: DecodeRequest, timeout_seconds: float) -> DecodedSample:
        """Return the process's answer.

        Raises:
            DecodeError: the answer is a failure.
            _NotAcceptedError, _EndedError: the process has to be replaced.
        """
        self._wait_until_ready()
        with self._time_limit(timeout_seconds) as has_expired:
            try:
                return self._ask(descriptor, request)
            except (EOFError, BadAnswerError) as error:
                if has_expired.is_set():
                    message = f"decoding took longer than {timeout_seconds:g} s"
                    raise _EndedError("decode_timeout", message) from error
                is_bad = isinstance(error, BadAnswerError)
                if not is_bad and self._ended_by() == signal.SIGXCPU:
                    message = f"decoding took more processor time than {timeout_seconds:g} s"
                    raise _EndedError("decode_timeout", message) from error
                what = f"broke the rules: {error}" if is_bad else self._how_it_ended()
                raise _EndedError("decode_crashed", f"the decoding process {what}") from error

    def _wait_until_ready(self) -> None:
        if not self._is_ready:
            with self._time_limit(_START_SECONDS):
                self._expect(READY)
        self._is_ready = True

    def _ask(self, descriptor: int, request: DecodeRequest) -> DecodedSample:
        try:
            write_request(self._requests, descriptor, request)
        except OSError as error:
            raise _NotAcceptedError from error
        self._expect(ACCEPTED)
        return read_answer(self._stdout, request)

    def _expect(self, message: bytes) -> None:
        if self._stdout.read(len(message)) != message:
            raise _NotAcceptedError

    @property
    def _stdout(self) -> IO[bytes]:
        stdout: IO[bytes] | None = self._popen.stdout
        assert stdout is not None
        return stdout

    @contextlib.contextmanager
    def _time_limit(self, seconds: float) -> Iterator[threading.Event]:
        """Kill the process when `seconds` are over: whoever waits on its pipes then sees them close."""
        has_expired, kill = threading.Event(), self._popen.kill

        def expire() -> None:  # does not hold on to `self`, which would keep a forgotten process alive
            has_expired.set()
            kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield has_expired
        finally:
            timer.cancel()

    def _ended_by(self) -> signal.Signals | None:
        """Return what ended the process; None where nothing did, or it ended itself."""
        try:
            code = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return None
        return signal.Signals(-code) if code < 0 else None

    def _how_it_ended(self) -> str:
        ended_by, code = self._ended_by(), self._popen.returncode
        if ended_by is not None:
            return f"was ended by {ended_by.name}"
        return "closed its pipe" if code is None else f"ended with exit code {code}"


def _end(popen: subprocess.Popen[bytes], requests: socket.socket, held_end: int) -> None:
    popen.kill()
    os.close(held_end)
    requests.close()
    if popen.stdout is not None:
        popen.stdout.close()
    popen.wait()


def _clean_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    modules = os.pathsep.join([_PACKAGE_FOLDER, *sys.path])
    # One thread for NumPy, as the buffers of each count as memory.
    return kept | {"PYTHONPATH": modules, "OPENBLAS_NUM_THREADS": "1"}
