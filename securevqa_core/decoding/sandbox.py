"""Owns the process in which untrusted files are decoded: killable, limited, kept warm between videos."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver

from pebble import ProcessExpired, ProcessPool

from securevqa_core.decoding.child import answer, confine
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits

__all__ = ["DecodeSandbox"]

# The only variables a decoding process sees: no key, no credentials.
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
_GRACE_SECONDS = 5.0  # past the time limit, for the pool to notice by itself


class DecodeSandbox:
    """One decoding process behind a wall-clock limit; a process that dies or hangs is replaced.

    Only one sandbox may be open in a process. Use as a context manager, or call `close`.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        _start_fork_server()
        self._pool = self._new_pool()

    def __enter__(self) -> DecodeSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding process."""
        _kill_children()
        self._pool.stop()
        self._pool.join()

    def decode(self, path: str, request: DecodeRequest) -> DecodedSample:
        """Decode the file at `path` within the limits.

        Raises:
            DecodeError: as `extract_sample`, and decode_timeout, decode_crashed, decode_memory.
        """
        try:
            return self._decode(path, request)
        except BrokenProcessPool:  # the process died between two videos, which is not this one's fault
            self._replace_pool()
        try:
            return self._decode(path, request)
        except BrokenProcessPool as error:
            raise DecodeError("decode_crashed", "the decoding process cannot be kept alive") from error

    def _decode(self, path: str, request: DecodeRequest) -> DecodedSample:
        seconds = self._limits.timeout_seconds
        future = self._pool.schedule(answer, args=[path, request], timeout=seconds)
        try:
            sample: DecodedSample = future.result(timeout=seconds + _GRACE_SECONDS)
        except concurrent.futures.TimeoutError as error:
            if not future.done():  # the process never took the task, and the pool would wait for ever
                self._replace_pool()
            raise DecodeError("decode_timeout", f"decoding took longer than {seconds:g} s") from error
        except ProcessExpired as error:
            raise DecodeError(
                "decode_crashed", f"the decoding process ended with exit code {error.exitcode}"
            ) from error
        except MemoryError as error:
            raise DecodeError("decode_memory", "the decoded pixels outgrew the memory limit") from error
        return sample

    def _new_pool(self) -> ProcessPool:
        context = multiprocessing.get_context("forkserver")
        return ProcessPool(
            max_workers=1, context=context, initializer=confine, initargs=(self._limits.memory_bytes,)
        )

    def _replace_pool(self) -> None:
        self.close()
        self._pool = self._new_pool()


def _kill_children() -> None:
    for process in multiprocessing.active_children():
        process.kill()


def _start_fork_server() -> None:
    """Start the process that decoding processes are forked from, once, with a clean environment."""
    multiprocessing.set_forkserver_preload([answer.__module__])
    with _environment_of(_KEPT_VARIABLES):
        forkserver.ensure_running()


@contextlib.contextmanager
def _environment_of(names: tuple[str, ...]) -> Iterator[None]:
    """Leave only `names` in this process's environment for as long as the block runs."""
    saved = dict(os.environ)
    try:
        for name in saved.keys() - set(names):
            del os.environ[name]
        yield
    finally:
        os.environ.update(saved)
