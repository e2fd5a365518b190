"""Owns reading a list of videos some rows at a time: a long one takes no more memory than a short one.

one file, or the parts of a table    copied to a disk; read once for the columns, once more for the rows
a folder of videos on a disk         walked in order
a folder or glob in a store          listed as a whole: its names are in memory

What breaks a rule is found on the way, or after the last row; `manifest` says what it is, from all of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from operators import storage
from pipeline.manifests.formats import as_numbers, decode_pieces, number_types, piece_schemas, suffix_of
from pipeline.manifests.listing import is_folder_of_videos, list_videos, walk_videos
from pipeline.manifests.manifest import READ_SECONDS, read_failure, read_manifest
from pipeline.manifests.parts import home_of_parts, table_parts, united
from pipeline.manifests.rows import (
    DEFAULT_ALLOW_SCHEMES,
    PIECE_ROWS,
    Manifest,
    RowRules,
    folder_of,
    require_all,
    texts_in_pieces,
)
from securevqa_core.errors import ManifestError

__all__ = ["read_pieces"]

COPY_BYTES = 2 << 20
DIGEST_BYTES = 8


def read_pieces(
    location: str,
    *,
    others: list[str],
    uri_column: str = "uri",
    allow_schemes: Collection[str] = DEFAULT_ALLOW_SCHEMES,
    reserved_columns: Collection[str] = frozenset(),
) -> Iterator[pa.Table]:
    """Yield what `read_manifest` returns, some rows at a time.

    Args:
        location: as there, like the other arguments.
        others: is given the files that a folder holds besides its videos.

    Raises:
        ManifestError: as there, at the latest after the last row.
    """
    options: dict[str, Any] = {
        "uri_column": uri_column,
        "allow_schemes": allow_schemes,
        "reserved_columns": reserved_columns,
    }
    ids = bytearray()
    try:
        for rows in _pieces(RowRules(location=location, **options), others):
            require_all(rows, location)
            ids += _digests(rows.table["video_id"])
            yield rows.table
    except ManifestError:
        whole = read_manifest(location, **options)  # which says in which rows of all
        if ids:
            raise
        yield whole  # sound after all: JSON lines with whole numbers here and others there
        return
    if not ids or not _are_unique(ids):
        read_manifest(location, **options)  # which says of which


def _pieces(rules: RowRules, others: list[str]) -> Iterator[Manifest]:
    location = rules.location
    if is_folder_of_videos(location):
        yield from map(rules.videos, walk_videos(location, others=others, num_uris=PIECE_ROWS))
        return
    listing = list_videos(location, has_manifest_suffix=bool(suffix_of(location)))
    parts = None if listing is None else table_parts(sorted([*listing.uris, *listing.others]), location)
    if listing is not None and parts is None:
        others += listing.others
        yield from map(rules.videos, texts_in_pieces(listing.uris))
        return
    names = [location] if parts is None else parts
    home = folder_of(location if parts is None else home_of_parts(location))
    with tempfile.TemporaryDirectory(prefix="securevqa-manifest-") as folder:
        copies = [_copied(name, Path(folder) / str(number)) for number, name in enumerate(names)]
        schema = united(
            found for copy, name in zip(copies, names, strict=True) for found in _schemas(copy, name)
        )
        numbers = {}
        if all(suffix_of(name) == ".csv" for name in names):
            numbers = number_types(_tables(copies, names), texts={rules.uri_column, "video_id"})
        for table in _tables(copies, names):
            yield rules.rows(as_numbers(_with(table, schema), numbers), home)


def _tables(copies: Sequence[Path], names: Sequence[str]) -> Iterator[pa.Table]:
    for copy, name in zip(copies, names, strict=True):
        with copy.open("rb") as file:
            yield from decode_pieces(file, name, num_rows=PIECE_ROWS)


def _schemas(copy: Path, name: str) -> Iterator[tuple[pa.Schema, str]]:
    with copy.open("rb") as file:
        for schema in piece_schemas(file, name, num_rows=PIECE_ROWS):
            yield schema, name


def _copied(location: str, copy: Path) -> Path:
    try:
        with storage.open_reader(location, timeout_seconds=READ_SECONDS) as reader, copy.open("wb") as file:
            while piece := reader.read(COPY_BYTES, timeout_seconds=READ_SECONDS):
                file.write(piece)
    except storage.StorageError as error:
        raise read_failure(location, error) from error
    return copy


def _with(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with all columns of a table that lies in parts: null where this part has none."""
    columns: list[Any] = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, names=schema.names)


def _digests(ids: pa.ChunkedArray[Any]) -> bytes:
    """Return eight bytes for each id: two that agree by chance cost another reading, and nothing else."""
    texts = (text for piece in texts_in_pieces(ids) for text in piece)
    return b"".join(hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts)


def _are_unique(digests: bytearray) -> bool:
    """Tell whether no two are alike; their order is lost."""
    numbers = np.frombuffer(digests, np.uint64)
    numbers.sort()
    return not (numbers[1:] == numbers[:-1]).any()
