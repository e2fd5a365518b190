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
    "absolute_uri",
    "as_text",
    "authority_of",
    "join",
    "local_path",
    "redact",
    "request_target",
    "scheme_of",
    "sent_on",
    "without_user",
]

WEB_SCHEMES = frozenset({"http", "https"})

_FILE_BYTES = "file+bytes"  # of a local path that is not UTF-8: its bytes, percent-encoded
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_NO_REQUEST_HOLDS = re.compile(rb"[^!-~]")  # white space, controls, bytes above ASCII


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

    A local result is an absolute plain path. A remote one never climbs above its bucket or host. On the web
    a name may have a query, which stays as it is.
    """
    if scheme_of(base) == "file":
        return absolute(posixpath.join(absolute(local_path(base)), name))
    prefix, _, folder = base.partition("://")
    root, _, folder = folder.partition("/")
    folders = [part for part in folder.rstrip("/").split("/") if folder]
    name, mark, query = name.partition("?") if scheme_of(base) in WEB_SCHEMES else (name, "", "")
    return "/".join([f"{prefix}://{root}", *_climbed(folders, name)]) + mark + query


def _climbed(folders: list[str], name: str) -> list[str]:
    """The parts of the path that `name` means as a reference from within `folders`."""
    parts = list(folders)
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part != ".":
            parts.append(part)
    return parts


def absolute(path: str) -> str:
    """The absolute form of a local path, without `.`, `..` and repeated slashes."""
    if not path.startswith("/"):
        path = posixpath.join(os.getcwd(), path)  # noqa: PTH109
    path = posixpath.normpath(path)
    return "/" + path.lstrip("/")  # normpath keeps two slashes at the front, which name the same file here


def absolute_uri(uri: str) -> str:
    """The URI as it is understood from any folder: of a local path its absolute form, as text."""
    return as_text(absolute(local_path(uri))) if scheme_of(uri) == "file" else uri


def without_user(uri: str) -> str:
    """The URI with a lower-case scheme and nothing before an `@` in its bucket or host."""
    authority, rest = _split(uri)
    return f"{scheme_of(uri)}://{authority.rpartition('@')[2]}{rest}"


def request_target(uri: str) -> str:
    """Path and query of a web URI as a request line holds them: nothing is decoded, encoded anew or ordered.

    Only what a request line cannot hold is percent-encoded, as UTF-8.
    """
    rest = _split(uri)[1].partition("#")[0]
    target = (rest if rest.startswith("/") else f"/{rest}").encode(errors="surrogateescape")
    return _NO_REQUEST_HOLDS.sub(lambda found: b"%%%02X" % ord(found[0]), target).decode()


def sent_on(uri: str, location: str) -> str:
    """The URI that a web server's `Location` means (RFC 3986, section 5.2), as given where it can be."""
    location = location.partition("#")[0]
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", location):
        return location
    if location.startswith("//"):
        return f"{scheme_of(uri)}:{location}"
    if not location:
        return uri
    authority, rest = _split(uri)
    name, mark, query = location.partition("?")
    if not location.startswith("/"):
        path = rest.partition("#")[0].partition("?")[0]
        name = "/" + "/".join(_climbed(path.split("/")[1:-1], name)) if name else path
    return f"{scheme_of(uri)}://{authority}{name}{mark}{query}"


def _split(uri: str) -> tuple[str, str]:
    """The authority of a remote URI, user-info included, and everything after it."""
    after = uri.split("://", 1)[1]
    end = re.search(r"[/?#]", after)
    return (after[: end.start()], after[end.start() :]) if end else (after, "")
