"""Owns what is scored once and no more: a digest of video, content version, checkpoint and configuration."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from operators.fetch import content_versions
from operators.schema import ROW_KEY, Row, texts
from pipeline.runs.rundir import RunDirectory

__all__ = ["SHARED", "row_keys"]

PIECE_ROWS = 10_000  # asked for at once, as a question to a store takes a kilobyte while it waits
SHARED = ("checkpoint_id", "config_id")  # by all row keys of a run


def row_keys(directory: RunDirectory, manifest: pa.Table, *, provenance: Row) -> list[str]:
    """Digest video, content version, checkpoint and configuration: what is scored once and no more.

    Where a store does not tell the version now, a video keeps the key it had: a store that is down for a
    moment does not make every video of it a new one.
    """
    shared = tuple(provenance[name] for name in SHARED)
    earlier: dict[tuple[str, ...], str] | None = None
    keys: list[str] = []
    for start in range(0, manifest.num_rows, PIECE_ROWS):
        part = manifest.slice(start, PIECE_ROWS)
        uris = texts(part, "uri")
        versions = content_versions(uris)
        if earlier is None and None in versions:
            earlier = _earlier_keys(directory)
        for video_id, uri, version in zip(texts(part, "video_id"), uris, versions, strict=True):
            video = (video_id, uri, *shared)
            known = earlier.get(video) if earlier and version is None else None
            keys.append(known or _digest(video, version))
    return keys


def _digest(video: tuple[str, ...], version: str | None) -> str:
    return hashlib.sha256(repr((video, version)).encode()).hexdigest()[:32]


def _earlier_keys(directory: RunDirectory) -> dict[tuple[str, ...], str]:
    """Return the newest row key of every video, by the rest of what the key is made of."""
    rows = directory.committed_rows(["video_id", "uri", *SHARED])
    videos = zip(*(texts(rows, name) for name in ("video_id", "uri", *SHARED)), strict=True)
    return dict(zip(videos, texts(rows, ROW_KEY), strict=True))
