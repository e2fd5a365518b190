"""Owns taking URIs apart and putting them together; every scheme but the web's takes names literally.

    scheme_of("s3://bucket/a.mp4")  ->  "s3"
    scheme_of("/data/a::b #1.mp4")  ->  "file"
    as_text(os.fsdecode(b"/data/\\xff.mp4"))  ->  "file+bytes:///data/%FF.mp4"

URL languages that let a name choose a protocol or a secret (chains with `::`, credentials before an `@`) are
not spoken: names come from uploaders.
"""

from __future__ import annotations

import os
import posixpath
import re
import urllib.parse

__all__ = [
    "WEB_SCHEMES",
    "absolute",
    "as_text",
    "authority_of",
    "join",
    "local_path",
    "redact",
    "scheme_of",
    "without_user",
]

WEB_SCHEMES = frozenset({"http", "https"})

_FILE_BYTES = "file+bytes"  # of a local path that is not UTF-8: its bytes, percent-encoded
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")


def scheme_of(uri: str) -> str:
    """The scheme in lower case, "file" for a plain path (also one that holds `::`, `#`, `?` or `:`)."""
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else "file"
    return "file" if scheme == _FILE_BYTES else scheme


def authority_of(uri: str) -> str:
    """The bucket or host of a URI without user-info, "" for a local path."""
    return "" if scheme_of(uri) == "file" else _split(uri)[0].rpartition("@")[2]


def redact(uri: str) -> str:
    """The URI without user-info, query and (on the web) fragment, for messages; a local path unchanged."""
    if scheme_of(uri) == "file":
        return uri
    if "@" in _split(uri)[1].partition("/")[0]:
        return f"{scheme_of(uri)}://..."  # a secret with ? or # in it: no telling where it ends
    without_query = without_user(uri).partition("?")[0]
    return without_query.partition("#")[0] if scheme_of(uri) in WEB_SCHEMES else without_query


def local_path(uri: str) -> str:
    """The path of a `file` URI or plain path, as it is; `file+bytes` alone is percent-decoded."""
    scheme, _, path = uri.partition("://")
    if not _SCHEME.match(uri):
        return uri
    return os.fsdecode(urllib.parse.unquote_to_bytes(path)) if scheme.lower() == _FILE_BYTES else path


def as_text(path: str) -> str:
    """A local path as a URI that any report can hold: as it is, or its bytes where they are not UTF-8."""
    is_utf8 = path.encode(errors="replace").decode() == path
    return path if is_utf8 else f"{_FILE_BYTES}://{urllib.parse.quote(os.fsencode(path))}"


def join(base: str, name: str) -> str:
    """`name` below the folder `base`, with `.` and `..` resolved as in a relative reference.

    A local result is an absolute plain path. A remote one never climbs above its bucket or host.
    """
    if scheme_of(base) == "file":
        return absolute(posixpath.join(absolute(local_path(base)), name))
    prefix, _, folder = base.partition("://")
    root, _, folder = folder.partition("/")
    parts = [part for part in folder.rstrip("/").split("/") if folder]
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part != ".":
            parts.append(part)
    return "/".join([f"{prefix}://{root}", *parts])


def absolute(path: str) -> str:
    """The absolute form of a local path, without `.`, `..` and repeated slashes."""
    path = posixpath.normpath(posixpath.join(os.getcwd(), path))  # noqa: PTH109
    return "/" + path.lstrip("/")  # normpath keeps two slashes at the front, which name the same file here


def without_user(uri: str) -> str:
    """The URI with a lower-case scheme and nothing before an `@` in its bucket or host."""
    authority, rest = _split(uri)
    return f"{scheme_of(uri)}://{authority.rpartition('@')[2]}{rest}"


def _split(uri: str) -> tuple[str, str]:
    """The authority of a remote URI, user-info included, and everything after it."""
    after = uri.split("://", 1)[1]
    end = re.search(r"[/?#]", after)
    return (after[: end.start()], after[end.start() :]) if end else (after, "")
