"""What FFmpeg's program shows of a file, and how near something else comes to it."""

from __future__ import annotations

from pathlib import Path

import media
import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.fragments import crop_patches, grid_corners
from securevqa_core.randomness import generator


def by_ffmpeg(path: Path, height: int, width: int, filters: str = "null") -> NDArray[np.uint8]:
    """Every frame as the command line gives it with default options, with an exact scaler."""
    scaler = "bilinear+accurate_rnd+full_chroma_int+bitexact"
    output = "-f rawvideo -pix_fmt rgb24 -fps_mode passthrough -"
    raw = media.run_ffmpeg(*f"-i {path} -sws_flags {scaler} -vf {filters} {output}".split())
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, height, width, 3)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = np.mean((a.astype(float) - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def expected_patches(frames: NDArray[np.uint8], request: DecodeRequest) -> NDArray[np.uint8]:
    """The patches of the one draw and clip of a request, cut from whole frames."""
    config = request.sampling
    (draw,) = request.draws
    corners = grid_corners(*frames.shape[1:3], config, generator(draw.grid_sampling))
    return np.stack([crop_patches(frame, corners[0, 0], config.patch_side) for frame in frames])
