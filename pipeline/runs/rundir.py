"""Owns the layout of a run directory, local or remote, and the order in which its files appear.

OUTPUT/
  run.json              the current report: its files, their sizes and digests
  report/               these files, one row per manifest row; for moments others beside them
  generations/0001/     earlier reports with their run.json
  checkpoint/ids/       what Ray Data has committed
  checkpoint/rows/      the rows it has committed, whatever generation they belong to
  checkpoint/lost/      what no worker returned
  checkpoint/call.json  the number of the last call that scored

What lies below checkpoint/ may lie elsewhere instead, where several outputs share it.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from operators.exclusive import exclusive
from operators.schema import CALL, OUTCOME, ROW_KEY
from operators.storage import StorageError, join, open_filesystem, redact, scheme_of, storage_error
from securevqa_core.errors import ConfigurationError, OutputError, SecureVqaError
from securevqa_core.files import whole_file

__all__ = ["ForeignRunError", "RunDirectory", "newest_rows"]

_COMMITTED = ".parquet"
_PENDING = ".pending.parquet"
_LOST = ".json"
_CALL = "call.json"
COMPACT_FILES = 256  # below so many, reading them one by one does not matter
COMPACT_BYTES = 8 << 20  # a file of this size is not worth copying; so much is held while others are
READERS = 16  # threads that read small files
FILES_AT_ONCE = 100  # of which the footers are held, 150 kB each
READ_BYTES = 2 << 20  # of files that are read together: some tens of thousands of rows without embeddings
READ_AHEAD = 4  # files, and batches of each; else memory holds all of them
FIRST_PAUSE_SECONDS = 0.5  # before a store is asked again; doubled every time
_GLOB_CHARACTERS = "*?[]"  # which the library would expand in a name
pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type
_Method = TypeVar("_Method", bound=Callable[..., Any])


class ForeignRunError(OutputError):
    """There is a run.json, and it is something else's."""


def _stored(method: _Method) -> _Method:
    """Ask a store again that may answer in a moment; turn what it raises into an OutputError.

    For methods that may be done twice.
    """

    @functools.wraps(method)
    def translated(self: RunDirectory, *arguments: Any, **options: Any) -> Any:
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


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _always() -> None:
    """Allow every write: to a place that is not locked."""


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(_COMMITTED)


def _grouped(
    commits: dict[str, list[str]], sizes: Mapping[str, int], *, max_bytes: int
) -> Iterator[dict[str, list[str]]]:
    """Yield groups of commits, each of `FILES_AT_ONCE` or `max_bytes`, whichever is reached first."""
    group: dict[str, list[str]] = {}
    for name, paths in commits.items():
        group[name] = paths
        files = [path for paths in group.values() for path in paths]
        if len(files) >= FILES_AT_ONCE or sum(sizes[path] for path in files) >= max_bytes:
            yield group
            group = {}
    if group:
        yield group


