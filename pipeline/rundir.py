"""Owns the layout of a run directory, local or remote, and the order in which its files appear.

OUTPUT/
  report/*.parquet      the current report, one row per manifest row
  run.json              written last: a reader trusts the report only beside it
  generations/0001/     earlier reports with their run.json
  checkpoint/ids/       what Ray Data has committed
  checkpoint/rows/      the rows it has committed, whatever generation they belong to
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from operators.schema import OUTCOME, ROW_KEY, texts
from operators.storage import StorageError, join, open_filesystem, redact, scheme_of, storage_error
from securevqa_core.errors import ConfigurationError, OutputError, SecureVqaError

__all__ = ["RunDirectory"]

_COMMITTED = ".parquet"
_PENDING = ".pending.parquet"
_GLOB_CHARACTERS = "*?[]"  # which the library would expand in a name
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _stored(method: _Method) -> _Method:
    """Turn what the store raises into an OutputError."""

    @functools.wraps(method)
    def translated(self: RunDirectory, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except SecureVqaError:
            raise
        except Exception as error:
            what = method.__name__.replace("_", " ")
            message = f"output {self.shown()!r}: cannot {what}: {storage_error(error)}"
            raise OutputError(message) from error

    return cast("_Method", translated)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(_COMMITTED)


class RunDirectory:
    """The output location of a scoring run."""

    def __init__(self, uri: str) -> None:
        if not uri:
            raise ConfigurationError("output must not be empty, got ''")
        is_remote = scheme_of(uri) != "file"
        if is_remote and set(uri) & set(_GLOB_CHARACTERS):
            raise ConfigurationError(f"output must not hold any of {_GLOB_CHARACTERS}, got {redact(uri)!r}")
        self.uri = uri
        self._is_remote = is_remote
        try:
            self._fs, self._root = open_filesystem(uri)
        except StorageError as error:
            raise OutputError(f"output {redact(uri)!r} cannot be opened: {error}") from error
        self._root = self._root.rstrip("/")

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

    def require_writable(self) -> None:
        """Write and remove a small object.

        Raises:
            OutputError: that fails.
        """
        probe = self.path(f".probe-{uuid.uuid4().hex}")
        try:
            self._make_folder()
            self._fs.pipe_file(probe, b"securevqa")
            self._fs.rm_file(probe)
        except Exception as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise OutputError(f"output {self.shown()!r} cannot be written: {reason}") from error

    @_stored
    def read_run(self) -> dict[str, Any] | None:
        """Return the contents of run.json, None where there is none.

        Raises:
            OutputError: it is there and is not ours.
        """
        try:
            content = self._fs.cat_file(self.path("run.json"))
        except FileNotFoundError:
            return None
        try:
            run: dict[str, Any] = json.loads(content)
            run["generation"] = int(run["generation"])
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self.shown('run.json')!r} is not the run.json of a run") from error
        return run

    @_stored
    def committed_rows(self, columns: Sequence[str], *, keys: Collection[str] | None = None) -> pa.Table:
        """Return columns of the rows that Ray Data has committed, of the newest row where a key has several.

        Args:
            columns: names from `operators.schema.OUTCOME`; `row_key` comes with them.
            keys: the row keys to look for; None for all.
        """
        stems = {_stem(path) for path in self._list("checkpoint", "ids") if not path.endswith(_PENDING)}
        # Ray calls the rows of ids/X.parquet X-0.parquet, ...; other files were being written when it died.
        files = [path for path in self._list("checkpoint", "rows") if _stem(path).rpartition("-")[0] in stems]
        wanted = list(dict.fromkeys([ROW_KEY, "scored_at", *columns]))
        if not files:
            return pa.schema([OUTCOME.field(name) for name in wanted]).empty_table()
        rows = pads.dataset(files, schema=OUTCOME, format="parquet", filesystem=self.arrow_filesystem)
        chosen = None if keys is None else pads.field(ROW_KEY).isin(list(keys))
        table = rows.to_table(columns=wanted, filter=chosen).sort_by("scored_at")
        newest = {key: index for index, key in enumerate(texts(table, ROW_KEY))}
        return table.take(pa.array(newest.values(), pa.int64()))

    @_stored
    def write_report_file(self, table: pa.Table, number: int) -> str:
        """Write one file of the report; returns its name below the run directory."""
        name = f"report-{number:05d}.parquet"
        self._make_folder("report")
        pq.write_table(table, self.path("report", name), filesystem=self.arrow_filesystem, compression="zstd")
        return f"report/{name}"

    @_stored
    def last_generation(self, run: dict[str, Any] | None) -> int:
        """Return the number of the latest report, current or archived; 0 where there is none."""
        try:
            names = self._fs.ls(self.path("generations"), detail=False)
        except FileNotFoundError:
            names = []
        names = [name.rstrip("/").rpartition("/")[2] for name in names]
        archived = [int(name) for name in names if name.isdigit()]
        return max([*archived, run["generation"] if run else 0], default=0)

    @_stored
    def archive_report(self, run: dict[str, Any]) -> None:
        """Copy the current report to generations/ and withdraw it, safe to repeat after an interruption."""
        home = f"generations/{run['generation']:04d}"
        self._make_folder(home, "report")
        for name in run["files"]:
            self._fs.cp_file(self.path(name), self.path(home, name))
        self.write_json(run, home, "run.json")
        self._fs.rm_file(self.path("run.json"))  # until the next one there is no report to trust

    @_stored
    def clear_report(self) -> None:
        """Remove the files of a withdrawn or unfinished report."""
        for path in self._list("report"):
            self._fs.rm_file(path)

    def write_json(self, content: dict[str, Any], *names: str) -> None:
        """Write a JSON file that is there as a whole or not at all."""
        self.write_file((json.dumps(content, indent=2, sort_keys=True) + "\n").encode(), *names)

    @_stored
    def write_file(self, content: bytes, *names: str) -> None:
        """Write a file that is there as a whole or not at all."""
        target = self.path(*names)
        if self._is_remote:
            self._fs.pipe_file(target, content)
            return
        temporary = Path(f"{target}.{uuid.uuid4().hex}.tmp")
        temporary.write_bytes(content)
        temporary.replace(target)

    @_stored
    def remove_file(self, *names: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if self._fs.exists(self.path(*names)):
            self._fs.rm_file(self.path(*names))

    def _make_folder(self, *names: str) -> None:
        if not self._is_remote:  # object stores have none, and the library would make a bucket for a typo
            self._fs.makedirs(self.path(*names) if names else self._root, exist_ok=True)

    def _list(self, *names: str) -> list[str]:
        try:
            found = self._fs.find(self.path(*names))
        except FileNotFoundError:
            return []
        return sorted(path for path in found if path.endswith(_COMMITTED))
