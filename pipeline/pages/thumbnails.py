"""Owns small pictures of videos: fetched and decoded with all the limits and the confinement of scoring."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.decode import Decode, FetchLimits
from operators.schema import MANIFEST, ROW_KEY, pixels_of, rows_of
from operators.stage import FAILED
from securevqa_core.randomness import Key
from securevqa_core.types import DecodeLimits, SamplingConfig

__all__ = ["thumbnails"]

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


def thumbnails(uris: Mapping[str, str], *, timeout_seconds: float = 30.0) -> dict[str, NDArray[np.uint8]]:
    """Return a picture (side, side, 3) from the middle of each video, by video_id, of those that decode.

    Args:
        uris: video_id -> URI.
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
    rows = [{ROW_KEY: one, "video_id": one, "uri": uri} for one, uri in uris.items()]
    pictures = {}
    for table in decode(pa.Table.from_pylist(rows, schema=MANIFEST)):
        for row in rows_of(table):
            if row["status"] != FAILED:
                frames = pixels_of(row, "frames", np.uint8, -1, SIDE, SIDE, 3)
                segments = pixels_of(row, "segments", np.int64, _SAMPLING.num_segments, 1)
                pictures[row["video_id"]] = frames[segments[_SAMPLING.num_segments // 2, 0]]
    return pictures
