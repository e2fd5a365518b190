"""Owns reading from a store: an object, the rest of one, and what tells its versions apart."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fsspec.asyn import get_loop, sync

from operators.filesystems import CONNECT_SECONDS, open_filesystem
from operators.storage_errors import FailureKind, StorageError, storage_error, translated
from operators.uris import (
    WEB_SCHEMES,
    absolute,
    absolute_uri,
    as_text,
    authority_of,
    join,
    local_path,
    redact,
    scheme_of,
)

__all__ = [
    "FailureKind",
    "Part",
    "Reader",
    "StorageError",
    "absolute_uri",
    "as_text",
    "authority_of",
    "join",
    "local_path",
    "open_filesystem",
    "open_reader",
    "read_bytes",
    "redact",
    "scheme_of",
    "storage_error",
    "translated",
    "version_parts",
]

PIECE_BYTES = 4 * 2**20
HTTP_PARTIAL, HTTP_RANGE_NOT_SATISFIABLE = 206, 416


# How web servers and fsspec's filesystems call what changes with the content.
_VERSION_NAMES = (
    "ETag",
    "Etag",
    "etag",
    "Last-Modified",
    "generation",
    "version_id",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "created",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where to go on reading an object of which the beginning has been read."""

    start: int  # bytes that have been read
    etag: str  # of the object they came from


class Reader:
    """One object being read to its end.

    Attributes:
        size_bytes: of the whole object, where the store announced it.
        start: bytes of the object that come before the first that is read.
        etag: changes with the content, where the store tells one that lets reading go on elsewhere.
    """

    def __init__(
        self,
        read: Callable[[int, float], bytes],
        close: Callable[[], object],
        size_bytes: int | None,
        *,
        start: int = 0,
        etag: str | None = None,
    ) -> None:
        self._read = read
        self._close = close
        self.size_bytes = size_bytes
        self.start = start
        self.etag = etag

    def read(self, num_bytes: int, *, timeout_seconds: float) -> bytes:
        """Return up to the next `num_bytes`, b"" at the end.

        Raises:
            StorageError: the store failed or took longer than `timeout_seconds` (remote stores only).
        """
        with translated():
            return self._read(num_bytes, timeout_seconds)

    def close(self) -> None:
        """Let go of the file or connection; never raises."""
        with suppress(Exception):
            self._close()


@contextmanager
def open_reader(uri: str, *, timeout_seconds: float, part: Part | None = None) -> Iterator[Reader]:
    """Open one object for reading; the key is taken literally, `?versionId=` included.

    Args:
        uri: of the object.
        timeout_seconds: for the store to answer.
        part: where to go on, where the store allows it and the object is still the same; elsewhere, and with
            None, reading begins at the start.

    Raises:
        StorageError: it cannot be opened, is a directory, or is a FIFO, device or socket.
    """
    with translated():
        resumable = _RESUMABLE_READERS.get(scheme_of(uri))
        if resumable is not None:
            reader = resumable(uri, timeout_seconds, part)
        else:
            reader = (_local_reader if scheme_of(uri) == "file" else _generic_reader)(uri, timeout_seconds)
    try:
        yield reader
    finally:
        reader.close()


def read_bytes(uri: str, *, timeout_seconds: float) -> bytes:
    """The whole content of one object that fits into memory; `timeout_seconds` is for each piece of it.

    Raises:
        StorageError: it cannot be opened or read.
    """
    with open_reader(uri, timeout_seconds=timeout_seconds) as reader:
        return b"".join(iter(lambda: reader.read(PIECE_BYTES, timeout_seconds=timeout_seconds), b""))


def version_parts(uri: str, *, timeout_seconds: float) -> tuple[object, ...] | None:
    """What changes when the bytes at the URI do, from one cheap question; None where the store does not say.

    Raises:
        StorageError: the store refused, failed or did not answer.
    """
    with translated():
        scheme = scheme_of(uri)
        if scheme == "file":
            status = _stat_regular(absolute(local_path(uri)))
            return status.st_size, status.st_mtime_ns
        if scheme in WEB_SCHEMES:
            return _web_version_parts(uri, timeout_seconds)
        fs, path = open_filesystem(uri)
        if scheme == "s3":
            head = fs.call_s3("head_object", **_bucket_and_key(path), timeout=timeout_seconds)
            return head.get("VersionId"), head["ETag"], head["ContentLength"]
        return _known_parts(fs.info(path))


def _web_version_parts(uri: str, timeout_seconds: float) -> tuple[object, ...] | None:
    from operators import web  # noqa: PLC0415  # half a second that local runs need not spend

    response = web.request("HEAD", uri, timeout_seconds=timeout_seconds)
    _close(response)
    _require_success(response)
    return _known_parts(dict(response.headers))


def _known_parts(facts: dict[str, Any]) -> tuple[object, ...] | None:
    """Whatever of a store's facts tells versions apart; a size alone does not."""
    known = [(name, str(facts[name])) for name in _VERSION_NAMES if facts.get(name)]
    sizes = [(name, str(facts[name])) for name in ("Content-Length", "size") if name in facts]
    return (*known, *sizes) if known else None


