"""Owns what is scored once and no more: a digest of video, content version, checkpoint and configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import pyarrow as pa

from operators.fetch import content_versions
from operators.schema import ROW_KEY, Row, texts
from pipeline.runs.rundir import RunDirectory

__all__ = ["SHARED", "keyed"]

SHARED = ("checkpoint_id", "config_id")  # by all row keys of a run


def keyed(directory: RunDirectory, pieces: Iterable[pa.Table], *, provenance: Row) -> Iterator[pa.Table]:
    """Yield a manifest's rows with their row key before the other columns, a piece at a time.

    Where a store does not tell the version now, a video keeps the key it had: a store that is down for a
    moment does not make every video of it a new one.

    Args:
        directory: where rows of earlier runs are.
        pieces: video_id, uri and any other columns, as `pipeline.runs.spool` takes them.
        provenance: has the columns of `SHARED`.
    """
    shared = tuple(provenance[name] for name in SHARED)
    earlier: dict[tuple[str, ...], str] | None = None
    for piece in pieces:
        uris = texts(piece, "uri")
        versions = content_versions(uris)
        if earlier is None and None in versions:
            earlier = _earlier_keys(directory)
        keys = []
        for video_id, uri, version in zip(texts(piece, "video_id"), uris, versions, strict=True):
            video = (video_id, uri, *shared)
            known = earlier.get(video) if earlier and version is None else None
            keys.append(known or _digest(video, version))
        yield piece.add_column(0, ROW_KEY, pa.array(keys, pa.string()))


def _digest(video: tuple[str, ...], version: str | None) -> str:
    return hashlib.sha256(repr((video, version)).encode()).hexdigest()[:32]


def _earlier_keys(directory: RunDirectory) -> dict[tuple[str, ...], str]:
    """Return the newest row key of every video, by the rest of what the key is made of."""
    rows = directory.committed_rows(["video_id", "uri", *SHARED])
    videos = zip(*(texts(rows, name) for name in ("video_id", "uri", *SHARED)), strict=True)
    return dict(zip(videos, texts(rows, ROW_KEY), strict=True))
