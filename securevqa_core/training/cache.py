"""Owns the pixels that training reads: each video decoded once, several random draws of it kept on disk.

CACHE/<digest of uri, version, sampling but for the guardian map, draws and seed>/
  fragments.npy   (draws, clips, d, G S, G S, 3) uint8, spliced, before the guardian map
  frames.npy      (k, side, side, 3) uint8, whole frames resized, before the guardian map
  segments.npy    (num_segments, segment_frames) int64, indices into `frames`
  statistics.npy  (k,) float32, of whole frames, of a model that reads those
  differences.npy (draws, clips, NUM_DIFFERENCES, d / 2, G, G) float32, of a video with a reference
  entry.json      where it came from
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import queue
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.extract import DecodedSample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import ConfigurationError, DecodeError, FetchError, OutputError, VideoError
from securevqa_core.files import whole_file, whole_folder
from securevqa_core.fragments import splice
from securevqa_core.inputs import decode_request
from securevqa_core.models.statistics_sink import statistics_sink
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.training.differences import local_differences
from securevqa_core.types import DecodeLimits, SamplingConfig, require_range
from securevqa_core.whole_frames import StatisticsSink

__all__ = [
    "CacheConfig",
    "CachedVideo",
    "Failure",
    "LabelledVideo",
    "build_cache",
    "local_video",
    "open_in_place",
    "save_array",
]

MAX_CACHED_DRAWS = 64
MAX_REPEATS = 1000
_PIECE_BYTES = 1 << 20
_ARRAYS = ("fragments", "frames", "segments")
_FORMAT = 2  # of an entry
_DIFFERENCES = "differences.npy"
_STATISTICS = "statistics.npy"

Open = Callable[[str], AbstractContextManager[str]]  # uri -> a path to read it at


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledVideo:
    """One video to learn from.

    Raises:
        ConfigurationError: the label is not finite, or `repeats` is out of range.
    """

    uri: str
    label: float  # quality on any scale, higher is better
    source: str  # what it was made from: videos of one source never lie on both sides of a split
    version: str  # changes when the content at `uri` does
    reference: str | None = None  # URI of the same video undistorted, frame by frame
    repeats: int = 1  # times that an epoch of training meets it

    def __post_init__(self) -> None:
        if not math.isfinite(self.label):
            raise ConfigurationError(f"label of {self.uri!r} must be finite, got {self.label}")
        require_range("repeats", self.repeats, low=1, high=MAX_REPEATS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """What is kept of each video.

    Raises:
        ConfigurationError: a field is out of range.
    """

    sampling: SamplingConfig
    num_draws: int  # times the random part is drawn
    seed: int  # public randomness: the draws are those of `Key.public(seed)`
    has_differences: bool = True  # of videos with a reference
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        require_range("num_draws", self.num_draws, low=1, high=MAX_CACHED_DRAWS)
        require_range("seed", self.seed, low=0, high=2**63 - 1)

    @property
    def max_bytes(self) -> int:
        """The most disk space one video can take."""
        sampling = self.sampling
        clips = self.num_draws * sampling.num_clips * sampling.clip_frames * sampling.fragment_side**2
        frames = sampling.num_segments * sampling.segment_frames * sampling.segment_side**2
        return 3 * (clips + frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedVideo:
    """A video whose pixels are in the cache."""

    folder: Path
    uri: str
    label: float
    source: str
    content_sha256: str  # 64 hex digits
    config: CacheConfig
    reference: str | None = None

    @property
    def content(self) -> str:
        """What is shown, whatever is wrong with it: the reference, or the source where there is none."""
        return self.reference or self.source

    def fragments(self) -> NDArray[np.uint8]:
        """Return (draws, clips, d, h, w, 3), mapped: only what is indexed is read."""
        return _mapped(self.folder / "fragments.npy")

    def frames(self) -> NDArray[np.uint8]:
        """Return (k, side, side, 3), mapped."""
        return _mapped(self.folder / "frames.npy")

    def statistics(self) -> NDArray[np.float32]:
        """Return (k,) statistics of whole frames; not a number where one is undefined."""
        array: NDArray[np.float32] = np.load(self.folder / _STATISTICS)
        return array

    def differences(self) -> NDArray[np.float32] | None:
        """Return `local_differences` from the reference, (draws, clips, k, d / 2, G, G); None if not kept."""
        if self.reference is None or not self.config.has_differences:
            return None
        array: NDArray[np.float32] = np.load(self.folder / _DIFFERENCES, mmap_mode="r")
        return array

    def segments(self) -> NDArray[np.int64]:
        """Return (num_segments, segment_frames) indices into `frames`."""
        return np.asarray(np.load(self.folder / "segments.npy"), dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A video that could not be cached and is left out."""

    uri: str
    error_code: str
    message: str