def _local_reader(uri: str, _timeout_seconds: float) -> Reader:
    path = absolute(local_path(uri))
    _stat_regular(path)  # before opening, as opening a device can itself do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size_bytes = _require_regular(os.fstat(descriptor)).st_size
    except StorageError:
        os.close(descriptor)
        raise
    return Reader(lambda count, _: os.read(descriptor, count), lambda: os.close(descriptor), size_bytes)


def _s3_reader(uri: str, timeout_seconds: float, part: Part | None) -> Reader:
    # One streamed GET. The library's own file object would ask HEAD first, then read ranges of 50 MB, and
    # would cut a key at "?versionId=".
    fs, path = open_filesystem(uri)
    condition = {} if part is None else {"Range": f"bytes={part.start}-", "IfMatch": part.etag}
    try:
        answer = fs.call_s3("get_object", **_bucket_and_key(path), **condition, timeout=timeout_seconds)
    except OSError as error:
        if part is None or error.errno != errno.EINVAL:  # as the library calls 412 and 416
            raise
        return _s3_reader(uri, timeout_seconds, None)
    body = answer["Body"]
    start = 0 if part is None else _range_start(answer.get("ContentRange"), answer.get("ETag"), part)
    if start is None:
        sync(fs.loop, _call, body.close, timeout=CONNECT_SECONDS)
        return _s3_reader(uri, timeout_seconds, None)
    length = answer.get("ContentLength")
    return Reader(
        lambda count, timeout: bytes(sync(fs.loop, _fill, body.read, count, timeout=timeout)),
        lambda: sync(fs.loop, _call, body.close, timeout=CONNECT_SECONDS),
        None if length is None else start + length,
        start=start,
        etag=answer.get("ETag"),
    )


def _web_reader(uri: str, timeout_seconds: float, part: Part | None) -> Reader:
    from operators import web  # noqa: PLC0415  # half a second that local runs need not spend

    # A server whose object has changed sends all of it (RFC 9110, section 13.1.5).
    condition = {} if part is None else {"Range": f"bytes={part.start}-", "If-Range": part.etag}
    response = web.request("GET", uri, headers=condition, timeout_seconds=timeout_seconds)
    etag, length = response.headers.get("ETag"), response.content_length
    start: int | None = 0
    if response.status == HTTP_PARTIAL and part is not None:
        start = _range_start(response.headers.get("Content-Range"), etag, part)
    if start is None or (response.status == HTTP_RANGE_NOT_SATISFIABLE and part is not None):
        _close(response)
        return _web_reader(uri, timeout_seconds, None)
    _require_success(response)
    return Reader(
        lambda count, timeout: bytes(sync(get_loop(), _fill, response.content.read, count, timeout=timeout)),
        lambda: _close(response),
        None if length is None else start + length,
        start=start,
        etag=None if etag is None or etag.startswith("W/") else etag,  # a weak one may outlive the bytes
    )


def _require_success(response: Any) -> None:
    """Refuse every other answer, a redirect that names no place among them, and let go of it."""
    if not 200 <= response.status < 300:
        _close(response)
        response.raise_for_status()
        raise StorageError("failed", f"HTTP {response.status}")


def _close(response: Any) -> None:
    sync(get_loop(), _call, response.close, timeout=CONNECT_SECONDS)


def _range_start(content_range: str | None, etag: str | None, part: Part) -> int | None:
    """Return where an answer to a conditional range begins; None where it is none that was asked for."""
    if content_range is None:
        return 0  # the whole object, from a store that knows no ranges
    is_same = etag in {None, part.etag} and content_range.startswith(f"bytes {part.start}-")
    return part.start if is_same else None


def _generic_reader(uri: str, _timeout_seconds: float) -> Reader:
    fs, path = open_filesystem(uri)
    file = fs.open(path, "rb")
    return Reader(lambda count, _: bytes(file.read(count)), file.close, getattr(file, "size", None))


_RESUMABLE_READERS = {"s3": _s3_reader, "http": _web_reader, "https": _web_reader}


async def _fill(read: Callable[[int], Awaitable[bytes]], num_bytes: int) -> bytearray:
    """Gather the few kilobytes each network read returns, so that threads meet once a piece."""
    piece = bytearray()
    while len(piece) < num_bytes and (more := await read(num_bytes - len(piece))):
        piece += more
    return piece


async def _call(close: Callable[[], object]) -> None:
    close()


def _stat_regular(path: str) -> os.stat_result:
    return _require_regular(os.stat(path))  # noqa: PTH116  # Path would not keep every name as it is


def _require_regular(status: os.stat_result) -> os.stat_result:
    if stat.S_ISREG(status.st_mode):
        return status
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
    raise StorageError("not_a_file", f"it is {kind}, not a regular file")


def _bucket_and_key(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    if not bucket or not key:
        raise StorageError("not_a_file", "it is a directory (a whole bucket), not an object")
    return {"Bucket": bucket, "Key": key}
