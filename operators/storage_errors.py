"""Owns sorting what the stores' libraries raise into a few kinds, without repeating their texts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

__all__ = ["FailureKind", "StorageError", "storage_error", "translated"]

FailureKind = Literal["not_found", "denied", "unreachable", "redirect_refused", "not_a_file", "failed"]

_NOT_FOUND_ERRNOS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
_TRANSIENT_ERRNOS = frozenset({errno.EREMOTEIO, errno.EBUSY, errno.EIO, errno.ESTALE, errno.EAGAIN})
# Named, not imported: botocore and aiohttp take a second to load and a run over local files needs neither.
_UNREACHABLE_NAMES = frozenset(
    {
        "ConnectionError",  # the interpreter's and botocore's
        "TimeoutError",
        "gaierror",
        "HTTPClientError",  # botocore: no connection, time out, connection or proxy lost
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",  # aiohttp: the body ended early
    }
)
_DENIED_NAMES = frozenset(
    {
        "PermissionError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "SSOError",
    }
)
_CREDENTIALS_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError"})
_CREDENTIALS_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL where the store is not Amazon's"
)


class StorageError(Exception):
    """A store refused, failed or did not answer; the text holds no secret.

    `kind` says in which way, `transient` whether the same call may succeed in a moment.
    """

    def __init__(self, kind: FailureKind, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.kind: FailureKind = kind
        self.transient = transient


@contextmanager
def translated() -> Iterator[None]:
    """Turn whatever a store's library raises into a `StorageError` chained to it."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise storage_error(error) from error


def storage_error(error: Exception) -> StorageError:
    """Sort a foreign error by kind; its own text may hold secrets, so only type, status or errno are told."""
    names = {one.__name__ for one in type(error).__mro__}
    status = getattr(error, "status", None)
    number = error.errno if isinstance(error, OSError) else None
    reason = type(error).__name__
    if isinstance(status, int):
        reason = f"HTTP {status}"
    elif number is not None:
        reason = os.strerror(number)
    elif names & _CREDENTIALS_NAMES:
        reason = f"{reason}: {_CREDENTIALS_HINT}"
    if names & _DENIED_NAMES or status in {401, 403}:
        return StorageError("denied", reason)
    if isinstance(error, FileNotFoundError) or status in {404, 410} or number in _NOT_FOUND_ERRNOS:
        return StorageError("not_found", reason)
    if names & _UNREACHABLE_NAMES or status in {408, 504}:
        return StorageError("unreachable", reason, transient=True)
    if number == errno.EISDIR:
        return StorageError("not_a_file", reason)
    transient = status == 429 or (isinstance(status, int) and status >= 500) or number in _TRANSIENT_ERRNOS
    return StorageError("failed", reason, transient=transient)
