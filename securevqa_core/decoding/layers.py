"""Owns refusing packets of H.264, HEVC or AV1 that hold layers or views beside the one that is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from securevqa_core.decoding.header import not_understood
from securevqa_core.decoding.nal_units import length_bytes_of, units

__all__ = ["check_layers"]

_H264_EXTENSIONS = frozenset([20, 21])  # slices of further layers and views (ITU-T H.264, table 7-1)
_HEVC_SLICES = range(32)
_AV1_PICTURES = frozenset([3, 4, 6, 7])  # frame headers and tiles (AV1 specification, section 6.2.2)
_HAS_EXTENSION, _HAS_SIZE = 4, 2  # flags of an OBU's header, section 5.3.2


def check_layers(packet: Packet[VideoStream], context: VideoCodecContext, *, is_entry: bool) -> None:
    """Refuse a packet with pictures of a further layer or view.

    FFmpeg decodes the base layer of H.264 and HEVC alone. Of AV1 it gives the highest spatial layer of the
    first operating point, or all of them where none is told; what a player shows is its choice.

    Args:
        packet: of any codec; others than these three have none.
        context: what decodes it.
        is_entry: decoding may begin there. Other packets are looked at in AV1 alone, where it costs next to
            nothing.

    Raises:
        DecodeError: display_not_understood.
    """
    name = context.codec.canonical_name
    if name == "av1":
        is_layered = _has_spatial_layers(memoryview(packet))
    else:
        is_further = _TESTS.get(name) if is_entry else None
        is_layered = is_further is not None and any(
            map(is_further, units(bytes(packet), length_bytes_of(context)))
        )
    if is_layered:
        raise not_understood("further layers, views or alpha beside the layer that is decoded")


def _is_h264_extension(unit: bytes) -> bool:
    return unit[0] & 0x1F in _H264_EXTENSIONS


def _is_slice_of_further_layer(unit: bytes) -> bool:
    layer = (unit[0] & 1) << 5 | unit[1] >> 3 if len(unit) > 1 else 0  # ITU-T H.265, section 7.3.1.2
    return unit[0] >> 1 & 0x3F in _HEVC_SLICES and layer > 0


def _has_spatial_layers(content: memoryview) -> bool:
    return any(kind in _AV1_PICTURES and layer > 0 for kind, layer in _open_bitstream_units(content))


def _open_bitstream_units(content: memoryview) -> Iterator[tuple[int, int]]:
    """Yield kind and spatial layer of the OBUs of a temporal unit (AV1 specification, section 5.3)."""
    at = 0
    while at + 1 < len(content):
        header, extension = content[at], content[at + 1]
        layer = extension >> 3 & 3 if header & _HAS_EXTENSION else 0
        at += 2 if header & _HAS_EXTENSION else 1
        yield header >> 3 & 15, layer
        if not header & _HAS_SIZE:
            return
        size = shift = 0
        while at < len(content):
            size |= (content[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not content[at - 1] & 128:
                break
        at += size


_TESTS = {"h264": _is_h264_extension, "hevc": _is_slice_of_further_layer}
