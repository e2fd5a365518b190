"""Owns decoding untrusted files, each in a cell of its own: killable, limited, forked from a warm process."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from securevqa_core.decoding.extract import DecodedSample, DecodeRequest
from securevqa_core.decoding.frames import FrameSink, FramesRequest
from securevqa_core.decoding.probe import open_file
from securevqa_core.decoding.warm_process import CellError, NoCellError, WarmProcess
from securevqa_core.decoding.wire import Request, Source, read_answer, read_frames_answer
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits
from securevqa_core.whole_frames import WholeSink

__all__ = ["DecodeSandbox", "sandbox_of_thread"]

_MAX_STARTS = 2  # for one video

_Answer = TypeVar("_Answer")


class DecodeSandbox:
    """A process a file behind a wall-clock limit, and the warm process that forks them.

    The warm process is replaced where a cell dies or hangs: whoever took it over may have learned how the
    memory of its siblings is laid out. For one thread at a time. Use as a context manager, or call `close`.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: WarmProcess | None = None
        self._is_abandoned = False

    def __enter__(self) -> DecodeSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the warm process; None where there is none now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the warm process, if there is none, without waiting for it."""
        if self._process is None:
            self._process = WarmProcess(self._limits.memory_bytes)

    def abandon(self) -> None:
        """End the warm process and its cell at once, and start no other; any thread may ask for it."""
        self._is_abandoned = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the warm process; the next `decode` starts another."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def decode(self, path: str | int, request: DecodeRequest, sink: WholeSink | None = None) -> DecodedSample:
        """Decode the file at `path`, or that of a descriptor open for reading, within the limits.

        Where PyAV's decoder crashes and the request leaves the choice, decord is tried in a new cell. `sink`
        takes the whole frames, where the request asks for any; what it does counts as decoding.

        Raises:
            DecodeError: as `extract_sample`, and decode_timeout, decode_crashed, decode_memory.
        """

        def decoded(descriptor: int, request: DecodeRequest) -> DecodedSample:
            read = functools.partial(read_answer, request=request, sink=sink)
            return self._ask(descriptor, request, read)

        with open_file(path) as descriptor:  # which the cell, that can open none, is handed
            try:
                return decoded(descriptor, request)
            except DecodeError as error:
                if error.code != "decode_crashed" or request.decoder != "auto":
                    raise
                try:
                    return decoded(descriptor, replace(request, has_crashed_pyav=True))
                except DecodeError:
                    raise error from None

    def frames(self, path: str | int, request: FramesRequest, sink: FrameSink) -> float | None:
        """Give `sink` frames of a file within the limits, and return how many a second it has.

        Raises:
            DecodeError: as `frames.read_frames`, and decode_timeout, decode_crashed, decode_memory.
        """
        with open_file(path) as descriptor:
            read = functools.partial(read_frames_answer, request=request, sink=sink)
            return self._ask(descriptor, request, read)

    def _ask(self, descriptor: int, request: Request, read: Callable[[Source], _Answer]) -> _Answer:
        for _ in range(_MAX_STARTS):
            if self._is_abandoned:
                raise DecodeError("decode_crashed", "decoding was given up")
            self.start()
            assert self._process is not None
            try:
                return self._process.ask(descriptor, request, self._limits.timeout_seconds, read)
            except NoCellError:  # it died between two videos, or as one was decoded: not this one's fault
                self.close()
            except CellError as error:
                self.close()
                raise DecodeError(error.code, str(error)) from error
            except BaseException as error:
                if not isinstance(error, DecodeError):
                    self.close()  # interrupted half-way through an answer
                raise
        raise DecodeError(
            "decode_crashed", f"the decoding process cannot be started, tried {_MAX_STARTS} times"
        )


class _OfThread(threading.local):
    """The sandboxes of a thread, by their limits; they end with it."""

    def __init__(self) -> None:
        self.sandboxes: dict[DecodeLimits, DecodeSandbox] = {}


_of_thread = _OfThread()


def sandbox_of_thread(limits: DecodeLimits) -> DecodeSandbox:
    """Return this thread's own sandbox, started where it is first used."""
    return _of_thread.sandboxes.setdefault(limits, DecodeSandbox(limits))
