"""Owns finding videos below a directory or by a glob, local or in a store."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from operators import storage
from pipeline.manifests.sorting import HEAD_BYTES, is_named_as_video, may_be_video
from securevqa_core.errors import ManifestError

__all__ = ["Listing", "list_videos"]

_MAGIC = re.compile(r"[*?\[]")
STAT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is below a directory, or matches a glob."""

    uris: list[str]  # of the videos, sorted
    others: list[str]  # of files that are something else, sorted


def list_videos(location: str, *, has_manifest_suffix: bool) -> Listing | None:
    """The files below a directory or matching a glob, hidden ones left out; None where it is a file.

    Symbolic links to directories are not followed, as they can form a circle.

    Raises:
        ManifestError: nothing is there, or it cannot be listed.
    """
    if storage.scheme_of(location) == "file":
        return _list_local(storage.join(".", storage.local_path(location)))
    try:
        return _list_remote(location, has_manifest_suffix=has_manifest_suffix)
    except storage.StorageError as error:
        message = (
            f"manifest {storage.redact(location)!r} cannot be listed: {error.kind.replace('_', ' ')}, {error}"
        )
        raise ManifestError(message) from error


def _sorted(uris: list[str], heads: Mapping[str, bytes | None]) -> Listing:
    """Tell videos from other files by their names, else by what `heads` holds of them."""
    listing = Listing(uris=[], others=[])
    for uri in sorted(uris):
        (listing.uris if may_be_video(uri, lambda uri=uri: heads.get(uri)) else listing.others).append(uri)  # type: ignore[misc]
    return listing


def _list_local(path: str) -> Listing | None:
    if os.path.isdir(path):  # noqa: PTH112  # Path would not keep every name as it is
        return _sorted_local(_walk(path))
    if os.path.lexists(path):
        return None
    if not _MAGIC.search(path):
        raise ManifestError(f"no such manifest: {path!r}")
    paths = glob.glob(path, recursive=True)  # noqa: PTH207
    return _sorted_local([one for one in paths if not os.path.isdir(one)])  # noqa: PTH112


def _sorted_local(paths: list[str]) -> Listing:
    return _sorted(paths, {one: _head(one) for one in paths if not is_named_as_video(one)})


def _head(path: str) -> bytes | None:
    """The first bytes of a regular file; None of anything else, and where it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return None
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(HEAD_BYTES)
    except OSError:
        return None


def _walk(folder: str) -> list[str]:
    paths: list[str] = []
    for here, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [os.path.join(here, name) for name in files if not name.startswith(".")]  # noqa: PTH118
    return paths


def _refuse_folder(error: OSError) -> NoReturn:
    # Leaving out what cannot be listed would lose videos in silence.
    raise ManifestError(f"directory {error.filename!r} cannot be listed: {error.strerror}") from error


def _list_remote(location: str, *, has_manifest_suffix: bool) -> Listing | None:
    scheme, public_location = storage.scheme_of(location), storage.redact(location)
    is_web = scheme in {"http", "https"}
    is_glob = not is_web and _MAGIC.search(location) is not None
    if has_manifest_suffix and (is_web or _is_there(location)):
        return None
    if is_web:
        raise ManifestError(
            f"manifest {public_location!r}: {scheme} has no directories or globs, name a manifest file"
        )
    fs, path = storage.open_filesystem(location)
    with storage.translated():
        entries = fs.glob(path, detail=True) if is_glob else fs.find(path, detail=True)
    names = [name for name, info in entries.items() if info["type"] == "file" and not name.endswith("/")]
    if names == [path] or (has_manifest_suffix and not names and not is_glob):
        return None
    root = _MAGIC.split(path)[0].rpartition("/")[0] if is_glob else path
    shown = [name for name in names if not _is_hidden(name[len(root) :], path)]
    asked = [name for name in shown if not is_named_as_video(name)]
    heads = dict(zip(asked, _remote_heads(fs, asked), strict=True))
    found = _sorted(shown, heads)
    uris, others = ([f"{scheme}://{name}" for name in part] for part in (found.uris, found.others))
    return Listing(uris=uris, others=others)


def _remote_heads(fs: Any, paths: list[str]) -> list[bytes | None]:
    """The first bytes of objects, asked for together; None where they cannot be read."""
    if not paths:
        return []
    answers = fs.cat_ranges(paths, [0] * len(paths), [HEAD_BYTES] * len(paths), on_error="return")
    return [one if isinstance(one, bytes) else None for one in answers]


def _is_there(location: str) -> bool:
    try:
        storage.version_parts(location, timeout_seconds=STAT_SECONDS)
    except storage.StorageError as error:
        if error.kind == "not_found":
            return False
        raise
    return True


def _is_hidden(below: str, pattern: str) -> bool:
    """Whether a part starts with a dot, unless the pattern itself asks for such parts, as in a shell."""
    return "/." in f"/{below}" and "/." not in pattern
