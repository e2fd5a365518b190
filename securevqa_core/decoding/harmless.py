"""Owns which complaints of a decoder touch no pixel: those it makes of what lies beside the pixels too.

A log says that something was wrong, not what came of it. So the parts of a packet that hold no pixels are
given to another decoder by themselves: what it complains of there, with the same words, damaged no picture.
"""

from __future__ import annotations

import contextlib

import av
from av.codec import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from securevqa_core.decoding.damage import overheard
from securevqa_core.decoding.nal_units import join_units, length_bytes_of, units

__all__ = ["touch_no_pixel"]

_H264_SLICES = range(1, 6)  # nal_unit_type of Rec. ITU-T H.264, table 7-1
_HEVC_SLICES = range(32)  # of Rec. ITU-T H.265, table 7-1
# Markers of Rec. ITU-T T.81, table B.1.
_JPEG_START, _JPEG_END, _JPEG_SCAN = 0xD8, 0xD9, 0xDA
_JPEG_BESIDE = frozenset([*range(0xE0, 0xF0), 0xFE])  # application segments and comments


def touch_no_pixel(complaints: list[str], packet: Packet[VideoStream], decoder: VideoCodecContext) -> bool:
    """Tell whether a decoder says the same of what lies beside the pixels of a packet it took."""
    beside = _beside_pixels(bytes(packet), decoder)
    if not beside:
        return False
    other = CodecContext.create(decoder.codec.name, "r")
    assert isinstance(other, VideoCodecContext)
    other.options, other.thread_count, other.extradata = decoder.options, 1, decoder.extradata
    with overheard() as said, contextlib.suppress(av.error.FFmpegError):  # there is no picture in it
        other.decode(Packet(beside))
    return set(complaints) <= {text for _, _, text in said}


def _beside_pixels(content: bytes, decoder: VideoCodecContext) -> bytes:
    """Return the parts of a packet that hold no pixels, in the packet's own form; none of an unknown form."""
    name = decoder.codec.canonical_name
    if name == "mjpeg":
        return _jpeg_beside(content)
    if name not in {"h264", "hevc"}:
        return b""
    length_bytes = length_bytes_of(decoder)
    found = units(content, length_bytes)
    if name == "h264":
        return join_units((unit for unit in found if unit[0] & 31 not in _H264_SLICES), length_bytes)
    return join_units((unit for unit in found if unit[0] >> 1 & 63 not in _HEVC_SLICES), length_bytes)


def _jpeg_beside(content: bytes) -> bytes:
    """Return a JPEG file of the application segments and comments before the first scan alone."""
    kept, at = bytes([0xFF, _JPEG_START]), 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] not in {_JPEG_SCAN, _JPEG_END}:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if content[at + 1] in _JPEG_BESIDE:
            kept += content[at:end]
        at = end
    return kept + bytes([0xFF, _JPEG_END])
