"""Owns fsspec's filesystems: one for each scheme, built from the scheme and the environment alone.

fsspec's own URL language (chains with `::`, credentials and options inside the URL) is never used, and names
are taken literally.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from typing import Any

import fsspec

from operators.storage_errors import StorageError, translated
from operators.uris import WEB_SCHEMES, absolute, local_path, scheme_of, without_user

__all__ = ["CONNECT_SECONDS", "READ_SECONDS", "open_filesystem"]

CONNECT_SECONDS = 5
READ_SECONDS = 30
S3_RETRIES = 2
S3_CONNECTIONS = 64  # botocore's 10 would throttle a pool of 32 threads

# Schemes that read through another store or out of an archive: one half of a chain, or the working directory.
_CACHES = frozenset({"blockcache", "cached", "filecache", "simplecache"})
_ARCHIVES = frozenset({"dir", "git", "jar", "libarchive", "reference", "tar", "zip"})
_WRAPPERS = _CACHES | _ARCHIVES | {"async_wrapper", "generic"}
_ENVIRONMENT = {"s3": ("AWS_",), "gs": ("GOOGLE_", "GCSFS_"), "az": ("AZURE_",)}


def open_filesystem(uri: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URI's scheme, and the path of the URI in it.

    Credentials and endpoints come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...) as it is at
    the time of the call, never from the URI. Listings are never cached. Instances are shared between threads.

    Raises:
        StorageError: the scheme is unknown, needs a package that is not installed, or cannot stand alone.
    """
    scheme = scheme_of(uri)
    path = absolute(local_path(uri)) if scheme == "file" else without_user(uri)
    if scheme not in WEB_SCHEMES and scheme != "file":
        path = path.split("://", 1)[1]
    with _instances_lock:  # else every thread of a pool would build a client of its own
        return _instance(scheme, _environment_digest(scheme), os.getpid()), path


def _environment_digest(scheme: str) -> str:
    """Changes when the environment names other credentials or another endpoint for this scheme."""
    prefixes = _ENVIRONMENT.get(scheme, ())
    seen = sorted(pair for pair in os.environ.items() if prefixes and pair[0].startswith(prefixes))
    return hashlib.sha256(repr(seen).encode("utf-8", "surrogateescape")).hexdigest()


_instances_lock = threading.Lock()


@functools.lru_cache(maxsize=16)
def _instance(scheme: str, _environment: str, _pid: int) -> Any:
    if scheme in _WRAPPERS:
        raise StorageError("failed", f"scheme {scheme!r} cannot stand alone")
    with translated():
        try:
            fs = fsspec.filesystem(scheme, skip_instance_cache=True, **_options(scheme))
        except (ImportError, TypeError, ValueError) as error:
            message = f"scheme {scheme!r} is unknown or needs a package that is not installed"
            raise StorageError("failed", message) from error
    if scheme == "s3":
        fs.retries = 1  # botocore retries already; both together take minutes when the endpoint is down
    return fs


def _options(scheme: str) -> dict[str, Any]:
    if scheme == "s3":
        retries = {"max_attempts": S3_RETRIES}
        times = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        config = {**times, "retries": retries, "max_pool_connections": S3_CONNECTIONS}
        return {"use_listings_cache": False, "config_kwargs": config}
    return {} if scheme == "file" else {"use_listings_cache": False}
