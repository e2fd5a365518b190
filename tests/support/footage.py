"""Makes what data sets are made from: lossless clips of a few frames, small videos and photographs."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from media import bundled_clip, make_numbered, run_ffmpeg
from numpy.typing import NDArray

from securevqa_core.datasets.steps import ClipFormat

__all__ = [
    "CLIP",
    "LOSSLESS",
    "make_lossless",
    "make_numbered_clip",
    "make_photo",
    "make_video",
    "read_pixels",
]

CLIP = ClipFormat(width=128, height=96, fps=25.0, num_frames=24)  # 20 times quicker than a real one
LOSSLESS = "-c:v libx264 -preset ultrafast -qp 0 -pix_fmt yuv420p"


def make_lossless(path: Path, clip: ClipFormat = CLIP) -> Path:
    """Write a clip of a busy street with camera motion."""
    shrink = f"scale={clip.width}:{clip.height}:flags=area"
    frames = ["-frames:v", str(clip.num_frames), *LOSSLESS.split()]
    run_ffmpeg("-ss", "2", "-i", str(bundled_clip("bikes")), "-vf", shrink, *frames, str(path))
    return path


def make_numbered_clip(path: Path, clip: ClipFormat = CLIP) -> Path:
    """Write a clip whose frames show their numbers."""
    return make_numbered(path, clip.num_frames, LOSSLESS, size=(clip.width, clip.height))


def make_video(
    path: Path, name: str = "bigbuckbunny", *, start: float = 0.0, seconds: float = 2.2, options: str = ""
) -> Path:
    """Write footage that is just large enough to be a source, of one of the bundled clips."""
    shape = options or "-vf scale=480:360 -c:v libx264 -preset ultrafast -crf 20"
    cut = ["-ss", str(start), "-t", str(seconds), "-i", str(bundled_clip(name))]
    run_ffmpeg(*cut, *shape.split(), "-an", str(path))
    return path


def make_photo(path: Path, name: str = "bikes", *, size: tuple[int, int] = (520, 400)) -> Path:
    """Write one frame of a bundled clip as a photograph."""
    run_ffmpeg(
        "-ss",
        "4",
        "-i",
        str(bundled_clip(name)),
        "-frames:v",
        "1",
        "-vf",
        f"scale={size[0]}:{size[1]},setsar=1",
        str(path),
    )
    return path


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return all frames (t, h, w, 3), RGB."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
