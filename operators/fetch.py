"""Owns bringing one video's bytes to this machine, and asking cheaply whether they changed."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

from operators import storage
from securevqa_core.errors import ConfigurationError, FetchError

__all__ = ["ABSENT", "FetchAttemptError", "Fetched", "content_versions", "fetch"]

PIECE_BYTES = 2 * 2**20
FIRST_PAUSE_SECONDS = 0.2  # doubled after every attempt
VERSION_SECONDS = 10.0  # for one question about one object
VERSION_HEX_DIGITS = 24
SHARE = 64  # URIs handed to a thread at once, as handing over costs more than a local disk's answer
FEW = 8  # URIs asked about first, one after another
QUICK_SECONDS = 1e-4  # an answer, as from a local disk
ABSENT = "absent"  # the version of what the store says is not there

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CODES: dict[storage.FailureKind, str] = {
    "not_found": "fetch_not_found",
    "denied": "fetch_denied",
    "unreachable": "fetch_unreachable",
    "redirect_refused": "fetch_redirect_refused",
    "not_a_file": "fetch_not_found",
    "failed": "fetch_failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a fetch brought."""

    content_sha256: str  # 64 hex digits, of the bytes as they were written
    size_bytes: int
    attempts: int  # 1 when the first one succeeded
    seconds: float  # wall clock over all attempts


class FetchAttemptError(FetchError):
    """A `FetchError` that also knows how many `attempts` were made."""

    def __init__(self, code: str, message: str, attempts: int) -> None:
        super().__init__(code, message)
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, str(self), self.attempts)


def fetch(
    uri: str, target: BinaryIO, *, max_bytes: int, timeout_seconds: float, max_attempts: int = 3
) -> Fetched:
    """Stream the bytes at `uri` into `target`, hashing on the way.

    Args:
        uri: any URI or local path `operators.storage` opens.
        target: an open, seekable, writable scratch file; whatever it holds is replaced. It is flushed and
            at its start afterwards. After `scratch_full`, closing a buffered file tries to write once more.
        max_bytes: the largest object accepted.
        timeout_seconds: wall clock over all attempts, pauses included.
        max_attempts: transient failures are tried again this often in all, from where the last try ended if
            the store reads parts and says that the object is still the same, else from the first byte.

    Raises:
        FetchAttemptError: with `attempts` and one of the `fetch_*` codes or `scratch_full`.
        ConfigurationError: a limit is outside its range.
    """
    _check_limits(max_bytes=max_bytes, timeout_seconds=timeout_seconds, max_attempts=max_attempts)
    started = time.monotonic()
    deadline = started + timeout_seconds
    attempts = 0
    copy = _Copy(uri, target, max_bytes)
    while True:
        attempts += 1
        try:
            copy.go_on(deadline)
        except FetchError as error:
            raise FetchAttemptError(error.code, str(error), attempts) from error.__cause__
        except storage.StorageError as error:
            pause_seconds = FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)
            in_time = time.monotonic() + pause_seconds < deadline
            if not (error.transient and in_time and attempts < max_attempts):
                message = _message(uri, error, in_time, timeout_seconds)
                raise FetchAttemptError(_CODES[error.kind], message, attempts) from _shown_cause(uri, error)
            time.sleep(pause_seconds)
        else:
            return Fetched(
                content_sha256=copy.content_sha256,
                size_bytes=copy.size_bytes,
                attempts=attempts,
                seconds=time.monotonic() - started,
            )


