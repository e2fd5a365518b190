"""Owns finding videos below a directory or by a glob, local or in a store."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute

from operators import storage
from pipeline.manifests.bucket import MAGIC, BucketFolder, is_hidden, root_of
from pipeline.manifests.formats import suffix_of
from pipeline.manifests.sorting import HEAD_BYTES, is_named_as_video, may_be_video
from securevqa_core.errors import ManifestError

__all__ = ["Listing", "is_folder_of_videos", "list_videos", "walk_videos"]

STAT_SECONDS = 30.0
_NAMES_AT_ONCE = 10_000
pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type


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
    with _refused(location):
        return _list_remote(location, has_manifest_suffix=has_manifest_suffix)


@contextlib.contextmanager
def _refused(location: str) -> Iterator[None]:
    """Say which location a store does not list."""
    try:
        yield
    except storage.StorageError as error:
        message = (
            f"manifest {storage.redact(location)!r} cannot be listed: {error.kind.replace('_', ' ')}, {error}"
        )
        raise ManifestError(message) from error


def is_folder_of_videos(location: str) -> bool:
    """Tell whether a location is a folder, on a disk or on S3, that can be no table in parts, by its names.

    Raises:
        ManifestError: it cannot be listed.
    """
    if suffix_of(location.rstrip("/")):
        return False
    with _refused(location):
        if (below := _bucket_folder(location)) is not None:
            return _hold_videos(below.names(), root_of(below.path))
    path = storage.join(".", storage.local_path(location))
    is_folder = storage.scheme_of(location) == "file" and os.path.isdir(path)  # noqa: PTH112  # as it is
    return is_folder and _hold_videos(_in_order(path), path)


def _hold_videos(names: Iterator[str], root: str) -> bool:
    return any(not suffix_of(one) and "/_" not in one[len(root) :] for one in names)


def _bucket_folder(location: str) -> BucketFolder | None:
    return BucketFolder.of(location) if storage.scheme_of(location) == "s3" else None


def walk_videos(location: str, *, others: list[str], num_uris: int) -> Iterator[list[str]]:
    """Yield what `list_videos` finds in a folder on a disk or on S3, `num_uris` at a time.

    Args:
        location: for which `is_folder_of_videos` holds.
        others: is given the files that are something else.
        num_uris: held in memory.

    Raises:
        ManifestError: it cannot be listed.
    """
    with tempfile.TemporaryDirectory(prefix="securevqa-listing-") as folder, _refused(location):
        if (below := _bucket_folder(location)) is None:
            paths = _in_order(storage.join(".", storage.local_path(location)))
        else:
            paths = below.sorted_names(Path(folder))
        while piece := list(itertools.islice(paths, num_uris)):
            found = _sorted_local(piece) if below is None else _sorted_remote(below.filesystem, "s3", piece)
            others += found.others
            if found.uris:
                yield found.uris


def _in_order(folder: str) -> Iterator[str]:
    """Return the files below a folder, hidden ones left out, in the order that sorting their paths gives.

    a.mp4, a/b.mp4, a0.mp4: a folder comes where its name with a slash belongs. One below that cannot be
    listed stands there itself, as a video that cannot be read: left out it would lose videos in silence.

    Raises:
        ManifestError: the folder cannot be listed.
    """
    return _walked(folder, _sorted_names(_names_in(folder)))


def _walked(folder: str, names: Iterator[str]) -> Iterator[str]:
    for name in names:
        path = os.path.join(folder, name.rstrip("/"))  # noqa: PTH118
        if not name.endswith("/"):
            yield path
            continue
        try:
            below = _in_order(path)
        except ManifestError:
            below = iter([path])
        yield from below


def _names_in(folder: str) -> Iterator[str]:
    """Yield the names in a folder, a slash behind those of folders."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield entry.name
                elif not entry.is_symlink():
                    yield f"{entry.name}/"
    except OSError as error:
        _refuse_folder(error)


def _sorted_names(names: Iterator[str]) -> Iterator[str]:
    """Return names in order; a million in one folder are held as bytes, without an object each."""
    chunks = []
    while piece := list(itertools.islice(names, _NAMES_AT_ONCE)):
        chunks.append(pa.array([name.encode("utf-8", "surrogatepass") for name in piece], pa.large_binary()))
    held = pa.chunked_array(chunks, pa.large_binary())
    order = pc.sort_indices(held)
    starts = range(0, len(order), _NAMES_AT_ONCE)
    pieces: Iterator[list[Any]] = (held.take(order[at : at + _NAMES_AT_ONCE]).to_pylist() for at in starts)
    return (name.decode("utf-8", "surrogatepass") for piece in pieces for name in piece)


def _sorted(uris: list[str], heads: Mapping[str, bytes | None]) -> Listing:
    """Tell videos from other files by their names, else by what `heads` holds of them."""
    listing = Listing(uris=[], others=[])
    for uri in sorted(uris):
        (listing.uris if may_be_video(uri, lambda uri=uri: heads.get(uri)) else listing.others).append(uri)  # type: ignore[misc]
    return listing


def _list_local(path: str) -> Listing | None:
    if os.path.isdir(path):  # noqa: PTH112  # Path would not keep every name as it is
        return _sorted_local(list(_in_order(path)))
    if os.path.lexists(path):
        return None
    if not MAGIC.search(path):
        raise ManifestError(f"no such video or manifest: {path!r}")
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


def _refuse_folder(error: OSError) -> NoReturn:
    raise ManifestError(f"directory {error.filename!r} cannot be listed: {error.strerror}") from error


def _list_remote(location: str, *, has_manifest_suffix: bool) -> Listing | None:
    scheme, public_location = storage.scheme_of(location), storage.redact(location)
    is_web = scheme in {"http", "https"}
    is_glob = not is_web and MAGIC.search(location) is not None
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
    root = root_of(path)
    return _sorted_remote(fs, scheme, [name for name in names if not is_hidden(name[len(root) :], path)])


def _sorted_remote(fs: Any, scheme: str, names: list[str]) -> Listing:
    asked = [name for name in names if not is_named_as_video(name)]
    heads = dict(zip(asked, _remote_heads(fs, asked), strict=True))
    found = _sorted(names, heads)
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
