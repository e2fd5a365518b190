"""Owns scoring in this process: a file, bytes or frames in, a `VideoScore` out; no Ray, one decoding process.

    path, bytes ──hash──> seeds ──cell──> sample ─┐
    frames ─────hash──> seeds ───────> sample ────┴──model, one thread──> VideoScore

Libraries of tensors are imported where the first `Scorer` is made, while its decoding process starts.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from securevqa_core.decoding.backend import Decoder
from securevqa_core.decoding.extract import DecodedSample
from securevqa_core.decoding.header import NOT_UNDERSTOOD
from securevqa_core.decoding.in_memory import sample_frames
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import (
    ConfigurationError,
    DecodeError,
    FetchError,
    ScoreError,
    VideoError,
    an,
)
from securevqa_core.inputs import Look, Take, decode_request, look
from securevqa_core.randomness import Key, VideoDraw, generator
from securevqa_core.rendition import Rendition
from securevqa_core.sampling import clip_spans
from securevqa_core.suspicion import NOT_ASKED, clean_drops, compared_rendition, no_rendition
from securevqa_core.types import DecodeLimits, SamplingConfig, VideoInfo, require_range
from securevqa_core.video_score import ClipScore, Failure, VideoScore

if TYPE_CHECKING:
    from securevqa_core.weights import Checkpoint

__all__ = ["MAX_DRAWS", "Sampled", "Scorer", "Video"]

MAX_DRAWS = 16
Video = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8] | Any  # or a tensor
_FETCH_CODES = {errno.ENOENT: "fetch_not_found", errno.ENOTDIR: "fetch_not_found"} | dict.fromkeys(
    (errno.EACCES, errno.EPERM), "fetch_denied"
)


@dataclass(slots=True, kw_only=True)
class Sampled:
    """What was taken of a video for the model to score, or why nothing was; `Scorer.finish` scores it."""

    name: str
    content_sha256: str | None = None
    size_bytes: int | None = None
    draws: tuple[VideoDraw, ...] = ()
    looks: list[Look] = field(default_factory=list)  # at the upload; then at its rendition, where one is made
    rendition_error: DecodeError | None = None  # why there is no second look
    decode_seconds: float | None = None
    model_seconds: float | None = None
    error: VideoError | None = None

    @property
    def sample(self) -> DecodedSample | None:
        """What was taken of the upload, or of what is judged in its place."""
        return self.looks[0].sample if self.looks else None


class Scorer:
    """Scores videos with one checkpoint and one key; use as a context manager, or call `close`.

        with Scorer("secure-vqa-compact", key=Key.from_file("key")) as scorer:
            print(scorer.score("clip.mp4").score)

    A file that cannot be scored is a `VideoScore` with a `failure`: it stops nobody. Files are decoded in a
    confined process, which starts once and stays warm. One video is scored at a time, whoever asks.

    Args:
        checkpoint: a model's name, for what ships of it; the path of a checkpoint file; or one that was read.
            None is the default.
        key: decides where scores look: a `Key`, or its secret of at least 16 bytes. None takes
            `SECUREVQA_KEY`, and leaves it there, or else makes one that no score can be reproduced with.
        draws: times the random part is repeated; None: the model's own number.
        precision: of the networks' arithmetic.
        decoder: `auto` is PyAV, and decord where it fails.
        as_delivered: codec and quality of the rendition that viewers get, as `x264:23`, which is made and
            judged in place of the video; None: the video itself is.
        notice: codec and quality of a rendition that is made and scored beside the video: what falls further
            than clean videos do is suspected of an attack. The checkpoint knows how far those fall.
        cap: codec and quality of such a rendition, to which the score is held besides: it is no higher than
            those of nine in ten clean videos whose renditions score so.
        limits: of what one file may cost.
        device: where the networks run, as torch calls it.
        sandbox: to decode in, started before; the scorer ends it. None starts one, with `limits`.
        takes_glances: whether samples of files have what a fingerprint is made of.

    Raises:
        ConfigurationError: an argument is of another type or out of range, a device not here, or a key too
            short; two of `as_delivered`, `notice` and `cap`; one of the latter with fewer draws than its
            clean videos had, or of a checkpoint that knows of none in that rendition.
        CheckpointError: the checkpoint is missing, damaged or does not fit its architecture.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        *,
        key: Key | bytes | None = None,
        draws: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        decoder: Decoder = "auto",
        as_delivered: str | None = None,
        notice: str | None = None,
        cap: str | None = None,
        limits: DecodeLimits | None = None,
        device: str = "cpu",
        sandbox: DecodeSandbox | None = None,
        takes_glances: bool = False,
    ) -> None:
        if draws is not None:
            require_range("draws", draws, low=1, high=MAX_DRAWS, whole=True)
        for name, value, known in (
            ("precision", precision, ("float32", "bfloat16")),
            ("decoder", decoder, get_args(Decoder)),
        ):
            if value not in known:
                raise ConfigurationError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if not isinstance(limits, DecodeLimits | None):
            raise ConfigurationError(f"limits must be DecodeLimits, got {limits!r}")
        self._key = _key(key)
        self._decoder: Decoder = decoder
        self._rendition = None if as_delivered is None else Rendition.parse(as_delivered)
        self._compared = compared_rendition(notice=notice, cap=cap, as_delivered=as_delivered)
        self._caps = cap is not None
        self._limits = limits or DecodeLimits()
        self._takes_glances = takes_glances
        self._lock = threading.Lock()
        self._sandbox = sandbox or DecodeSandbox(self._limits)
        self._sandbox.start()  # it imports what it needs while this process does
        try:
            # seconds and megabytes, that whoever imports this module may never need
            from securevqa_core import loaded, weights  # noqa: PLC0415

            self._one_thread = loaded.one_thread
            found = checkpoint if isinstance(checkpoint, weights.Checkpoint) else weights.find(checkpoint)
            self._model = loaded.load_model(found, precision=precision, device=device)
            self._num_draws = draws or self._model.spec.num_draws
            self._clean = None
            if self._compared is not None:
                self._clean = clean_drops(
                    found.card,
                    self._compared,
                    num_draws=self._num_draws,
                    name=found.checkpoint_id,
                    use="cap" if self._caps else "notice",
                )
        except BaseException:
            self._sandbox.close()
            raise

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding process; the next file starts another."""
        with self._lock:
            self._sandbox.close()

    def abandon(self) -> None:
        """End the decoding process at once, also from another thread than the one that waits for it.

        The video that was being decoded fails; call `close` afterwards, and score no more.
        """
        self._sandbox.abandon()

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights that score."""
        return self._model.checkpoint

    @property
    def key(self) -> Key:
        """The key that decides where scores look."""
        return self._key

    @property
    def num_draws(self) -> int:
        """Times the random part is repeated for a video."""
        return self._num_draws

    def score(self, video: Video, *, fps: float | None = None) -> VideoScore:
        """Score one video.

        Args:
            video: the path of a file, a file's bytes, a file that is open for them and is read to its end,
                or frames: an array or a tensor (t, h, w, 3) uint8, RGB, as a player shows them.
            fps: frames a second, of frames; a file has its own.

        Raises:
            ConfigurationError: `video` is none of these, or `fps` does not go with it.
        """
        return self.finish(self.take(video, fps=fps))

    def score_many(self, videos: Iterable[Video], *, fps: float | None = None) -> Iterator[VideoScore]:
        """Score one video after another, the next being decoded while one is in the model.

        Args:
            videos: each as `score` takes it.
            fps: frames a second, of frames; files have their own.

        Returns:
            One `VideoScore` a video, in their order.

        Raises:
            ConfigurationError: `videos` is one video, or nothing to iterate over; or as `score` does, where
                it is that video's turn.
        """
        is_one = isinstance(videos, str | os.PathLike | bytes | bytearray | memoryview)
        has_frames = getattr(videos, "ndim", None) in (3, 4)  # of one video; a column of paths has 1
        if is_one or has_frames or hasattr(videos, "read") or not isinstance(videos, Iterable):
            kind = type(videos).__name__
            raise ConfigurationError(f"videos must be several, in a list for example, got {an(kind)}")
        return self._score_each(videos, fps)

    def _score_each(self, videos: Iterable[Video], fps: float | None) -> Iterator[VideoScore]:
        if self._model.spec.sampling.has_statistics:  # then decoding is what takes its time, in tensors
            for video in videos:
                yield self.score(video, fps=fps)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting = None
            for video in videos:
                begun = pool.submit(self.take, video, fps=fps)
                if waiting is not None:
                    yield self.finish(waiting.result())
                waiting = begun
            if waiting is not None:
                yield self.finish(waiting.result())

    def take(self, video: Video, *, fps: float | None = None) -> Sampled:
        """Do the first half of `score`: take from a video what the model looks at.

        The other half is `finish`; a thread may take from the next video while another finishes this one.
        """
        if isinstance(video, (str, os.PathLike)):
            _require_no_rate(fps)
            sampled = Sampled(name=os.fspath(video))
            with self._lock, _told(sampled), _opened(video) as descriptor:
                self._take(sampled, descriptor)
        elif isinstance(video, (bytes, bytearray, memoryview)):
            _require_no_rate(fps)
            sampled = Sampled(name="bytes")
            with self._lock, _told(sampled), _held(video) as descriptor:
                self._take(sampled, descriptor)
        elif hasattr(video, "read"):
            _require_no_rate(fps)
            name = getattr(video, "name", None)
            sampled = Sampled(name=name if isinstance(name, str) else "bytes")
            with self._lock, _told(sampled), _held(_content(video)) as descriptor:
                self._take(sampled, descriptor)
        else:
            sampled = Sampled(name="frames")
            frames, rate = _frames(video), _rate(fps)
            with self._lock, _told(sampled):
                self._take_frames(sampled, frames, rate)
        return sampled

    def take_open(self, descriptor: int, *, name: str, content_sha256: str | None = None) -> Sampled:
        """Do the first half of `score` for a file that is open for reading.

        Args:
            descriptor: of the file; it stays open, and is read from its start.
            name: of the video, in its `VideoScore`.
            content_sha256: of its bytes, where it is known and nobody changes them; None reads them for it.
        """
        sampled = Sampled(name=name, content_sha256=content_sha256)
        with self._lock, _told(sampled):
            self._take(sampled, descriptor)
        return sampled

    def finish(self, sampled: Sampled) -> VideoScore:
        """Let the model score what was taken."""
        scored, noticed = None, NOT_ASKED
        if sampled.rendition_error is not None:
            noticed = no_rendition(sampled.rendition_error)
        if sampled.looks:
            started = time.perf_counter()
            try:
                with self._one_thread():
                    scores = [
                        self._model.score(one.sample, one.statistics, sampled.draws) for one in sampled.looks
                    ]
                scored = scores[0]
                if self._clean is not None and len(scores) > 1:
                    scored, noticed = scored.compared(scores[1], self._clean, caps=self._caps)
            except ScoreError as not_finite:
                sampled.error = not_finite.with_traceback(None)
            sampled.model_seconds = time.perf_counter() - started
        sample, error = sampled.sample, sampled.error
        clips: tuple[ClipScore, ...] = ()
        if scored is not None and sample is not None:
            clips = _clips(scored.clip_scores, sample.info, self._model.spec.sampling, sampled.draws)
        warnings = () if sample is None else sample.warnings
        if error is not None and error.code == NOT_UNDERSTOOD:  # the file is sound, but odd
            warnings = (f"{error.code}: {error}",)
        return VideoScore(
            name=sampled.name,
            score=None if scored is None else scored.score,
            score_sd=None if scored is None else scored.score_sd,
            score_lower=None if scored is None else scored.score_lower,
            raw_score=None if scored is None else scored.raw_score,
            suspicion=noticed.suspicion,
            suspicion_reasons=noticed.suspicion_reasons,
            rendition_score=noticed.rendition_score,
            upload_score=noticed.upload_score,
            clips=clips,
            warnings=warnings,
            failure=_failure(error),
            video=None if sample is None else sample.info,
            decoder=None if sample is None else sample.decoder,
            content_sha256=sampled.content_sha256,
            size_bytes=sampled.size_bytes,
            checkpoint_id=self.checkpoint.checkpoint_id,
            checkpoint_status=self.checkpoint.status,
            as_delivered=None if self._rendition is None else str(self._rendition),
            key_id=self._key.key_id,
            randomness=self._key.randomness,
            decode_seconds=sampled.decode_seconds,
            model_seconds=sampled.model_seconds,
        )

    def _take(self, sampled: Sampled, descriptor: int) -> None:
        before = os.fstat(descriptor)
        sampled.size_bytes = before.st_size
        if not before.st_size:
            raise DecodeError("empty_file", "the object has no bytes")
        if sampled.content_sha256 is None:
            sampled.content_sha256 = _digest(descriptor)
        self._look(sampled, functools.partial(self._sandbox.decode, descriptor))
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            sampled.looks.clear()
            raise FetchError("fetch_failed", f"{sampled.name!r} changed while it was read")

    def _take_frames(self, sampled: Sampled, frames: NDArray[np.uint8], fps: float) -> None:
        digest = hashlib.sha256(f"frames {frames.shape} {fps!r} ".encode())
        for frame in frames:
            digest.update(np.ascontiguousarray(frame).data)
        sampled.content_sha256, sampled.size_bytes = digest.hexdigest(), frames.nbytes
        self._look(sampled, functools.partial(sample_frames, frames, fps))

    def _look(self, sampled: Sampled, take: Take) -> None:
        """Take what the model looks at, and the same of a rendition that is compared with it."""
        assert sampled.content_sha256 is not None
        sampled.draws = self._key.draws(sampled.content_sha256, self._num_draws)
        started = time.perf_counter()
        try:
            sampled.looks.append(self._taken(sampled, take, self._rendition))
            if self._compared is not None:
                try:
                    sampled.looks.append(self._taken(sampled, take, self._compared))
                except DecodeError as error:
                    if self._caps:  # nothing holds the score
                        sampled.looks.clear()
                        raise
                    sampled.rendition_error = error.with_traceback(None)
        finally:
            sampled.decode_seconds = time.perf_counter() - started

    def _taken(self, sampled: Sampled, take: Take, rendition: Rendition | None) -> Look:
        request = decode_request(
            self._model.spec.sampling,
            sampled.draws,
            limits=self._limits,
            decoder=self._decoder,
            takes_glances=self._takes_glances,
            rendition=rendition,
        )
        sink = self._model.sink()
        with self._one_thread() if sink is not None else contextlib.nullcontext():
            return look(take, request, sink)