def content_versions(uris: Iterable[str], *, max_workers: int = 32) -> list[str | None]:
    """One short digest per URI that changes when its content does, in the order given.

    Made of the version id and ETag, or else of size and modification time in nanoseconds; `ABSENT` where the
    store says that there is nothing. None where it cannot be known: denied, unreachable, not a file. Once a
    bucket or host has not answered, the rest of its URIs are None without asking. As long as answers come as
    from a local disk, one thread asks: more would wait for one another.

    Raises:
        ConfigurationError: `max_workers` is below 1.
    """
    if max_workers < 1:
        raise ConfigurationError(f"max_workers must be >= 1, got {max_workers}")
    silent: set[tuple[str, str]] = set()
    asked = list(uris)
    size = max(1, min(SHARE, len(asked) // (4 * max_workers)))
    shares = iter([asked[:FEW], *(asked[at : at + size] for at in range(FEW, len(asked), size))])

    def ask(share: list[str]) -> list[str | None]:
        return [_content_version(uri, silent) for uri in share]

    answers = []
    for share in shares:
        started = time.perf_counter()
        answers.append(ask(share))
        if time.perf_counter() - started > QUICK_SECONDS * len(share):
            break
    with ThreadPoolExecutor(max_workers) as pool:
        answers += pool.map(ask, shares)
    return [version for answer in answers for version in answer]


def _content_version(uri: str, silent: set[tuple[str, str]]) -> str | None:
    group = storage.scheme_of(uri), storage.authority_of(uri)
    for last_try in (False, True):
        if group in silent:
            return None
        try:
            parts = storage.version_parts(uri, timeout_seconds=VERSION_SECONDS)
        except storage.StorageError as error:
            if error.kind == "not_found":
                return ABSENT
            if error.kind != "unreachable":
                return None
            # One lost connection among thousands must not silence a bucket, hence the second try.
            if last_try:
                silent.add(group)
            else:
                time.sleep(FIRST_PAUSE_SECONDS)
        else:
            return None if parts is None else _digest(parts)
    return None


def _digest(parts: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:VERSION_HEX_DIGITS]


def _check_limits(*, max_bytes: int, timeout_seconds: float, max_attempts: int) -> None:
    if max_bytes < 1:
        raise ConfigurationError(f"max_bytes must be >= 1, got {max_bytes}")
    if not timeout_seconds > 0:
        raise ConfigurationError(f"timeout_seconds must be > 0, got {timeout_seconds}")
    if max_attempts < 1:
        raise ConfigurationError(f"max_attempts must be >= 1, got {max_attempts}")


class _Copy:
    """The bytes of one object that have been copied so far."""

    def __init__(self, uri: str, target: BinaryIO, max_bytes: int) -> None:
        self._uri, self._target, self._max_bytes = uri, target, max_bytes
        self._begin_anew()

    @property
    def content_sha256(self) -> str:
        """Digest of what was copied, hex digits."""
        return self._digest.hexdigest()

    def _begin_anew(self) -> None:
        self._digest, self.size_bytes = hashlib.sha256(), 0
        self._etag: str | None = None

    def go_on(self, deadline: float) -> None:
        """Copy the rest; once it has failed it may be called again."""
        part = None
        if self.size_bytes and self._etag is not None:
            part = storage.Part(start=self.size_bytes, etag=self._etag)
        with storage.open_reader(self._uri, timeout_seconds=_left(deadline), part=part) as reader:
            if reader.start == 0:
                self._begin_anew()
                _restart(self._uri, self._target)
            self._etag = reader.etag
            if reader.size_bytes is not None:
                _check_size(self._uri, reader.size_bytes, self._max_bytes)
            while piece := reader.read(PIECE_BYTES, timeout_seconds=_left(deadline)):
                self._add(piece)
        _write(self._uri, self._target, b"")
        self._target.seek(0)

    def _add(self, piece: bytes) -> None:
        _check_size(self._uri, self.size_bytes + len(piece), self._max_bytes)
        _write(self._uri, self._target, piece)
        self._digest.update(piece)
        self.size_bytes += len(piece)


def _left(deadline: float) -> float:
    """Seconds left, at least one millisecond as 0 means no limit to the libraries below."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise storage.StorageError("unreachable", "too slow", transient=True)
    return max(left, 0.001)


def _check_size(uri: str, size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        message = f"{storage.redact(uri)!r} has {size_bytes} bytes or more, max_bytes is {max_bytes}"
        raise FetchError("fetch_too_large", message)


def _restart(uri: str, target: BinaryIO) -> None:
    try:
        if target.seek(0, os.SEEK_END):
            target.truncate(0)
            target.seek(0)
    except OSError as error:
        raise _scratch_error(uri, error) from error


def _write(uri: str, target: BinaryIO, piece: bytes) -> None:
    """Write all of `piece` (an unbuffered file takes a part at a time); flush when it is empty, the last."""
    view = memoryview(piece)
    try:
        while view:
            view = view[target.write(view) :]
        if not piece:
            target.flush()
    except OSError as error:
        raise _scratch_error(uri, error) from error


def _scratch_error(uri: str, error: OSError) -> FetchError:
    code = "scratch_full" if error.errno in _FULL_ERRNOS else "fetch_failed"
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return FetchError(code, f"writing {storage.redact(uri)!r} to scratch failed: {reason}")


def _message(uri: str, error: storage.StorageError, in_time: bool, timeout_seconds: float) -> str:
    shown = storage.redact(uri)
    late = error.kind == "unreachable" and not in_time
    rule = f" within timeout_seconds={timeout_seconds:g}" if late else ""
    return f"{shown!r} could not be fetched{rule}: {error.kind.replace('_', ' ')}, {error}"


def _shown_cause(uri: str, error: storage.StorageError) -> BaseException | None:
    """The store's own error, unless its text may repeat the part of the URI that is to stay unseen."""
    return error if storage.redact(uri) == uri else None
