"""Owns holding what a file declares against what its packets hold."""

from __future__ import annotations

import os

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from securevqa_core.decoding.frame_index import FrameIndex, stream_seconds
from securevqa_core.decoding.matroska_header import declares_length
from securevqa_core.decoding.probe import shown_streams, thumbnail_streams
from securevqa_core.decoding.transport_tracks import video_tracks
from securevqa_core.doubts import (
    CLOCK_JUMPS,
    EDITS_HIDE,
    SEVERAL_VIDEO_STREAMS,
    STREAM_SHORT,
    SUBTITLES_COVER,
    TRACK_CHANGES,
)
from securevqa_core.types import VideoInfo

__all__ = ["header_warnings"]

_SHORT_SHARE = 0.9  # of the declared duration; below it a stream counts as cut off
_SHORT_SECONDS = 0.5  # containers round
_SHORT_FRAMES = 1.5  # likewise
_MAX_HIDDEN_SHARE = 0.5  # of the pictures; trims that leave less than they cut out are a doubt
_COUNTED_IN = frozenset({"avi", "matroska", "mov"})
_UNASKED = Disposition.default | Disposition.forced
# Subtitles that are pictures or can be drawings. Others are words.
_DRAWN = frozenset({"ass", "hdmv_pgs_subtitle", "dvb_subtitle", "dvd_subtitle", "xsub"})


def header_warnings(
    container: InputContainer, stream: VideoStream, index: FrameIndex, info: VideoInfo, *, descriptor: int
) -> list[str]:
    """Say where the header declares clearly more than the packets hold, or more than one video."""
    warnings = []
    declared, present = _declared_seconds(container, stream, index, descriptor), info.duration_seconds
    if stream.frames > index.num_packets and _lacks_frames(declared, info):
        warnings.append(f"{STREAM_SHORT} {index.num_packets} of {stream.frames} declared frames are present")
    elif _is_short(declared, present) and not index.seconds_ahead:
        warnings.append(f"{STREAM_SHORT} {present:.2f} of {declared:.2f} declared seconds are present")
    elif _is_mp4(container) and index.num_packets < (1 - _MAX_HIDDEN_SHARE) * stream.frames:
        warnings.append(f"{EDITS_HIDE} {index.num_packets} of {stream.frames} pictures are to be shown")
    if index.failed_at is not None:
        size_bytes = os.fstat(descriptor).st_size
        warnings.append(f"{STREAM_SHORT} {index.failed_at} of {size_bytes} bytes can be read")
    num_videos = len(shown_streams(container)) + len(thumbnail_streams(container))
    if num_videos > 1:
        warnings.append(f"{SEVERAL_VIDEO_STREAMS} stream {stream.index} of {num_videos} was read")
    else:
        warnings += _track_changes(container, stream, index, descriptor)
    if index.seconds_ahead:
        warnings.append(f"{CLOCK_JUMPS} {index.seconds_ahead:.0f} s ahead, of which no picture is shown")
    if index.seconds_back:
        warnings.append(f"{CLOCK_JUMPS} {index.seconds_back:.0f} s back, to before pictures that were shown")
    return warnings + _covers(container)


def _track_changes(
    container: InputContainer, stream: VideoStream, index: FrameIndex, descriptor: int
) -> list[str]:
    """Say where the picture may go on in a track that was not there when the file was opened."""
    if "mpegts" not in container.format.name.split(","):
        late = "a stream begins on the way, which was not read"
        return [f"{TRACK_CHANGES} {late}"] if index.has_late_streams else []
    tracks = video_tracks(descriptor)
    if others := {pid for pid, _ in tracks} - {stream.id}:
        ids = ", ".join(map(str, sorted(others)))
        return [f"{TRACK_CHANGES} packet id {stream.id} was read, and not {ids}"]
    if len(tracks) > 1:
        kinds = ", ".join(f"{kind:#04x}" for _, kind in sorted(tracks))
        return [f"{TRACK_CHANGES} packet id {stream.id} is of kinds {kinds}, of which one was read"]
    return []


def _covers(container: InputContainer) -> list[str]:
    """Say which subtitles may cover the picture without a viewer's asking."""
    unasked = [stream for stream in container.streams.subtitles if stream.disposition & _UNASKED]
    contexts = [stream.codec_context for stream in unasked if stream.codec_context is not None]
    kinds = {context.codec.canonical_name for context in contexts} & _DRAWN
    return [f"{SUBTITLES_COVER} {', '.join(sorted(kinds))}, shown by default"] if kinds else []


def _declared_seconds(
    container: InputContainer, stream: VideoStream, index: FrameIndex, descriptor: int
) -> float:
    """Return how long the video is said to be; the container's word counts as far as no sound reaches."""
    empty = _empty_seconds(container, stream, index)
    own = stream_seconds(stream)
    if own is not None:
        return own - empty
    whole = (container.duration or 0) / av.time_base
    if not _is_short(whole, index.end_of_others):
        return 0.0
    is_guess = "matroska" in container.format.name.split(",") and not declares_length(descriptor)
    return 0.0 if is_guess else whole - empty


def _is_mp4(container: InputContainer) -> bool:
    return "mov" in container.format.name.split(",")


def _empty_seconds(container: InputContainer, stream: VideoStream, index: FrameIndex) -> float:
    """Return for how long of what is declared nothing is shown at first: what was cut, or all from time 0."""
    if _COUNTED_IN.isdisjoint(container.format.name.split(",")):
        return index.unshown_seconds
    knows_first = index.pts is not None and index.numbers is None
    start_time = int(index.pts[0]) if knows_first else stream.start_time  # type: ignore[index]
    if start_time is None or stream.time_base is None:
        return 0.0
    return max(float(start_time * stream.time_base), 0.0)


def _lacks_frames(declared: float, info: VideoInfo) -> bool:
    """Tell whether frames are missing in time too: some are declared that an edit list cuts off, or null."""
    present, fps = info.duration_seconds, info.fps
    return present is None or fps is None or present + _SHORT_FRAMES / fps < declared


def _is_short(declared: float, present: float | None) -> bool:
    return present is not None and present + _SHORT_SECONDS < _SHORT_SHARE * declared
