"""Owns the sources: which files of footage and which photographs there are, and what could not be opened."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds
from securevqa_core.decoding.frames import FrameSink, FramesRequest, kept_frames
from securevqa_core.decoding.sandbox import sandbox_of_thread
from securevqa_core.errors import ConfigurationError, DatasetError, DecodeError
from securevqa_core.types import DecodeLimits, SamplingConfig, VideoInfo

__all__ = [
    "LIMITS",
    "PHOTO_FPS",
    "Found",
    "LeftOut",
    "Source",
    "find_by_digest",
    "find_sources",
    "open_photo",
    "read_source",
    "take_frames",
]

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"})

PHOTO_FPS = 25.0  # of the motion that a photograph is given

LIMITS = DecodeLimits(timeout_seconds=3600)  # of videos: films are looked through
_PHOTO = FramesRequest(max_frames=1, limits=DecodeLimits(max_pixels=1 << 27))
# One pixel of one frame: what is asked for is what comes with it, how the video is shown.
_GLANCE = DecodeRequest(
    sampling=SamplingConfig(num_clips=1, clip_frames=1, grid_size=1, patch_side=1, num_segments=0),
    draws=(DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32)),),
    limits=LIMITS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of footage or one photograph."""

    path: Path  # absolute
    sha256: str  # of its bytes
    width: int  # pixels, as shown
    height: int  # pixels, as shown
    fps: float  # frames a second; of the motion that a photograph is given
    duration_seconds: float  # 0 for a photograph

    @property
    def source_id(self) -> str:
        """Return the name of the file and the beginning of its digest."""
        return f"{self.path.stem}-{self.sha256[:8]}"

    @property
    def is_photo(self) -> bool:
        """Whether motion has to be made."""
        return self.duration_seconds == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file or a clip that no use can be made of."""

    name: str  # path of a file, or id of a view
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies under the roots."""

    sources: tuple[Source, ...]  # each content once, in the order of their ids
    left_out: tuple[LeftOut, ...]  # files that look like sources and cannot be opened


def find_sources(
    roots: Sequence[Path], *, tell: Callable[[int, int], None] = lambda _done, _total: None
) -> Found:
    """Return the sources under `roots`, folders or files; of files with the same bytes the first path.

    `tell` is told how many files were looked at, and of how many, after each.

    Raises:
        ConfigurationError: a root is not there.
        DatasetError: nothing that can be opened is.
    """
    found: dict[str, Source] = {}
    left_out = []
    paths = list(_candidates(roots))
    for done, path in enumerate(paths, start=1):
        try:
            source = read_source(path)
        except DatasetError as error:
            left_out.append(LeftOut(name=str(path), reason=str(error)))
        else:
            found.setdefault(source.sha256, source)
        tell(done, len(paths))
    if not found:
        raise DatasetError(
            f"no photograph or video that can be opened under {', '.join(map(str, roots))}: "
            f"{len(left_out)} cannot be opened" + "".join(f"; {item.reason}" for item in left_out[:3])
        )
    ordered = sorted(found.values(), key=lambda source: source.source_id)
    return Found(sources=tuple(ordered), left_out=tuple(left_out))


def find_by_digest(sha256: str, roots: Sequence[Path]) -> Source:
    """Return the source with the given bytes.

    Raises:
        ConfigurationError: a root is not there.
        DatasetError: none of the files has them, or it cannot be opened.
    """
    for path in _candidates(roots):
        if _digest(path) == sha256:
            return read_source(path)
    raise DatasetError(f"no file under {', '.join(map(str, roots))} has the SHA-256 {sha256}")


def read_source(path: Path) -> Source:
    """Return what a file is, as players show it.

    Raises:
        DatasetError: it cannot be opened as the photograph or the video that its name says, or lasts no time.
    """
    info = _shown(path)
    is_photo = _is_photo(path)
    if info.duration_seconds is None and not is_photo:
        raise DatasetError(f"{path} must say how long it is")
    return Source(
        path=path.absolute(),
        sha256=_digest(path),
        width=info.width,
        height=info.height,
        fps=PHOTO_FPS if is_photo else info.fps or PHOTO_FPS,
        duration_seconds=0.0 if is_photo else info.duration_seconds or 0.0,
    )


def take_frames(path: Path, request: FramesRequest, sink: FrameSink) -> float | None:
    """Give `sink` frames of a photograph or a video, and return how many a second it has.

    A cell opens the file, which cannot open anything else.

    Raises:
        DatasetError: it cannot be decoded.
    """
    with _as_dataset_errors(path):
        return sandbox_of_thread(request.limits).frames(str(path), request, sink)


def open_photo(path: Path) -> Image.Image:
    """Return a photograph as RGB, as it is shown.

    Raises:
        DatasetError: it is damaged, is no photograph, or is not opaque.
    """
    return Image.fromarray(kept_frames(lambda sink: take_frames(path, _PHOTO, sink)).pixels[0])


def _shown(path: Path) -> VideoInfo:
    glance = replace(_GLANCE, limits=_PHOTO.limits) if _is_photo(path) else _GLANCE
    with _as_dataset_errors(path):
        return sandbox_of_thread(glance.limits).decode(str(path), glance).info


@contextlib.contextmanager
def _as_dataset_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DecodeError as error:
        kind = "a photograph" if _is_photo(path) else "a video"
        raise DatasetError(f"{path} cannot be opened as {kind}: {error}") from error


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES


def _candidates(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        if not root.exists():
            raise ConfigurationError(f"sources must be files or folders that are there, got {str(root)!r}")
    files = (file for root in roots for file in ([root] if root.is_file() else root.rglob("*")))
    for path in sorted(files):
        if path.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES and path.is_file():
            yield path


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
