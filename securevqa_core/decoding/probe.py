"""Owns the first look at an untrusted file: is it allowed, and which stream of it is scored."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Iterator
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from securevqa_core.decoding.allowlist import CODECS, open_options
from securevqa_core.decoding.boxes import lacks_index
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, VideoInfo

__all__ = [
    "MAX_DURATION_SECONDS",
    "MAX_STREAMS",
    "check_duration",
    "check_frame_size",
    "check_stream",
    "demuxed",
    "open_container",
    "open_file",
    "open_video",
    "reason_of",
    "shown_streams",
    "thumbnail_streams",
]

MAX_STREAMS = 128  # of all kinds; FFmpeg looks into each one as it opens a file
MAX_DURATION_SECONDS = 48 * 3600.0  # more than a transport stream's clock, which begins anew after 26.5 hours
_NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
# How far FFmpeg looks for a picture behind sound, bytes and microseconds; it holds in memory what it reads.
_PATIENCE = {"probesize": str(64 << 20), "analyzeduration": str(600_000_000)}
_LATE_STREAMS = frozenset({"mpegts", "mpeg", "flv"})  # containers that may tell of streams on the way
# PyAV 18 refuses tags that are not UTF-8 unless it is told to; 19 takes them, and knows no such option.
_TAG_OPTIONS: dict[str, Any] = {"metadata_errors": "ignore"} if av.__version__.startswith("18.") else {}


@contextlib.contextmanager
def open_file(path: str | int) -> Iterator[int]:
    """Give a descriptor of the regular file at `path`, at its start; one that is given stays open.

    Raises:
        DecodeError: decode_failed.
    """
    if isinstance(path, int):
        os.lseek(path, 0, os.SEEK_SET)
        yield path
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not make it wait
    except (OSError, ValueError) as error:
        raise DecodeError("decode_failed", f"the file cannot be opened: {reason_of(error)}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DecodeError("decode_failed", "the file cannot be opened: it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_video(descriptor: int, limits: DecodeLimits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file from its start, whoever else reads it, and give the checked stream to score.

    Where sound goes before the picture for longer than FFmpeg looks for one, it is told to look further.

    Raises:
        DecodeError: as `open_container` and `check_stream`; picture_too_late.
    """
    place = os.lseek(descriptor, 0, os.SEEK_CUR)  # readers of one descriptor share a place in it
    try:
        with contextlib.ExitStack() as opened:
            container = _open_at_start(descriptor, opened, is_patient=False)
            if _is_late(container):
                container = _open_at_start(descriptor, opened, is_patient=True)
            yield container, check_stream(container, limits)
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)


def _open_at_start(descriptor: int, opened: contextlib.ExitStack, *, is_patient: bool) -> InputContainer:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return opened.enter_context(open_container(descriptor, is_patient=is_patient))


def _is_late(container: InputContainer) -> bool:
    """Tell whether a picture may begin, or its size be told, only after what FFmpeg has looked at."""
    videos, formats = shown_streams(container), container.format.name.split(",")
    if not videos:
        return not _LATE_STREAMS.isdisjoint(formats)
    contexts = [stream.codec_context for stream in videos]
    has_sound = len(container.streams) > len(videos)
    return has_sound and any(context is not None and not context.width for context in contexts)


def open_container(descriptor: int, *, is_patient: bool = False) -> InputContainer:
    """Open a file with the allow-list in force.

    Args:
        descriptor: of the file, at its start.
        is_patient: look for a picture in more of the file.

    Raises:
        DecodeError: not_a_video, container_not_allowed, decode_failed.
    """
    try:
        # Opened by number, so that no name is read as a URL, as a pattern or as a hint at the format.
        options = open_options() | {"fd": str(descriptor)} | (_PATIENCE if is_patient else {})
        container: InputContainer = av.open("fd:", options=options, **_TAG_OPTIONS)
    except MemoryError:
        raise
    except av.error.ArgumentError as error:
        raise DecodeError(
            "container_not_allowed", "the container is recognised but not on the allow-list"
        ) from error
    except (av.error.FFmpegError, ValueError) as error:
        message = f"no allowed container recognises the bytes: {reason_of(error)}"
        if lacks_index(descriptor):
            message = (
                "an MP4 or MOV of which the end with the index (moov) is missing: most likely half an upload"
            )
        raise DecodeError("not_a_video", message) from error
    except OSError as error:
        raise DecodeError("decode_failed", f"the file cannot be opened: {reason_of(error)}") from error
    return container


