"""Owns the first look at an untrusted file: is it allowed, and which frames does it hold."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.allowlist import CODECS, open_options
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, VideoInfo

__all__ = [
    "MAX_DURATION_SECONDS",
    "MAX_STREAMS",
    "FrameIndex",
    "check_duration",
    "check_frame_size",
    "check_stream",
    "header_warnings",
    "index_frames",
    "open_container",
    "open_file",
    "trusted_times",
    "video_info",
]

MAX_STREAMS = 128  # of all kinds; FFmpeg looks into each one as it opens a file
MAX_DURATION_SECONDS = 48 * 3600.0  # more than a transport stream's clock, which begins anew after 26.5 hours
_NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
_VP8_SHOW_FRAME = 0x10  # RFC 6386, section 9.1: bit 4 of a frame's first byte
_SHORT_SHARE = 0.9  # of the declared duration; below it a stream counts as cut off
_SHORT_SECONDS = 0.5  # containers round
# PyAV 18 refuses tags that are not UTF-8 unless it is told to; 19 takes them, and knows no such option.
_TAG_OPTIONS: dict[str, Any] = {"metadata_errors": "ignore"} if av.__version__.startswith("18.") else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameIndex:
    """The frames of a stream in the order they are shown, read from packets without decoding.

    Of a long film only some frames are known, those that `numbers` names.
    """

    pts: NDArray[np.int64] | None  # (k,) ascending, in stream time base; None where not to be trusted
    is_keyframe: NDArray[np.bool_]  # (k,)
    num_frames: int
    num_packets: int  # with those that are not shown: VP8's hidden frames, what an edit list cuts off
    numbers: NDArray[np.int64] | None = None  # (k,) ascending; None: every frame is known, k = num_frames
    positions: NDArray[np.int64] | None = None  # (k,) bytes from the file's start, where they are to seek by
    duration: int | None = None  # in stream time base, where some frames are unknown

    def times_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time stamps of known frames.

        Args:
            numbers: (m,) of frames; of a long film, of those that are known.

        Raises:
            ValueError: the index has no time stamps.
        """
        if self.pts is None:
            raise ValueError(f"the index has no time stamps, so none for {numbers.tolist()}")
        rows = numbers if self.numbers is None else np.searchsorted(self.numbers, numbers)
        return self.pts[rows]


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
        raise DecodeError("decode_failed", f"the file cannot be opened: {_reason(error)}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DecodeError("decode_failed", "the file cannot be opened: it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def open_container(descriptor: int) -> InputContainer:
    """Open a file with the allow-list in force.

    Raises:
        DecodeError: not_a_video, container_not_allowed, decode_failed.
    """
    try:
        # Opened by number, so that no name is read as a URL, as a pattern or as a hint at the format.
        options = open_options() | {"fd": str(descriptor)}
        return av.open("fd:", options=options, **_TAG_OPTIONS)
    except MemoryError:
        raise
    except av.error.ArgumentError as error:
        raise DecodeError(
            "container_not_allowed", "the container is recognised but not on the allow-list"
        ) from error
    except (av.error.FFmpegError, ValueError) as error:
        message = f"no allowed container recognises the bytes: {_reason(error)}"
        raise DecodeError("not_a_video", message) from error
    except OSError as error:
        raise DecodeError("decode_failed", f"the file cannot be opened: {_reason(error)}") from error


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
    videos = _videos(container)
    best = container.streams.best("video")
    if not videos:
        pictures = ["cover picture"] if container.streams.video else []
        kinds = sorted({other.type for other in container.streams if other.type != "video"}) + pictures
        raise DecodeError("no_video_stream", f"no video stream among {', '.join(kinds) or 'no streams'}")
    return best if isinstance(best, VideoStream) and best in videos else videos[0]


def _videos(container: InputContainer) -> list[VideoStream]:
    return [stream for stream in container.streams.video if not stream.disposition & _NOT_VIDEO]


def index_frames(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Read every packet of `stream` once and list the frames it announces.

    Raises:
        DecodeError: no_frames.
    """
    pts: list[int | None] = []
    keyframes: list[bool] = []
    num_packets = 0
    is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
    try:
        for packet in container.demux(stream):
            num_packets += packet.size > 0
            hidden = is_vp8 and packet.size and not memoryview(packet)[0] & _VP8_SHOW_FRAME
            if packet.size and not packet.is_discard and not hidden:
                pts.append(packet.pts)
                keyframes.append(packet.is_keyframe)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        if not pts:
            raise DecodeError("no_frames", f"no packet can be read: {_reason(error)}") from error
    if not pts:
        raise DecodeError("no_frames", "the video stream holds no packet")
    flags, times = np.array(keyframes), trusted_times(pts, reorders=stream.codec_context.has_b_frames)
    if times is not None:
        order = np.argsort(times)
        flags, times = flags[order], times[order]
    return FrameIndex(pts=times, is_keyframe=flags, num_frames=len(pts), num_packets=num_packets)


def trusted_times(pts: list[int | None], *, reorders: bool) -> NDArray[np.int64] | None:
    """Return the packets' time stamps, None where they do not tell frames apart or give the wrong order."""
    known = [stamp for stamp in pts if stamp is not None]
    if len(set(known)) < len(pts):
        return None
    times = np.array(known, dtype=np.int64)
    # AVI holds no time stamps and FFmpeg counts packets, which is right only where nothing is reordered.
    in_file_order = len(times) > 2 and bool((times[1:] > times[:-1]).all())
    return None if reorders and in_file_order else times


def _reason(error: Exception) -> str:
    """Say what FFmpeg said, without the path of the scratch file."""
    return getattr(error, "strerror", None) or type(error).__name__


def video_info(stream: VideoStream, index: FrameIndex) -> VideoInfo:
    """Describe the stream by what its packets hold, not by what its header declares."""
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else None
    duration = None
    if index.duration is not None and stream.time_base is not None:
        duration = float(index.duration) * float(stream.time_base)
    elif index.pts is not None and stream.time_base is not None and index.num_frames > 1:
        times = index.pts.astype(np.float64)  # absurd time stamps would overflow integers
        duration = float(times[-1] - times[0] + np.median(np.diff(times))) * float(stream.time_base)
    elif fps:
        duration = index.num_frames / fps
    return VideoInfo(
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        fps=fps,
        num_frames=index.num_frames,
        duration_seconds=duration,
        codec=stream.codec_context.codec.canonical_name,
    )


def header_warnings(
    container: InputContainer, stream: VideoStream, index: FrameIndex, info: VideoInfo
) -> list[str]:
    """Say where the header declares clearly more than the packets hold, or more than one video."""
    warnings = []
    if stream.frames > index.num_packets:
        warnings.append(f"stream_short: {index.num_packets} of {stream.frames} declared frames are present")
    elif _is_short(declared := _declared_seconds(container, stream), info.duration_seconds):
        present = info.duration_seconds
        warnings.append(f"stream_short: {present:.2f} of {declared:.2f} declared seconds are present")
    num_videos = len(_videos(container))
    if num_videos > 1:
        warnings.append(f"several_video_streams: stream {stream.index} of {num_videos} was read")
    return warnings


def _declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration) * float(stream.time_base)
    return (container.duration or 0) / av.time_base


def _is_short(declared: float, present: float | None) -> bool:
    return present is not None and present + _SHORT_SECONDS < _SHORT_SHARE * declared
