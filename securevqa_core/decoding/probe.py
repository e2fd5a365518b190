"""Owns the first look at an untrusted file: is it allowed, and which frames does it hold."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.allowlist import CODECS, OPEN_OPTIONS
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, VideoInfo

__all__ = ["FrameIndex", "check_stream", "index_frames", "open_container", "video_info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameIndex:
    """The frames of a stream in the order they are shown, read from packets without decoding."""

    pts: NDArray[np.int64] | None  # (num_frames,) ascending, in stream time base; None where packets lack them
    is_keyframe: NDArray[np.bool_]  # (num_frames,)
    num_frames: int


def open_container(path: str) -> InputContainer:
    """Open `path` with the allow-list in force.

    Raises:
        DecodeError: not_a_video, container_not_allowed.
    """
    try:
        return av.open(path, options=dict(OPEN_OPTIONS), metadata_errors="ignore")
    except av.error.ArgumentError as error:
        raise DecodeError(
            "container_not_allowed", "the container is recognised but not on the allow-list"
        ) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DecodeError("not_a_video", f"no allowed container recognises the bytes: {_reason(error)}") from error


def check_stream(container: InputContainer, limits: DecodeLimits) -> VideoStream:
    """Return the video stream to score, checked against the allow-list and the limits.

    Raises:
        DecodeError: no_video_stream, codec_not_allowed, too_many_pixels, no_frames.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        kinds = sorted({other.type for other in container.streams})
        raise DecodeError("no_video_stream", f"no video stream among {', '.join(kinds) or 'no streams'}")
    context = stream.codec_context
    name = context.codec.canonical_name
    if name not in CODECS:
        raise DecodeError("codec_not_allowed", f"codec {name!r} is not on the allow-list")
    if context.width * context.height > limits.max_pixels:
        raise DecodeError(
            "too_many_pixels",
            f"a frame may have at most {limits.max_pixels} pixels, got {context.width} x {context.height}",
        )
    if min(context.width, context.height) < 1:
        raise DecodeError("no_frames", f"frame size is unknown: {context.width} x {context.height}")
    context.options = {"max_pixels": str(limits.max_pixels)}  # a later header may claim more than the first
    context.thread_count = 1  # parallelism is across videos
    return stream


def index_frames(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Read every packet of `stream` once and list the frames it announces.

    Raises:
        DecodeError: no_frames.
    """
    pts: list[int | None] = []
    keyframes: list[bool] = []
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                pts.append(packet.pts)
                keyframes.append(packet.is_keyframe)
    except av.error.FFmpegError as error:
        if not pts:
            raise DecodeError("no_frames", f"no packet can be read: {_reason(error)}") from error
    if not pts:
        raise DecodeError("no_frames", "the video stream holds no packet")
    flags = np.array(keyframes)
    if None in pts or len(set(pts)) < len(pts):
        return FrameIndex(pts=None, is_keyframe=flags, num_frames=len(pts))
    times = np.array(pts, dtype=np.int64)
    order = np.argsort(times)
    return FrameIndex(pts=times[order], is_keyframe=flags[order], num_frames=len(pts))


def _reason(error: Exception) -> str:
    """Say what FFmpeg said, without the path of the scratch file."""
    return getattr(error, "strerror", None) or type(error).__name__


def video_info(stream: VideoStream, index: FrameIndex) -> VideoInfo:
    """Describe the stream by what its packets hold, not by what its header declares."""
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else None
    duration = None
    if index.pts is not None and stream.time_base is not None and index.num_frames > 1:
        gap = float(np.median(np.diff(index.pts)))
        duration = float((index.pts[-1] - index.pts[0] + gap) * stream.time_base)
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