def _of_equal_columns(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables, those of equal names and types of columns in one."""
    groups: dict[str, list[pa.Table]] = {}
    for table in tables:
        groups.setdefault(repr([(field.name, str(field.type)) for field in table.schema]), []).append(table)
    for group in groups.values():
        yield pa.concat_tables(group)


def _fit(own: pa.Schema, wanted: Sequence[pa.Field[Any]]) -> bool:
    """Tell whether a file's columns are of the types that are wanted, or absent."""
    return all(own.field(one.name).type == one.type for one in wanted if one.name in own.names)


def _in_order(rows: pa.Table) -> pa.Table:
    """Return rows oldest first: by the call that brought them, within one by the workers' clocks.

    Those of before calls had numbers come first, by the clocks alone.
    """
    calls = pc.fill_null(rows[CALL], 0).to_numpy()
    times = pc.fill_null(rows["scored_at"].cast(pa.int64()), 0).to_numpy()
    return rows.take(np.lexsort((times, calls)))


def newest_rows(rows: pa.Table) -> pa.Table:
    """Return the last row of every row key, of rows oldest first, in their order: the one that counts."""
    numbered = rows.select([ROW_KEY]).append_column("number", pa.array(np.arange(rows.num_rows)))
    newest = numbered.group_by(ROW_KEY).aggregate([("number", "max")])
    return rows.take(newest.sort_by("number_max")["number_max"])


class RunDirectory:
    """The output location of a scoring run, whose rows are `outcome`: a score's columns and any more.

    Args:
        uri: of the location.
        more_columns: of its rows, after those of a score.
        patience_seconds: how long a store that does not answer is asked again, where a run hangs on it.
    """

    def __init__(
        self, uri: str, *, more_columns: Sequence[pa.Field[Any]] = (), patience_seconds: float = 0
    ) -> None:
        if not uri:
            raise ConfigurationError("output must not be empty, got ''")
        is_remote = scheme_of(uri) != "file"
        if is_remote and set(uri) & set(_GLOB_CHARACTERS):
            raise ConfigurationError(f"output must not hold any of {_GLOB_CHARACTERS}, got {redact(uri)!r}")
        self.uri = uri
        self.outcome = pa.schema([*OUTCOME, *more_columns])
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
            ForeignRunError: it is there and is not ours.
        """
        try:
            content = self._fs.cat_file(self.path("run.json"))
        except FileNotFoundError:
            return None
        try:
            run: dict[str, Any] = json.loads(content)
            run["generation"] = int(run["generation"])
        except (ValueError, KeyError, TypeError) as error:
            raise ForeignRunError(f"{self.shown('run.json')!r} is not the run.json of a run") from error
        return run

    @_stored
    def committed_rows(
        self,
        columns: Sequence[str],
        *,
        keys: Collection[str] | pa.ChunkedArray[Any] | None = None,
        where: pads.Expression | None = None,
        newest_only: bool = True,
        groups: Sequence[list[str]] | None = None,
    ) -> pa.Table:
        """Return columns of the rows that were committed, by Ray Data or by `commit`, oldest first.

        Args:
            columns: names from `outcome`; `row_key`, `call` and `scored_at` come with them.
            keys: the row keys to look for; None for all.
            where: what else must hold; None for nothing.
            newest_only: of several rows with one key return the newest.
            groups: of `committed_groups`, where to look; None: in all.
        """
        chosen: Any = where
        if keys is not None:
            texts = keys if isinstance(keys, pa.ChunkedArray) else pa.array(list(keys), pa.string())
            known = pads.field(ROW_KEY).isin(texts)
            chosen = known if where is None else known & where
        table = _in_order(pa.concat_tables(self.committed_parts(columns, where=chosen, groups=groups)))
        return newest_rows(table) if newest_only else table

    def committed_parts(
        self,
        columns: Sequence[str],
        *,
        where: pads.Expression | None = None,
        groups: Sequence[list[str]] | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the rows that were committed, in no order, a part at a time.

        Args:
            columns: as of `committed_rows`, with what comes with them.
            where: which rows; None for all.
            groups: as there.

        Raises:
            OutputError: they cannot be read.
        """
        wanted = list(dict.fromkeys([ROW_KEY, CALL, "scored_at", *columns]))
        yield pa.schema([self.outcome.field(name) for name in wanted]).empty_table()
        for files in self.committed_groups() if groups is None else groups:
            yield self._read_committed_rows(files, wanted, where)

    @_stored
    def committed_groups(self) -> list[list[str]]:
        """Return the files of committed rows in groups that memory holds, until they are rewritten."""
        sizes = self._sizes("checkpoint", "rows")
        groups = _grouped(self._commits(), sizes, max_bytes=READ_BYTES)
        return [[path for paths in group.values() for path in paths] for group in groups]

    @_stored
    def has_commits(self) -> bool:
        """Tell whether any rows were committed here, of whatever kind of run."""
        return bool(self._commits())

    @_stored
    def commit(self, rows: pa.Table, name: str) -> None:
        """Commit rows of `operators.schema.OUTCOME` as Ray Data would; the same name twice is one commit."""
        self._commit([rows], name)

    @_stored
    def compact_commits(self, *, min_files: int = COMPACT_FILES) -> None:
        """Put many small files of committed rows into few, for those who read them next; of columns, all."""
        sizes = self._sizes("checkpoint", "rows")
        small = {
            stem: paths
            for stem, paths in self._commits().items()
            if all(sizes[path] < COMPACT_BYTES for path in paths)
        }
        if sum(map(len, small.values())) < min_files:
            return
        for group in _grouped(small, sizes, max_bytes=COMPACT_BYTES):
            tables = self._tables([path for paths in group.values() for path in paths])
            self._commit(list(_of_equal_columns(tables)), f"compacted-{uuid.uuid4().hex}")
            self._remove_commits(group)

    @_stored
    def forget_commits(self, *, before: datetime.datetime, keep: Collection[str]) -> None:
        """Remove rows that were finished before a moment, save those of some row keys."""
        at, kept = pads.field("scored_at"), pads.field(ROW_KEY).isin(pa.array(list(keep), pa.string()))
        is_old: Any = at.is_valid()
        is_old = is_old & (at < before) & ~kept
        for stem, paths in self._commits().items():
            if not self._dataset(paths).count_rows(filter=is_old):
                continue
            left = [table for one in self._tables(paths) if (table := one.filter(~is_old)).num_rows]
            if left:  # first, as a row that is there twice counts once
                self._commit(left, f"kept-{uuid.uuid4().hex}")
            self._remove_commits({stem: paths})

    @_stored
    def number_call(self, *, after: int = 0) -> int:
        """Return a number that no call before has had, above `after`, for those who come to remember."""
        content = self.read_file("checkpoint", _CALL)
        last = 0 if content is None else int(json.loads(content)["call"])
        number = max(last, after) + 1
        self.write_json({"call": number}, "checkpoint", _CALL)
        return number

    @_stored
    def record_lost(self, keys: Collection[str], *, name: str | None = None) -> None:
        """Record that these rows were tried and no worker returned them; the same name twice counts once."""
        self._make_folder("checkpoint", "lost")
        content = json.dumps(sorted(keys)).encode()
        self.write_file(content, "checkpoint", "lost", name or f"{uuid.uuid4().hex}{_LOST}")

    @_stored
    def lost_rows(self) -> dict[str, list[str]]:
        """Return what `record_lost` has recorded, by name."""
        paths = self._sizes("checkpoint", "lost", suffix=_LOST)
        return {path.rpartition("/")[2]: json.loads(self._fs.cat_file(path)) for path in sorted(paths)}

    @_stored
    def folders(self, *names: str) -> list[str]:
        """Return the names of the folders below a folder, sorted; none where it is not there."""
        return self._entries("directory", *names)

    @_stored
    def files(self, *names: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none where it is not there."""
        return self._entries("file", *names)

    @_stored
    def write_run(self, run: dict[str, Any], *, last: dict[str, Any] | None) -> None:
        """Write run.json, if it still is as `read_run` gave it to this writer.

        Args:
            run: what it says from now on; differs from every other.
            last: what it said; None where there was none.

        Raises:
            OutputError: another writer has written it since, or removed it.
        """
        content = _json(run)
        place = exclusive(join(self.uri, "run.json"))
        self._require_held()
        seen = place.read()
        is_as_last_seen = (json.loads(seen.content) if seen else None) == last
        if is_as_last_seen and (place.replace(content, seen) if seen else place.create(content)):
            return
        now = place.read()  # an earlier request may have succeeded, whose answer was lost
        if now is None or now.content != content:
            raise OutputError(f"{self.shown('run.json')!r} is another writer's by now, and is left as it is")

    def write_json(self, content: dict[str, Any], *names: str) -> None:
        """Write a JSON file that is there as a whole or not at all."""
        self.write_file(_json(content), *names)

    @_stored
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

    @_stored
    def read_file(self, *names: str) -> bytes | None:
        """Return the content of a file, None where there is none."""
        try:
            return bytes(self._fs.cat_file(self.path(*names)))
        except FileNotFoundError:
            return None

    @_stored
    def copy_file(self, source: str, target: str) -> None:
        """Copy a file; where this is interrupted, what is there must not be trusted."""
        self._make_folder(*target.split("/")[:-1])
        self._require_held()
        self._fs.cp_file(self.path(source), self.path(target))

    @_stored
    def remove_file(self, *names: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if self._fs.exists(self.path(*names)):
            self._remove(self.path(*names))

    def _remove(self, path: str) -> None:
        self._require_held()
        self._fs.rm_file(path)

    def _commit(self, tables: Sequence[pa.Table], name: str) -> None:
        """Commit tables, of any columns each, as one."""
        keys = pa.concat_tables([table.select([ROW_KEY]) for table in tables])
        for number, table in enumerate(tables):
            self._write_commit(table, "rows", f"{name}-{number}{_COMMITTED}")
        self._write_commit(keys, "ids", f"{name}{_COMMITTED}")  # last: without them the rows do not count

    def _write_commit(self, table: pa.Table, kind: str, name: str) -> None:
        self._make_folder("checkpoint", kind)
        path = self.path("checkpoint", kind, name)
        self._require_held()
        pq.write_table(table, path, filesystem=self.arrow_filesystem, compression="zstd")

    def _dataset(self, files: list[str]) -> pads.FileSystemDataset:
        """Return rows with the columns of `outcome`, whatever else their files have."""
        return pads.dataset(files, schema=self.outcome, format="parquet", filesystem=self.arrow_filesystem)

    def _tables(self, files: list[str]) -> list[pa.Table]:
        """Return rows with all columns that their files have: what is written anew must be read so."""

        def read(path: str) -> pa.Table:
            return pq.ParquetFile(path, filesystem=self.arrow_filesystem).read()

        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(read, files))

    @_stored
    def _read_committed_rows(
        self, files: list[str], columns: list[str], chosen: pads.Expression | None
    ) -> pa.Table:
        """Return columns of the rows of some files that a condition chooses.

        Another extraction's files may have columns of the same names and of a type that is no other's: they
        are left out, as none of their rows is chosen.
        """
        added = [self.outcome.field(name) for name in columns if name not in OUTCOME.names]
        if added:
            with ThreadPoolExecutor(READERS) as pool:
                schemas = pool.map(lambda one: one.physical_schema, self._dataset(files).get_fragments())
            others = [path for path, own in zip(files, schemas, strict=True) if not _fit(own, added)]
            left_out = [path for path in others if not self._dataset([path]).count_rows(filter=chosen)]
            files = [path for path in files if path not in left_out]
        rows = self._dataset(files).scanner(
            columns=columns, filter=chosen, batch_readahead=READ_AHEAD, fragment_readahead=READ_AHEAD
        )
        table = rows.to_table()
        pa.default_memory_pool().release_unused()
        return table

    def _commits(self) -> dict[str, list[str]]:
        """Return the files of rows of every commit, by the name of its ids."""
        names = [_stem(path) for path in self._list("checkpoint", "ids") if not path.endswith(_PENDING)]
        commits: dict[str, list[str]] = {name: [] for name in names}
        for path in self._list("checkpoint", "rows"):
            # Ray calls the rows of ids/X.parquet X-0.parquet, ...; others were being written when it died.
            commits.get(_stem(path).rpartition("-")[0], []).append(path)
        return {name: paths for name, paths in commits.items() if paths}

    def _remove_commits(self, commits: Mapping[str, list[str]]) -> None:
        """Remove commits, their ids first: without these the rows do not count."""
        for name in commits:
            self._remove(self.path("checkpoint", "ids", f"{name}{_COMMITTED}"))
        for paths in commits.values():
            for path in paths:
                self._remove(path)

    def _make_folder(self, *names: str) -> None:
        if not self._is_remote:  # object stores have none, and the library would make a bucket for a typo
            self._fs.makedirs(self.path(*names) if names else self._root, exist_ok=True)

    def _entries(self, kind: str, *names: str) -> list[str]:
        try:
            entries = self._fs.ls(self.path(*names), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in entries if info["type"] == kind)

    def _list(self, *names: str) -> list[str]:
        return sorted(self._sizes(*names))

    def _sizes(self, *names: str, suffix: str = _COMMITTED) -> dict[str, int]:
        """Return the size in bytes of every file below a folder, by path."""
        try:
            entries = self._fs.find(self.path(*names), detail=True)
        except FileNotFoundError:
            return {}
        return {path: int(info["size"]) for path, info in entries.items() if path.endswith(suffix)}
