"""Owns a folder, local or in a store: its files are there as a whole or not at all, and it is asked again."""

from __future__ import annotations

import contextlib
import functools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from pyarrow import fs as pafs

from operators.storage import StorageError, join, open_filesystem, redact, scheme_of, storage_error
from securevqa_core.errors import ConfigurationError, OutputError, SecureVqaError
from securevqa_core.files import whole_file

__all__ = ["StoredFolder", "asked_again", "json_bytes"]

FIRST_PAUSE_SECONDS = 0.5  # before a store is asked again; doubled every time
_GLOB_CHARACTERS = "*?[]"  # which the library would expand in a name
_Method = TypeVar("_Method", bound=Callable[..., Any])


def asked_again(method: _Method) -> _Method:
    """Ask a store again that may answer in a moment; turn what it raises into an OutputError.

    For methods that may be done twice.
    """

    @functools.wraps(method)
    def translated(self: StoredFolder, *arguments: Any, **options: Any) -> Any:
        started, pause_seconds = time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            try:
                return method(self, *arguments, **options)
            except SecureVqaError:
                raise
            except Exception as error:
                reason = storage_error(error)
                ends = time.monotonic() + pause_seconds - started
                if not reason.transient or ends > self.patience_seconds:
                    what = method.__name__.replace("_", " ").strip()
                    message = f"output {self.shown()!r}: {what} failed: {reason}"
                    raise OutputError(message) from error
            time.sleep(pause_seconds)
            pause_seconds *= 2

    return cast("_Method", translated)


def json_bytes(content: dict[str, Any]) -> bytes:
    """Return a JSON file as people can read it, the same for the same content."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _always() -> None:
    """Allow every write: to a place that is not locked."""


class StoredFolder:
    """A folder of an output.

    Args:
        uri: of the location.
        patience_seconds: how long a store that does not answer is asked again, where a run hangs on it.
    """

    def __init__(self, uri: str, *, patience_seconds: float = 0) -> None:
        if not uri:
            raise ConfigurationError("output must not be empty, got ''")
        is_remote = scheme_of(uri) != "file"
        if is_remote and set(uri) & set(_GLOB_CHARACTERS):
            raise ConfigurationError(f"output must not hold any of {_GLOB_CHARACTERS}, got {redact(uri)!r}")
        self.uri = uri
        self.patience_seconds = patience_seconds
        self._is_remote = is_remote
        self._require_held: Callable[[], None] = _always
        try:
            self._fs, self._root = open_filesystem(uri)
        except StorageError as error:
            raise OutputError(f"output {redact(uri)!r} cannot be opened: {error}") from error
        self._root = self._root.rstrip("/")

    @contextlib.contextmanager
    def fenced(self, require_held: Callable[[], None]) -> Iterator[None]:
        """Call `require_held`, which may refuse, before each write and removal in the block."""
        self._require_held = require_held
        try:
            yield
        finally:
            self._require_held = _always

    @property
    def arrow_filesystem(self) -> pafs.FileSystem:
        """The same store as pyarrow sees it; paths are `path(...)`."""
        if not self._is_remote:
            return pafs.LocalFileSystem()
        return pafs.PyFileSystem(pafs.FSSpecHandler(self._fs))  # type: ignore[abstract]  # stubs only

    def path(self, *names: str) -> str:
        """Return the path of a file or folder in `arrow_filesystem`."""
        return "/".join([self._root, *names])

    def shown(self, *names: str) -> str:
        """Return the same as a URI for people."""
        return redact(join(self.uri, "/".join(names)) if names else self.uri)

    def require_store(self) -> None:
        """Refuse what takes no files, whatever is there.

        Raises:
            ConfigurationError: it is a web server.
        """
        if scheme_of(self.uri) in {"http", "https"}:
            raise ConfigurationError(f"output must be a folder or a store's, got {self.shown()!r}")

    def require_writable(self) -> None:
        """Write and remove a small object.

        Raises:
            ConfigurationError: web servers take no files.
            OutputError: that fails.
        """
        self.require_store()
        probe = self.path(f".probe-{uuid.uuid4().hex}")
        try:
            self._make_folder()
            self._fs.pipe_file(probe, b"securevqa")
            self._fs.rm_file(probe)
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(storage_error(error))
            raise OutputError(f"output {self.shown()!r} cannot be written: {reason}") from error

    @asked_again
    def folders(self, *names: str) -> list[str]:
        """Return the names of the folders below a folder, sorted; none where it is not there."""
        return self._entries("directory", *names)

    @asked_again
    def files(self, *names: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none where it is not there."""
        return self._entries("file", *names)

    def write_json(self, content: dict[str, Any], *names: str) -> None:
        """Write a JSON file that is there as a whole or not at all."""
        self.write_file(json_bytes(content), *names)

    @asked_again
    def write_file(self, content: bytes, *names: str) -> None:
        """Write a file that is there as a whole or not at all."""
        target = self.path(*names)
        self._require_held()
        if self._is_remote:
            self._fs.pipe_file(target, content)
            return
        self._make_folder(*"/".join(names).split("/")[:-1])
        with whole_file(Path(target)) as part:
            part.write_bytes(content)

    @asked_again
    def read_file(self, *names: str) -> bytes | None:
        """Return the content of a file, None where there is none."""
        try:
            return bytes(self._fs.cat_file(self.path(*names)))
        except FileNotFoundError:
            return None

    @asked_again
    def copy_file(self, source: str, target: str) -> None:
        """Copy a file; where this is interrupted, what is there must not be trusted."""
        self._make_folder(*target.split("/")[:-1])
        self._require_held()
        self._fs.cp_file(self.path(source), self.path(target))

    @asked_again
    def remove_file(self, *names: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if self._fs.exists(self.path(*names)):
            self._remove(self.path(*names))

    def _remove(self, path: str) -> None:
        self._require_held()
        self._fs.rm_file(path)

    def _make_folder(self, *names: str) -> None:
        if not self._is_remote:  # object stores have none, and the library would make a bucket for a typo
            self._fs.makedirs(self.path(*names) if names else self._root, exist_ok=True)

    def _entries(self, kind: str, *names: str) -> list[str]:
        try:
            entries = self._fs.ls(self.path(*names), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == kind)

    def _sizes(self, *names: str, suffix: str) -> dict[str, int]:
        """Return the size in bytes of every file below a folder, by path."""
        try:
            entries = self._fs.find(self.path(*names), detail=True)
        except FileNotFoundError:
            return {}
        return {path: int(info["size"]) for path, info in entries.items() if path.endswith(suffix)}
