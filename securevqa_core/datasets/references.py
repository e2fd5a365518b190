"""Owns the pristine clips: excerpts of footage and pans over photographs, shrunk, written without loss."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from securevqa_core import ffmpeg
from securevqa_core.datasets.luma import full_range_luma
from securevqa_core.datasets.sources import LIMITS, open_photo, take_frames
from securevqa_core.datasets.steps import ClipFormat
from securevqa_core.datasets.views import View
from securevqa_core.decoding.frames import FramesRequest
from securevqa_core.errors import DatasetError
from securevqa_core.files import whole_file

__all__ = ["has_motion", "write_reference"]

MIN_CONTRAST = 8.0  # 8-bit levels, standard deviation of luma
_STILL_LIMIT = 0.6  # 8-bit levels between frames; below it repeated frames cannot be seen

_Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels

# As good as lossless matters here: every label is a comparison with this file.
_LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv420p", "-threads", "1")


def write_reference(view: View, path: Path) -> bool:
    """Write the pristine clip without loss; return whether it has motion enough for temporal faults.

    Args:
        view: what to take from which source.
        path: the file to write; it appears whole or not at all.

    Raises:
        DatasetError: the source cannot be read, is shorter than it says, or the clip is all but flat.
    """
    with whole_file(path.absolute()) as temporary:
        _write(view, _pan(view) if view.source.is_photo else _excerpt(view), temporary)
        luma = _read_luma(temporary)
        contrast = float(luma.std()) if luma.size else 0.0
        if len(luma) != view.clip.num_frames or contrast < MIN_CONTRAST:
            raise DatasetError(
                f"{view.view_id} must have {view.clip.num_frames} frames and contrast {MIN_CONTRAST}, "
                f"got {len(luma)} and {contrast:.1f}"
            )
    return _moves(luma)


def has_motion(reference: Path) -> bool:
    """Return whether a pristine clip has motion enough for temporal faults.

    Raises:
        DatasetError: it cannot be decoded.
    """
    return _moves(_read_luma(reference))


def _write(view: View, frames: NDArray[np.uint8], path: Path) -> None:
    clip = view.clip
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{clip.width}x{clip.height}"]
    given = [*raw, "-r", f"{clip.fps:.6f}", "-i", "-", "-vf", _kind(view)]
    ffmpeg.run([*given, *_LOSSLESS, str(path)], stdin=frames.tobytes())


def _kind(view: View) -> str:
    """Return the filters that make a view one of its kinds."""
    held = f"trim=end_frame=1,tpad=stop_mode=clone:stop={view.clip.num_frames - 1}"
    chosen = [held] * view.is_still + ["lutyuv=u=128:v=128"] * view.is_grey
    return ",".join(chosen) or "null"


class _Shrunk:
    """Shrinks frames as they come, so that no large one is kept."""

    def __init__(self, clip: ClipFormat) -> None:
        self._size = (clip.width, clip.height)
        self.begin()

    def begin(self) -> None:
        self.frames: list[NDArray[np.uint8]] = []

    def add(self, pixels: NDArray[np.uint8]) -> None:
        self.frames.append(_shrunk(Image.fromarray(pixels), self._size))


def _excerpt(view: View) -> NDArray[np.uint8]:
    """Return (t, h, w, 3), 0..255: what is on screen from the view's start on, fewer where the video ends."""
    clip = view.clip
    request = FramesRequest(
        start_seconds=view.start_seconds, fps=clip.fps, max_frames=clip.num_frames, limits=LIMITS
    )
    shrunk = _Shrunk(clip)
    take_frames(view.source.path, request, shrunk)
    return np.stack(shrunk.frames)


def _pan(view: View) -> NDArray[np.uint8]:
    """Return (t, h, w, 3), 0..255: each box shrunk to the clip's size, at sub-pixel places."""
    clip = view.clip
    photo = open_photo(view.source.path)
    frames = []
    for left, top, width in view.boxes:
        right, bottom = left + width, top + width * clip.height / clip.width
        # Rounding may put a box that is as large as the photograph outside it by a hair.
        box = (max(left, 0.0), max(top, 0.0), min(photo.width, right), min(photo.height, bottom))
        frames.append(_shrunk(photo, (clip.width, clip.height), box))
    return np.stack(frames)


def _shrunk(picture: Image.Image, size: tuple[int, int], box: _Box | None = None) -> NDArray[np.uint8]:
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS, box=box))


def _read_luma(path: Path) -> NDArray[np.uint8]:
    """Return (t, h, w), 0..255."""
    try:
        with av.open(str(path)) as container:
            frames = [full_range_luma(frame) for frame in container.decode(video=0)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"{path} cannot be decoded: {error}") from error
    return np.stack(frames) if frames else np.empty((0, 0, 0), dtype=np.uint8)


def _moves(luma: NDArray[np.uint8]) -> bool:
    return bool(np.abs(np.diff(luma.astype(np.float32), axis=0)).mean() > _STILL_LIMIT)