def local_video(path: str | Path, *, label: float, source: str) -> LabelledVideo:
    """Describe a file on this machine; its version is its size and modification time.

    Raises:
        ConfigurationError: there is no such file, or the label is not finite.
    """
    try:
        status = Path(path).stat()
    except OSError as error:
        raise ConfigurationError(f"video {str(path)!r} cannot be read: {error.strerror}") from error
    version = f"{status.st_size} {status.st_mtime_ns}"
    return LabelledVideo(uri=str(Path(path).absolute()), label=label, source=source, version=version)


@contextlib.contextmanager
def open_in_place(uri: str) -> Iterator[str]:
    """Read a local file where it lies."""
    yield uri


def build_cache(
    videos: Sequence[LabelledVideo],
    folder: Path,
    config: CacheConfig,
    *,
    num_workers: int,
    opener: Open = open_in_place,
    on_done: Callable[[LabelledVideo], None] = lambda _: None,
) -> tuple[list[CachedVideo], list[Failure]]:
    """Decode every video that is not in the cache yet; safe to interrupt and call again.

    Args:
        videos: what to cache.
        folder: of the cache; may hold videos cached with other settings.
        config: what to keep.
        num_workers: decoding processes side by side.
        opener: brings a video to this machine.
        on_done: called after each video, from any thread.

    Returns:
        What is cached now, and what failed, both in the order of `videos`.

    Raises:
        OutputError: the cache cannot be written, or the disk has too little room for it.
        ConfigurationError: `num_workers` is not positive.
    """
    require_range("num_workers", num_workers, low=1, high=4096)
    _require_room(videos, folder, config)
    sandboxes: queue.SimpleQueue[DecodeSandbox] = queue.SimpleQueue()
    pool = ThreadPoolExecutor(num_workers)
    with contextlib.ExitStack() as stack:
        for _ in range(num_workers):
            sandboxes.put(stack.enter_context(DecodeSandbox(config.limits)))
        stack.callback(pool.shutdown, cancel_futures=True)

        def work(video: LabelledVideo) -> CachedVideo | Failure:
            sandbox = sandboxes.get()
            try:
                return _cached(video, folder, config, sandbox, opener)
            finally:
                sandboxes.put(sandbox)
                on_done(video)

        outcomes = list(pool.map(work, videos))
    return (
        [outcome for outcome in outcomes if isinstance(outcome, CachedVideo)],
        [outcome for outcome in outcomes if isinstance(outcome, Failure)],
    )


def _mapped(path: Path) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return array


def _require_room(videos: Sequence[LabelledVideo], folder: Path, config: CacheConfig) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"cache {str(folder)!r} cannot be written: {error.strerror}") from error
    num_missing = sum(not (folder / _entry_name(video, config)).exists() for video in videos)
    wanted = num_missing * config.sampling.num_clips * config.num_draws * _clip_bytes(config.sampling)
    if wanted > free_bytes:
        raise OutputError(
            f"cache {str(folder)!r} needs {wanted / 2**30:.1f} GiB for the fragments of {num_missing} videos "
            f"of num_draws={config.num_draws}, and {free_bytes / 2**30:.1f} GiB are free"
        )


def _clip_bytes(sampling: SamplingConfig) -> int:
    return 3 * sampling.clip_frames * sampling.fragment_side**2


