"""Owns refusing packets of H.264 or HEVC that hold layers or views beside the one that is decoded."""

from __future__ import annotations

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from securevqa_core.decoding.header import not_understood
from securevqa_core.decoding.nal_units import length_bytes_of, units

__all__ = ["check_layers"]

_H264_EXTENSIONS = frozenset([20, 21])  # slices of further layers and views (ITU-T H.264, table 7-1)
_HEVC_SLICES = range(32)


def check_layers(packet: Packet[VideoStream], context: VideoCodecContext) -> None:
    """Refuse a packet with slices that are left out by who decodes the base layer, as FFmpeg does.

    Args:
        packet: of any codec; others than H.264 and HEVC have none that FFmpeg would leave out.
        context: what decodes it.

    Raises:
        DecodeError: display_not_understood.
    """
    is_further = _TESTS.get(context.codec.canonical_name)
    if is_further and any(map(is_further, units(bytes(packet), length_bytes_of(context)))):
        raise not_understood("further layers, views or alpha beside the layer that is decoded")


def _is_h264_extension(unit: bytes) -> bool:
    return unit[0] & 0x1F in _H264_EXTENSIONS


def _is_slice_of_further_layer(unit: bytes) -> bool:
    layer = (unit[0] & 1) << 5 | unit[1] >> 3 if len(unit) > 1 else 0  # ITU-T H.265, section 7.3.1.2
    return unit[0] >> 1 & 0x3F in _HEVC_SLICES and layer > 0


_TESTS = {"h264": _is_h264_extension, "hevc": _is_slice_of_further_layer}
