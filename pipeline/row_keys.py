"""Owns what is scored once and no more: a digest of video, content version, checkpoint and configuration."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from operators.fetch import content_versions
from operators.schema import ROW_KEY, Row, texts
from pipeline.rundir import RunDirectory

__all__ = ["SHARED", "row_keys"]

SHARED = ("checkpoint_id", "config_id")  # by all row keys of a run


def row_keys(directory: RunDirectory, manifest: pa.Table, *, provenance: Row) -> list[str]:
    """Digest video, content version, checkpoint and configuration: what is scored once and no more.

    Where a store does not tell the version now, a video keeps the key it had: a store that is down for a
    moment does not make every video of it a new one.
    """
    uris = texts(manifest, "uri")
    shared = tuple(provenance[name] for name in SHARED)
    videos = [(*video, *shared) for video in zip(texts(manifest, "video_id"), uris, strict=True)]
    versions = content_versions(uris)
    earlier = _earlier_keys(directory) if None in versions else {}
    return [
        earlier[video] if version is None and video in earlier else _digest(video, version)
        for video, version in zip(videos, versions, strict=True)
    ]


def _digest(video: tuple[str, ...], version: str | None) -> str:
    return hashlib.sha256(repr((video, version)).encode()).hexdigest()[:32]


def _earlier_keys(directory: RunDirectory) -> dict[tuple[str, ...], str]:
    """Return the newest row key of every video, by the rest of what the key is made of."""
    rows = directory.committed_rows(["video_id", "uri", *SHARED])
    videos = zip(*(texts(rows, name) for name in ("video_id", "uri", *SHARED)), strict=True)
    return dict(zip(videos, texts(rows, ROW_KEY), strict=True))
