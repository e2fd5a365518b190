"""Owns a manifest that lies in parts: a folder as Spark, Dask or Ray write a table, or a glob over tables.

backlog.parquet/
  part-00000-....snappy.parquet    rows; parts are sorted by name
  _SUCCESS, _metadata, .x.crc      not rows: names with _ or . at their front
  _temporary/                      without _SUCCESS: somebody is writing, or was killed
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from operators.storage import join, local_path, redact, scheme_of
from pipeline.manifests.formats import suffix_of
from securevqa_core.errors import ManifestError

__all__ = ["home_of_parts", "joined", "table_parts", "united"]

NAMED_AT_MOST = 3
_MAGIC = re.compile(r"[*?\[]")
_DONE, _WRITING, _DELTA = "_SUCCESS", "_temporary", "_delta_log"


def table_parts(uris: list[str], location: str) -> list[str] | None:
    """Return which of the listed files are parts of one table; None where they are videos.

    They are parts where all have a suffix of a manifest. A folder that has one itself holds nothing else.

    Raises:
        ManifestError: it does, its writer was not done, it has folders of partitions, or it is a Delta table.
    """
    root = _root(uris, location)
    below = {uri: uri.removeprefix(root).split("/") for uri in uris}
    parts = [uri for uri in uris if not any(one.startswith("_") for one in below[uri])]
    others = [redact(uri) for uri in parts if not suffix_of(uri)]
    is_named_so = bool(uris) and bool(suffix_of(location.rstrip("/")))
    if not is_named_so and (others or not parts):
        return None
    marks = {one for names in below.values() for one in names}
    partitions = sorted({one for uri in parts for one in below[uri][:-1] if "=" in one})
    fault = None
    if _WRITING in marks and _DONE not in marks:
        fault = f"is not whole: it holds {_WRITING} and no {_DONE}"
    elif _DELTA in marks:
        fault = "is a Delta table, in whose folder rows lie that were removed: export it"
    elif not parts:
        fault = "is empty: it holds no part of a table"
    elif others:
        fault = f"holds other than parts of a table: {', '.join(others[:NAMED_AT_MOST])}"
    elif partitions:
        fault = (
            f"has columns in the names of folders; write it without: {', '.join(partitions[:NAMED_AT_MOST])}"
        )
    if fault:
        raise ManifestError(f"manifest {redact(location)!r} {fault}")
    return parts


def home_of_parts(location: str) -> str:
    """Return the place of a file that relative URIs start at: the table as if it were one, or a part."""
    name = location.rstrip("/")
    return name if suffix_of(name) or _MAGIC.search(name) else f"{name}/part"


def _root(uris: list[str], location: str) -> str:
    """Return what all listed files begin with: the folder, or that of a glob's first magic."""
    path = join(".", local_path(location)) if scheme_of(location) == "file" else location
    folder = f"{path.rstrip('/')}/"
    if all(uri.startswith(folder) for uri in uris):
        return folder
    before, slash, _ = _MAGIC.split(path)[0].rpartition("/")
    return f"{before}{slash}"


def joined(tables: list[pa.Table], names: list[str]) -> pa.Table:
    """Return the rows of parts one after another; a column that a part lacks is null in it.

    Raises:
        ManifestError: a column has two types.
    """
    if len(tables) == 1:
        return tables[0]
    named = [(table.schema, name) for table, name in zip(tables, names, strict=True)]
    united(named)
    return pa.concat_tables([table for table in tables if table.num_columns], promote_options="default")


def united(schemas: Iterable[tuple[pa.Schema, str]]) -> pa.Schema:
    """Return the columns of parts, each with its name; of a type, or null where no part has other than null.

    Raises:
        ManifestError: a column has two types.
    """
    types: dict[str, tuple[pa.DataType, str]] = {}
    for schema, name in schemas:
        for field in schema:
            known, first = types.setdefault(field.name, (field.type, name))
            if pa.types.is_null(known):
                types[field.name] = field.type, name
            elif field.type not in (known, pa.null()):
                raise ManifestError(
                    f"manifest {redact(name)!r}, column {field.name!r}: it is {field.type}, "
                    f"and {known} in {redact(first)!r}, a part of the same table"
                )
    return pa.schema([pa.field(column, kind) for column, (kind, _) in types.items()])
