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

import datetime
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from operators.exclusive import exclusive
from operators.schema import CALL, OUTCOME, ROW_KEY
from operators.storage import join
from pipeline.runs.committed import fit, grouped, in_order, newest_rows, of_equal_columns
from pipeline.runs.stored import StoredFolder, asked_again, json_bytes
from securevqa_core.errors import OutputError

__all__ = ["ForeignRunError", "RunDirectory"]

_COMMITTED = ".parquet"
_PENDING = ".pending.parquet"
_LOST = ".json"
_CALL = "call.json"
COMPACT_FILES = 256  # below so many, reading them one by one does not matter
COMPACT_BYTES = 8 << 20  # a file of this size is not worth copying; so much is held while others are
READERS = 16  # threads that read small files
READ_BYTES = 2 << 20  # of files that are read together: some tens of thousands of rows without embeddings
READ_AHEAD = 4  # files, and batches of each; else memory holds all of them


class ForeignRunError(OutputError):
    """There is a run.json, and it is something else's."""


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(_COMMITTED)


class RunDirectory(StoredFolder):
    """The output location of a scoring run, whose rows are `outcome`: a score's columns and any more.

    Args:
        uri: of the location.
        more_columns: of its rows, after those of a score.
        patience_seconds: how long a store that does not answer is asked again, where a run hangs on it.
    """

    def __init__(
        self, uri: str, *, more_columns: Sequence[pa.Field[Any]] = (), patience_seconds: float = 0
    ) -> None:
        super().__init__(uri, patience_seconds=patience_seconds)
        self.outcome = pa.schema([*OUTCOME, *more_columns])

    @asked_again
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

    @asked_again
    def write_run(self, run: dict[str, Any], *, last: dict[str, Any] | None) -> None:
        """Write run.json, if it still is as `read_run` gave it to this writer.

        Args:
            run: what it says from now on; differs from every other.
            last: what it said; None where there was none.

        Raises:
            OutputError: another writer has written it since, or removed it.
        """
        content = json_bytes(run)
        place = exclusive(join(self.uri, "run.json"))
        self._require_held()
        seen = place.read()
        is_as_last_seen = (json.loads(seen.content) if seen else None) == last
        if is_as_last_seen and (place.replace(content, seen) if seen else place.create(content)):
            return
        now = place.read()  # an earlier request may have succeeded, whose answer was lost
        if now is None or now.content != content:
            raise OutputError(f"{self.shown('run.json')!r} is another writer's by now, and is left as it is")

    @asked_again
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
        table = in_order(pa.concat_tables(self.committed_parts(columns, where=chosen, groups=groups)))
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

    @asked_again
    def committed_groups(self) -> list[list[str]]:
        """Return the files of committed rows in groups that memory holds, until they are rewritten."""
        sizes = self._sizes("checkpoint", "rows", suffix=_COMMITTED)
        groups = grouped(self._commits(), sizes, max_bytes=READ_BYTES)
        return [[path for paths in group.values() for path in paths] for group in groups]

    @asked_again
    def has_commits(self) -> bool:
        """Tell whether any rows were committed here, of whatever kind of run."""
        return bool(self._commits())

    @asked_again
    def commit(self, rows: pa.Table, name: str) -> None:
        """Commit rows of `operators.schema.OUTCOME` as Ray Data would; the same name twice is one commit."""
        self._commit([rows], name)

    @asked_again
    def compact_commits(self, *, min_files: int = COMPACT_FILES) -> None:
        """Put many small files of committed rows into few, for those who read them next; of columns, all."""
        sizes = self._sizes("checkpoint", "rows", suffix=_COMMITTED)
        small = {
            stem: paths
            for stem, paths in self._commits().items()
            if all(sizes[path] < COMPACT_BYTES for path in paths)
        }
        if sum(map(len, small.values())) < min_files:
            return
        for group in grouped(small, sizes, max_bytes=COMPACT_BYTES):
            tables = self._tables([path for paths in group.values() for path in paths])
            self._commit(list(of_equal_columns(tables)), f"compacted-{uuid.uuid4().hex}")
            self._remove_commits(group)

    @asked_again
    def forget_commits(self, *, before: datetime.datetime, keep: Collection[str]) -> None:
        """Remove rows that were finished before a moment, save those of some videos, by their `video_id`.

        What runs of other settings know of these is theirs: it stays too.
        """
        at, kept = pads.field("scored_at"), pads.field("video_id").isin(pa.array(list(keep), pa.string()))
        is_old: Any = at.is_valid()
        is_old = is_old & (at < before) & ~kept
        for stem, paths in self._commits().items():
            if not self._dataset(paths).count_rows(filter=is_old):
                continue
            left = [table for one in self._tables(paths) if (table := one.filter(~is_old)).num_rows]
            if left:  # first, as a row that is there twice counts once
                self._commit(left, f"kept-{uuid.uuid4().hex}")
            self._remove_commits({stem: paths})

    @asked_again
    def number_call(self, *, after: int = 0) -> int:
        """Return a number that no call before has had, above `after`, for those who come to remember."""
        content = self.read_file("checkpoint", _CALL)
        last = 0 if content is None else int(json.loads(content)["call"])
        number = max(last, after) + 1
        self.write_json({"call": number}, "checkpoint", _CALL)
        return number

    @asked_again
    def record_lost(self, keys: Collection[str], *, name: str | None = None) -> None:
        """Record that these rows were tried and no worker returned them; the same name twice counts once."""
        self._make_folder("checkpoint", "lost")
        content = json.dumps(sorted(keys)).encode()
        self.write_file(content, "checkpoint", "lost", name or f"{uuid.uuid4().hex}{_LOST}")

    @asked_again
    def lost_rows(self) -> dict[str, list[str]]:
        """Return what `record_lost` has recorded, by name."""
        paths = self._sizes("checkpoint", "lost", suffix=_LOST)
        return {path.rpartition("/")[2]: json.loads(self._fs.cat_file(path)) for path in sorted(paths)}

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

    @asked_again
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
            others = [path for path, own in zip(files, schemas, strict=True) if not fit(own, added)]
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
        ids = self._sizes("checkpoint", "ids", suffix=_COMMITTED)
        names = [_stem(path) for path in sorted(ids) if not path.endswith(_PENDING)]
        commits: dict[str, list[str]] = {name: [] for name in names}
        for path in sorted(self._sizes("checkpoint", "rows", suffix=_COMMITTED)):
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
