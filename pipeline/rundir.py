"""Owns the layout of a run directory, local or remote, and the order in which its files appear.

OUTPUT/
  report/*.parquet      the current report, one row per manifest row
  run.json              written last: a reader trusts the report only beside it
  generations/0001/     earlier reports with their run.json
  checkpoint/ids/       what Ray Data has committed
  checkpoint/rows/      the rows it has committed, whatever generation they belong to
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from operators.schema import ROW_KEY, texts
from operators.storage import StorageError, join, open_filesystem, redact
from securevqa_core.errors import OutputError

__all__ = ["RunDirectory"]

_COMMITTED = ".parquet"
_PENDING = ".pending.parquet"


class RunDirectory:
    """The output location of a scoring run."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            self._fs, self._root = open_filesystem(uri)
        except StorageError as error:
            raise OutputError(f"output {redact(uri)!r} cannot be opened: {error}") from error
        self._root = self._root.rstrip("/")

    @property
    def arrow_filesystem(self) -> pafs.FileSystem:
        """The same store as pyarrow sees it; paths are `path(...)`."""
        if "file" in self._fs.protocol:
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
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(probe, b"securevqa")
            self._fs.rm_file(probe)
        except Exception as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise OutputError(f"output {self.shown()!r} cannot be written: {reason}") from error

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

    def committed_keys(self) -> set[str]:
        """Return the row keys that Ray Data has committed."""
        files = [name for name in self._list("checkpoint", "ids") if not name.endswith(_PENDING)]
        keys: set[str] = set()
        for name in files:
            table = pq.read_table(name, filesystem=self.arrow_filesystem, columns=[ROW_KEY])
            keys.update(texts(table, ROW_KEY))
        return keys

    def row_files(self) -> list[str]:
        """Return the paths of all committed row files."""
        return self._list("checkpoint", "rows")

    def write_report_file(self, table: pa.Table, number: int) -> str:
        """Write one file of the report; returns its name below the run directory."""
        name = f"report-{number:05d}.parquet"
        self._fs.makedirs(self.path("report"), exist_ok=True)
        pq.write_table(table, self.path("report", name), filesystem=self.arrow_filesystem, compression="zstd")
        return f"report/{name}"

    def last_generation(self, run: dict[str, Any] | None) -> int:
        """Return the number of the latest report, current or archived; 0 where there is none."""
        try:
            names = self._fs.ls(self.path("generations"), detail=False)
        except FileNotFoundError:
            names = []
        archived = [int(name.rstrip("/").rpartition("/")[2]) for name in names]
        return max([*archived, run["generation"] if run else 0], default=0)

    def archive_report(self, run: dict[str, Any]) -> None:
        """Copy the current report to generations/ and withdraw it, safe to repeat after an interruption."""
        home = f"generations/{run['generation']:04d}"
        self._fs.makedirs(self.path(home, "report"), exist_ok=True)
        for name in run["files"]:
            self._fs.cp_file(self.path(name), self.path(home, name))
        self.write_json(run, home, "run.json")
        self._fs.rm_file(self.path("run.json"))  # until the next one there is no report to trust

    def clear_report(self) -> None:
        """Remove the files of a withdrawn or unfinished report."""
        for path in self._list("report"):
            self._fs.rm_file(path)

    def write_json(self, content: dict[str, Any], *names: str) -> None:
        """Write JSON under a temporary name, then rename."""
        target = self.path(*names)
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        self._fs.pipe_file(temporary, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")
        self._fs.mv(temporary, target)

    def _list(self, *names: str) -> list[str]:
        try:
            found = self._fs.find(self.path(*names))
        except FileNotFoundError:
            return []
        return sorted(path for path in found if path.endswith(_COMMITTED))
