"""Owns whole frames through codecs, JPEG and those of video, as an upload meets them; and lossless files."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from securevqa_core.decoding.backend import FoundFrame
from securevqa_core.decoding.clock import constant_clock
from securevqa_core.decoding.pixels import Scaler
from securevqa_core.decoding.rendered import encoded
from securevqa_core.rendition import Rendition
from securevqa_core.types import require_range

__all__ = ["through_h264", "through_jpeg", "through_rendition", "write_lossless"]

Frames = NDArray[np.uint8]  # (t, h, w, 3) RGB
_FPS = 25
_FPS_PLACES = 1001  # largest denominator: what 29.97 needs


def through_jpeg(frames: Frames, *, quality: int) -> Frames:
    """Return frames (t, h, w, 3) uint8 encoded as JPEG, one by one, and decoded again.

    Raises:
        ConfigurationError: `quality` is not in 1..100.
    """
    require_range("jpeg quality", quality, low=1, high=100)
    decoded = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "jpeg", quality=quality)
        decoded.append(np.asarray(Image.open(file)))
    return np.stack(decoded)


def through_h264(frames: Frames, *, crf: int) -> Frames:
    """Return frames (t, h, w, 3) uint8 encoded with x264 at a constant rate factor and decoded again.

    4:2:0 as uploads are; odd sides are padded for the encoder and cut again. One thread, so that the same
    frames give the same bytes.

    Raises:
        ConfigurationError: `crf` is not in 0..51.
    """
    require_range("h264 crf", crf, low=0, high=51)
    _, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    file = io.BytesIO()
    options = {"crf": str(crf), "preset": "medium"}
    _write(file, padded, codec="libx264", pixel_format="yuv420p", options=options, fps=Fraction(_FPS))
    file.seek(0)
    with av.open(file, "r") as container:
        container.streams.video[0].thread_count = 1
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(decoded).astype(np.uint8)[:, :height, :width]


def through_rendition(frames: Frames, rendition: Rendition) -> Frames:
    """Return frames (t, h, w, 3) uint8 as viewers get them: what `score --as-delivered` looks at."""
    pictures = (
        FoundFrame(
            number=number,
            picture=av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
            is_damaged=False,
            is_interlaced=False,
        )
        for number, pixels in enumerate(frames)
    )
    clock, scaler = constant_clock(len(frames), len(frames) / _FPS), Scaler()
    found = encoded(pictures, rendition, clock, wanted=range(len(frames)))
    _, height, width, _ = frames.shape
    return np.stack([scaler.rgb(one.picture, height=height, width=width) for one in found])


def write_lossless(path: Path, frames: Frames, *, fps: float | None) -> None:
    """Write frames (t, h, w, 3) uint8 as FFV1 in Matroska, every value as it is."""
    rate = Fraction(fps or _FPS).limit_denominator(_FPS_PLACES)
    with path.open("wb") as file:
        _write(file, frames, codec="ffv1", pixel_format="bgr0", options={}, fps=rate)


def _write(
    file: io.IOBase | io.BufferedWriter,
    frames: Frames,
    *,
    codec: str,
    pixel_format: str,
    options: dict[str, str],
    fps: Fraction,
) -> None:
    with av.open(file, "w", format="matroska") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=fps, options=options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
