"""Owns finding videos below a directory or by a glob, local or in a store."""

from __future__ import annotations

import glob
import os
import re
from typing import NoReturn

from operators import storage
from securevqa_core.errors import ManifestError

__all__ = ["list_videos"]

_MAGIC = re.compile(r"[*?\[]")
STAT_SECONDS = 30.0


def list_videos(location: str, *, has_manifest_suffix: bool) -> list[str] | None:
    """The URIs below a directory or matching a glob, sorted, hidden ones left out; None where it is a file.

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


def _list_local(path: str) -> list[str] | None:
    if os.path.isdir(path):  # noqa: PTH112  # Path would not keep every name as it is
        return sorted(_walk(path))
    if os.path.lexists(path):
        return None
    if not _MAGIC.search(path):
        raise ManifestError(f"no such manifest: {path!r}")
    paths = glob.glob(path, recursive=True)  # noqa: PTH207
    return sorted(one for one in paths if not os.path.isdir(one))  # noqa: PTH112


def _walk(folder: str) -> list[str]:
    paths: list[str] = []
    for here, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [os.path.join(here, name) for name in files if not name.startswith(".")]  # noqa: PTH118
    return paths


def _refuse_folder(error: OSError) -> NoReturn:
    # Leaving out what cannot be listed would lose videos in silence.
    raise ManifestError(f"directory {error.filename!r} cannot be listed: {error.strerror}") from error


def _list_remote(location: str, *, has_manifest_suffix: bool) -> list[str] | None:
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
    return sorted(f"{scheme}://{name}" for name in names if not _is_hidden(name[len(root) :], path))


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
