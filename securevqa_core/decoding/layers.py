"""Owns refusing packets of H.264 or HEVC that hold layers or views beside the one that is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from securevqa_core.decoding.header import not_understood

__all__ = ["check_layers"]

_START_CODE = b"\0\0\1"
_H264_EXTENSIONS = frozenset([20, 21])  # slices of further layers and views (ITU-T H.264, table 7-1)
_HEVC_SLICES = range(32)
_LENGTH_SIZE_AT = {"h264": 4, "hevc": 21}  # in avcC and hvcC, of how many bytes a length has


def check_layers(packet: Packet[VideoStream], context: VideoCodecContext) -> None:
    """Refuse a packet with slices that are left out by who decodes the base layer, as FFmpeg does.

    Args:
        packet: of any codec; others than H.264 and HEVC have none that FFmpeg would leave out.
        context: what decodes it.

    Raises:
        DecodeError: display_not_understood.
    """
    codec = context.codec.canonical_name
    if codec == "h264":
        is_further = any(head[0] & 0x1F in _H264_EXTENSIONS for head in _unit_heads(packet, context))
    elif codec == "hevc":
        is_further = any(map(_is_slice_of_further_layer, _unit_heads(packet, context)))
    else:
        return
    if is_further:
        raise not_understood("further layers, views or alpha beside the layer that is decoded")


def _is_slice_of_further_layer(head: bytes) -> bool:
    layer = (head[0] & 1) << 5 | head[1] >> 3  # ITU-T H.265, section 7.3.1.2
    return head[0] >> 1 & 0x3F in _HEVC_SLICES and layer > 0


def _unit_heads(packet: Packet[VideoStream], context: VideoCodecContext) -> Iterator[bytes]:
    """Yield the first two bytes of every NAL unit."""
    held, extradata = bytes(packet), context.extradata or b""
    at_size = _LENGTH_SIZE_AT[context.codec.canonical_name]
    if len(extradata) <= at_size or extradata[0] != 1:
        at = held.find(_START_CODE)
        while 0 <= at < len(held) - 4:
            yield held[at + 3 : at + 5]
            at = held.find(_START_CODE, at + 3)
        return
    length_bytes, at = (extradata[at_size] & 3) + 1, 0
    while at + length_bytes + 2 <= len(held):
        yield held[at + length_bytes : at + length_bytes + 2]
        at += length_bytes + int.from_bytes(held[at : at + length_bytes])
