"""Owns small pictures of videos: fetched and decoded with all the limits and the confinement of scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.decode import Decode, FetchLimits
from operators.schema import MANIFEST, ROW_KEY, Row, pixels_of, rows_of
from operators.stage import FAILED
from securevqa_core.randomness import Key
from securevqa_core.types import DecodeLimits, SamplingConfig

__all__ = ["Thumbnail", "thumbnails"]

SIDE = 160  # pixels; the page gives each picture the video's own shape
_SAMPLING = SamplingConfig(
    num_clips=1,
    clip_frames=1,
    frame_interval=1,
    grid_size=1,
    patch_side=8,
    num_segments=3,  # of which the middle one is shown: first frames are often black
    segment_frames=1,
    segment_side=SIDE,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thumbnail:
    """A picture of a video, or why there is none."""

    pixels: NDArray[np.uint8] | None = None  # (side, side, 3) RGB
    missing: str = ""  # for people


def thumbnails(videos: Sequence[Row], *, timeout_seconds: float = 30.0) -> dict[str, Thumbnail]:
    """Return a picture from the middle of each video, by video_id, of no bytes but those that were scored.

    Args:
        videos: rows of a report: video_id, uri and content_sha256.
        timeout_seconds: for fetching, and again for decoding, each.
    """
    decode = Decode(
        sampling=_SAMPLING,
        key=Key.public(0),  # decides nothing that is shown
        num_draws=1,
        scratch_dir=None,
        decode_limits=DecodeLimits(timeout_seconds=timeout_seconds),
        fetch_limits=FetchLimits(timeout_seconds=timeout_seconds),
    )
    scored = {row["video_id"]: row["content_sha256"] for row in videos}
    rows = [{ROW_KEY: row["video_id"], "video_id": row["video_id"], "uri": row["uri"]} for row in videos]
    found = (row for table in decode(pa.Table.from_pylist(rows, schema=MANIFEST)) for row in rows_of(table))
    return {row["video_id"]: _thumbnail(row, scored[row["video_id"]]) for row in found}


def _thumbnail(row: Row, content_sha256: str | None) -> Thumbnail:
    if row["content_sha256"] is None:
        return Thumbnail(missing=f"no frame: {row['error_code']}")
    if row["content_sha256"] != content_sha256:
        return Thumbnail(missing="no frame: the file is not the one that was scored")
    if row["status"] == FAILED:
        return Thumbnail(missing=f"no frame: {row['error_code']}")
    frames = pixels_of(row, "frames", np.uint8, -1, SIDE, SIDE, 3)
    segments = pixels_of(row, "segments", np.int64, _SAMPLING.num_segments, 1)
    return Thumbnail(pixels=frames[segments[_SAMPLING.num_segments // 2, 0]])
