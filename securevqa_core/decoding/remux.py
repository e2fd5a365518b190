"""Owns copying the one checked stream of a file into memory, for a reader that must see nothing else."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
from av.packet import Packet
from av.video.stream import VideoStream

from securevqa_core.decoding.backend import OpenVideo
from securevqa_core.decoding.nal_units import IDR_SLICE, length_bytes_of, units
from securevqa_core.decoding.probe import demuxed
from securevqa_core.errors import DecodeError

__all__ = ["Copy", "remuxed"]

# FFmpeg's muxers for each family of containers, by the demuxer's first name: the first that takes the codec.
_MUXERS = {
    "mov": ("mp4", "mov"),
    "matroska": ("matroska",),
    "avi": ("avi",),
    "flv": ("flv",),
    "asf": ("asf",),
    "mpeg": ("vob",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One stream in memory."""

    content: io.BytesIO
    has_true_keyframes: bool  # False: from some that are marked, later frames cannot be decoded


def remuxed(video: OpenVideo) -> Copy:
    """Return the packets of the stream that is scored in a container of the same family, from its start.

    Raises:
        DecodeError: decode_failed, where its packets cannot be put into one.
    """
    family = video.container.format.name.split(",")[0]
    reason: Exception | None = None
    for muxer in _MUXERS.get(family, ()):
        try:
            return _copied(video, muxer)
        except (ValueError, av.error.FFmpegError) as error:
            reason = error
    raise DecodeError("decode_failed", f"the stream cannot be copied out of {family!r}") from reason


def _copied(video: OpenVideo, muxer: str) -> Copy:
    content = io.BytesIO()
    has_true_keyframes = True
    with video.reopened() as source, av.open(content, "w", format=muxer) as target:
        copy = target.add_stream_from_template(source.stream, opaque=True)
        for packet in demuxed(source.container, [source.stream]):
            if packet.size:
                has_true_keyframes &= not packet.is_keyframe or _begins_anew(packet, source.stream)
                packet.stream = copy
                target.mux(packet)
    content.seek(0)
    return Copy(content=content, has_true_keyframes=has_true_keyframes)


def _begins_anew(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Tell whether decoding may begin here; H.264 with periodic intra refresh marks where it nearly may."""
    decoder = stream.codec_context
    if decoder.codec.canonical_name != "h264":
        return True
    return any(unit[0] & 31 == IDR_SLICE for unit in units(bytes(packet), length_bytes_of(decoder)))