def check_stream(container: InputContainer, limits: DecodeLimits) -> VideoStream:
    """Return the video stream to score, checked against the allow-list and the limits.

    Raises:
        DecodeError: too_many_streams, no_video_stream, codec_not_allowed, too_many_pixels, no_frames.
    """
    if len(container.streams) > MAX_STREAMS:
        raise DecodeError(
            "too_many_streams", f"a file may have at most {MAX_STREAMS} streams, got {len(container.streams)}"
        )
    stream = _choose_stream(container)
    context = stream.codec_context
    if context is None:
        raise DecodeError("codec_not_allowed", "no decoder knows the codec of the video stream")
    name = context.codec.canonical_name
    if name not in CODECS:
        raise DecodeError("codec_not_allowed", f"codec {name!r} is not on the allow-list")
    check_frame_size(context.width, context.height, limits)
    if min(context.width, context.height) < 1:
        if len(container.streams) > len(container.streams.video):
            raise DecodeError("picture_too_late", "no picture begins in what is looked at behind the sound")
        raise DecodeError("no_frames", f"frame size is unknown: {context.width} x {context.height}")
    # A later header may claim more than the first. Decoders count whole blocks, up to 64 pixels more a side.
    context.options = {"max_pixels": str(2 * limits.max_pixels + (1 << 16))}
    context.thread_count = 1  # parallelism is across videos
    return stream


def check_frame_size(width: int, height: int, limits: DecodeLimits) -> None:
    """Hold one frame to the limit.

    Raises:
        DecodeError: too_many_pixels.
    """
    if width * height > limits.max_pixels:
        raise DecodeError(
            "too_many_pixels", f"a frame may have at most {limits.max_pixels} pixels, got {width} x {height}"
        )


def check_duration(info: VideoInfo) -> None:
    """Hold a video to the limit, by what its packets say.

    Raises:
        DecodeError: too_long.
    """
    if info.duration_seconds is not None and info.duration_seconds > MAX_DURATION_SECONDS:
        raise DecodeError(
            "too_long", f"a video may last {MAX_DURATION_SECONDS:.0f} s, got {info.duration_seconds:.0f} s"
        )


def _choose_stream(container: InputContainer) -> VideoStream:
    """Return FFmpeg's best video stream, never a cover picture."""
    videos = shown_streams(container)
    best = container.streams.best("video")
    if not videos:
        pictures = ["cover picture"] if container.streams.video else []
        kinds = sorted({other.type for other in container.streams if other.type != "video"}) + pictures
        raise DecodeError("no_video_stream", f"no video stream among {', '.join(kinds) or 'no streams'}")
    return best if isinstance(best, VideoStream) and best in videos else videos[0]


def shown_streams(container: InputContainer) -> list[VideoStream]:
    """Return the video streams that a player could show."""
    return [stream for stream in container.streams.video if not stream.disposition & _NOT_VIDEO]


def thumbnail_streams(container: InputContainer) -> list[VideoStream]:
    """Return the streams that a file calls pictures of its chapters; some players show them like others."""
    return [stream for stream in container.streams.video if stream.disposition & Disposition.timed_thumbnails]


def demuxed(container: InputContainer, streams: list[Any]) -> Generator[Packet[Any], None, bool]:
    """Yield the packets of some streams, and then one without content for each.

    Returns:
        Whether a stream begins on the way that was not there when the file was opened. PyAV then ends with an
        IndexError: it looks for all streams to yield a last packet for. Those asked for have theirs by then.
    """
    try:
        yield from container.demux(streams)
    except IndexError:
        return True
    return False


def reason_of(error: Exception) -> str:
    """Say what FFmpeg said, without the path of the scratch file."""
    return getattr(error, "strerror", None) or type(error).__name__
