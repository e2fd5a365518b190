"""Owns the rows of a manifest that break a rule: each fails with its reason, and is never looked at."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from operators.schema import ROW_KEY, Row, texts
from pipeline.manifests.rows import Refusal
from pipeline.runs.row_keys import SHARED, keyed
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.here import failed_row

__all__ = ["keyed_rows"]


def keyed_rows(
    state: RunDirectory, pieces: Iterable[pa.Table], refused: Mapping[int, Refusal], *, provenance: Row
) -> Iterator[pa.Table]:
    """Yield a manifest's rows with their keys, as `row_keys.keyed`; commit those that are refused as failed.

    No store is asked of a refused row. Its key changes with the reason: a row that was mended is new.

    Args:
        state: where rows are committed.
        pieces: video_id, uri and any other columns.
        refused: by the row's index in all pieces.
        provenance: what all rows of the run share.
    """
    if not refused:
        yield from keyed(state, pieces, provenance=provenance)
        return
    whole, again = itertools.tee(pieces)
    accepted = _accepted(again, refused)
    start = 0
    for piece, part in zip(whole, keyed(state, accepted, provenance=provenance), strict=True):
        keys, failed = iter(texts(part, ROW_KEY)), dict[str, Row]()
        of_rows = []
        for index, row in enumerate(piece.select(["video_id", "uri"]).to_pylist(), start=start):
            if index not in refused:
                of_rows.append(next(keys))
                continue
            of_rows.append(_key(row, refused[index], provenance))
            failed[of_rows[-1]] = failed_row(row, refused[index], provenance)
        _commit(state, failed)
        start += piece.num_rows
        yield piece.add_column(0, ROW_KEY, pa.array(of_rows, pa.string()))


def _accepted(pieces: Iterable[pa.Table], refused: Mapping[int, Refusal]) -> Iterator[pa.Table]:
    start = 0
    for piece in pieces:
        rows = range(start, start + piece.num_rows)
        yield piece.filter(pa.array([index not in refused for index in rows], pa.bool_()))
        start += piece.num_rows


def _key(row: Row, refusal: Refusal, provenance: Row) -> str:
    parts = (*row.values(), *(provenance[name] for name in SHARED), refusal.code, refusal.message)
    return hashlib.sha256(repr(("refused", *parts)).encode()).hexdigest()[:32]


def _commit(state: RunDirectory, refused: dict[str, dict[str, Any]]) -> None:
    if not refused:
        return
    known = set(texts(state.committed_rows([ROW_KEY], keys=list(refused)), ROW_KEY))
    rows = [{ROW_KEY: key} | row for key, row in refused.items() if key not in known]
    if rows:
        name = hashlib.sha256(" ".join(row[ROW_KEY] for row in rows).encode()).hexdigest()[:16]
        state.commit(pa.Table.from_pylist(rows, schema=state.outcome), f"refused-{name}")