def _entry_name(video: LabelledVideo, config: CacheConfig) -> str:
    # What is kept is from before the guardian map, so that training with another one finds it.
    sampling = replace(config.sampling, guardian_amplitude=0).as_dict()
    parts = (_FORMAT, video.uri, video.version, sampling, config.num_draws, config.seed)
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _cached(
    video: LabelledVideo, folder: Path, config: CacheConfig, sandbox: DecodeSandbox, opener: Open
) -> CachedVideo | Failure:
    entry = folder / _entry_name(video, config)
    try:
        if not (entry / "entry.json").exists():
            with opener(video.uri) as path:
                digest = _sha256(path)
                sink = statistics_sink(config.sampling)
                sample = _decode(path, digest, config, sandbox, sink)
                statistics = None if sink is None else sink.features()
                _write_entry(entry, digest, sample, statistics, uri=video.uri)
        facts = json.loads((entry / "entry.json").read_text())
        cached = CachedVideo(
            folder=entry,
            uri=video.uri,
            label=video.label,
            source=video.source,
            content_sha256=str(facts["content_sha256"]),
            config=config,
            reference=video.reference,
        )
        is_lacking = config.has_differences and not (entry / _DIFFERENCES).exists()
        if video.reference is not None and is_lacking:
            _compare(cached, video.reference, facts["size"], sandbox, opener)
    except VideoError as error:
        return Failure(uri=video.uri, error_code=error.code, message=str(error))
    except OSError as error:
        raise OutputError(f"cache entry {str(entry)!r} cannot be written: {error.strerror}") from error
    return cached


def _decode(
    path: str,
    digest: str,
    config: CacheConfig,
    sandbox: DecodeSandbox,
    sink: StatisticsSink | None = None,
) -> DecodedSample:
    """Return the pixels of the draws that `score --seed` makes of the content with this digest."""
    draws = keyed_draws(Key.public(config.seed), digest, config.num_draws)
    return sandbox.decode(path, decode_request(config.sampling, draws, limits=config.limits), sink)


def _size(sample: DecodedSample) -> list[int]:
    return [sample.info.num_frames, sample.info.height, sample.info.width]


def _compare(
    video: CachedVideo, reference: str, size: list[int], sandbox: DecodeSandbox, opener: Open
) -> None:
    """Write the differences of a video from its reference.

    Raises:
        DecodeError: the reference cannot be decoded, or shows other frames.
    """
    try:
        with opener(reference) as path:
            sample = _decode(path, video.content_sha256, video.config, sandbox)
    except VideoError as error:
        raise DecodeError("decode_failed", f"the reference {reference!r}: {error}") from error
    if _size(sample) != size:
        message = f"the reference {reference!r} must have the (frames, rows, columns) of the video, {size}"
        raise DecodeError("decode_failed", f"{message}, got {_size(sample)}")
    grid_size, distorted = video.config.sampling.grid_size, video.fragments()
    undistorted = splice(sample.patches)
    differences = [
        local_differences(distorted[place], undistorted[place], grid_size=grid_size)
        for place in np.ndindex(*distorted.shape[:2])
    ]
    shape = (*distorted.shape[:2], *differences[0].shape)
    save_array(video.folder / _DIFFERENCES, np.stack(differences).reshape(shape))


def save_array(path: Path, array: NDArray[np.float32]) -> None:
    """Write an array that is there as a whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, array)
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be written: {error.strerror}") from error


def _sha256(path: str) -> str:
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
    except OSError as error:
        raise FetchError("fetch_not_found", f"{path!r} cannot be read: {error.strerror}") from error
    if not size_bytes:
        raise DecodeError("empty_file", "the object has no bytes")
    return digest.hexdigest()


def _write_entry(
    entry: Path,
    content_sha256: str,
    sample: DecodedSample,
    statistics: NDArray[np.float32] | None,
    *,
    uri: str,
) -> None:
    """Write an entry that is there as a whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {
        "fragments": splice(sample.patches),
        "frames": sample.frames,
        "segments": sample.segments,
    }
    facts = {
        "uri": uri,
        "content_sha256": content_sha256,
        "size": _size(sample),
        "warnings": list(sample.warnings),
    }
    with whole_folder(entry) as part:
        for name in _ARRAYS:
            np.save(part / f"{name}.npy", arrays[name])
        if statistics is not None:
            np.save(part / _STATISTICS, statistics)
        (part / "entry.json").write_text(json.dumps(facts))
