"""Owns refusing packets of H.264 or HEVC that hold layers or views beside the one that is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from securevqa_core.decoding.header import not_understood
from securevqa_core.decoding.picture_data import has_alpha

__all__ = ["check_layers"]

_START_CODE = b"\0\0\1"
_H264_EXTENSIONS = frozenset([20, 21])  # slices of further layers and views (ITU-T H.264, table 7-1)
_HEVC_SLICES = range(32)
_LENGTH_SIZE_AT = {"h264": 4, "hevc": 21}  # in avcC and hvcC, of how many bytes a length has
_ALPHA_LAYER = 1


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
        is_plain = all(head[0] & 0x1F not in _H264_EXTENSIONS for head in _unit_heads(packet, context))
    elif codec == "hevc":
        decoded = {0, _ALPHA_LAYER} if context.pix_fmt and has_alpha(context.pix_fmt) else {0}
        is_plain = decoded.issuperset(_hevc_layers(packet, context))
    else:
        return
    if not is_plain:
        raise not_understood("further layers or views beside the one that is decoded")


def _hevc_layers(packet: Packet[VideoStream], context: VideoCodecContext) -> Iterator[int]:
    for head in _unit_heads(packet, context):
        if head[0] >> 1 & 0x3F in _HEVC_SLICES:
            yield (head[0] & 1) << 5 | head[1] >> 3


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