def _key(given: Key | bytes | None) -> Key:
    if given is None:
        return Key.from_environment() or Key.ephemeral()
    return given if isinstance(given, Key) else Key(given, randomness="keyed")


@contextlib.contextmanager
def _told(sampled: Sampled) -> Iterator[None]:
    """Keep what was wrong with a video, for its `VideoScore`."""
    try:
        yield
    except VideoError as error:
        sampled.error = error.with_traceback(None)  # whose frames would hold the video's pixels


@contextlib.contextmanager
def _opened(video: str | os.PathLike[str]) -> Iterator[int]:
    path = os.fspath(video)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not make it wait
    except (OSError, ValueError) as error:
        code = _FETCH_CODES.get(getattr(error, "errno", None) or 0, "fetch_failed")
        reason = getattr(error, "strerror", None) or str(error)
        if "://" in path:
            reason = "a path is wanted; `securevqa score` fetches what has a URI"
        raise FetchError(code, f"{path!r} cannot be opened: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FetchError("fetch_not_found", f"{path!r} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _held(content: bytes | bytearray | memoryview) -> Iterator[int]:
    """Give a descriptor of a file in memory with this content."""
    with os.fdopen(os.memfd_create("video", os.MFD_CLOEXEC), "r+b") as file:
        file.write(content)
        file.flush()
        yield file.fileno()


def _content(file: Any) -> bytes:
    """Read an open file from where it stands to its end."""
    try:
        content = file.read()
    except ValueError as error:  # closed, or open for writing
        raise ConfigurationError(f"video must be a file that is open for reading: {error}") from error
    except OSError as error:
        raise FetchError("fetch_failed", f"the open file cannot be read: {error.strerror}") from error
    if not isinstance(content, bytes):
        kind = type(content).__name__
        raise ConfigurationError(
            f"video must be a file that is open for bytes, got {an(kind)} from its read()"
        )
    return content


def _digest(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failure(error: VideoError | None) -> Failure | None:
    return None if error is None else Failure(stage=error.stage, code=error.code, message=str(error))


def _require_no_rate(fps: float | None) -> None:
    if fps is not None:
        raise ConfigurationError(f"fps goes with frames, and a file has its own, got {fps!r}")


def _rate(fps: float | None) -> float:
    if fps is None:
        raise ConfigurationError("fps must be given with frames, got None")
    require_range("fps", fps, low=0.001, high=10_000)
    return float(fps)


def _frames(video: Any) -> NDArray[np.uint8]:
    """View an array or a tensor as (t, h, w, 3) uint8."""
    if not hasattr(video, "__array__"):
        several = "; score_many takes several videos" if isinstance(video, list | tuple) else ""
        raise ConfigurationError(
            "video must be a path, bytes, an open file, or an array or tensor of frames, "
            f"got {an(type(video).__name__)}{several}"
        )
    frames = np.asarray(video.detach().cpu() if hasattr(video, "detach") else video)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ConfigurationError(
            f"frames must be (t, h, w, 3) uint8 with t >= 1, got {frames.shape} {frames.dtype}"
        )
    return frames


def _clips(
    scores: list[float], info: VideoInfo, sampling: SamplingConfig, draws: tuple[VideoDraw, ...]
) -> tuple[ClipScore, ...]:
    """Say of the scores of clips which draw each is of and where it was taken."""
    num_moments = info.num_frames
    if info.fps and info.duration_seconds:
        num_moments = max(1, round(info.fps * info.duration_seconds))
    spans = np.concatenate(
        [clip_spans(num_moments, sampling, generator(draw.skip_sampling)) for draw in draws]
    )
    return tuple(
        ClipScore(
            draw=number // sampling.num_clips,
            score=score,
            start_seconds=None if info.fps is None else int(first) / info.fps,
            end_seconds=None if info.fps is None else int(end) / info.fps,
        )
        for number, (score, (first, end)) in enumerate(zip(scores, spans, strict=True))
    )
