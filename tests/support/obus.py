"""AV1 and VP9 packets put together anew, as no encoder here does (AV1 specification, section 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av

__all__ = ["in_pairs", "in_superframes", "rewritten", "temporal_layers", "together"]

_DELIMITER, _HAS_EXTENSION = 2, 4
_PICTURES = (3, 4, 6, 7)


def rewritten(source: Path, target: Path, change: Callable[[list[bytes]], list[bytes]]) -> Path:
    """Copy a video whose packets are all changed at once; fewer than before come at the first times."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        packets = [packet for packet in reader.demux(video=0) if packet.size]
        times = [(packet.pts, packet.dts) for packet in packets]
        for content, like, (pts, dts) in zip(
            change([bytes(p) for p in packets]), packets, times, strict=False
        ):
            packet = av.Packet(content)
            packet.pts, packet.dts, packet.time_base = pts, dts, like.time_base
            packet.is_keyframe, packet.stream = like.is_keyframe, stream
            writer.mux(packet)
    return target


def in_pairs(packets: list[bytes]) -> list[bytes]:
    """Make the second of every two packets the higher spatial layer of the first."""
    return [
        low + b"".join(_layered(high, extension=1 << 3))
        for low, high in zip(packets[::2], packets[1::2], strict=True)
    ]


def together(packets: list[bytes]) -> list[bytes]:
    """Put every two packets into one, with no word of layers."""
    return [
        first + second.removeprefix(b"\x12\0")
        for first, second in zip(packets[::2], packets[1::2], strict=True)
    ]


def in_superframes(packets: list[bytes]) -> list[bytes]:
    """Put every two packets of VP9 into one (VP9 specification, annex B)."""
    marker = bytes([0b110_11_001])  # sizes of four bytes, two of them
    sizes = [
        b"".join(len(packet).to_bytes(4, "little") for packet in pair)
        for pair in zip(packets[::2], packets[1::2], strict=True)
    ]
    return [
        first + second + marker + size + marker
        for first, second, size in zip(packets[::2], packets[1::2], sizes, strict=True)
    ]


def temporal_layers(packets: list[bytes]) -> list[bytes]:
    """Put every second packet in a temporal layer of its own."""
    return [
        b"".join(_layered(packet, extension=1 << 5)) if place % 2 else packet
        for place, packet in enumerate(packets)
    ]


def _layered(packet: bytes, *, extension: int) -> Iterator[bytes]:
    at = 0
    while at < len(packet):
        header, start = packet[at], at + 1
        assert header & 2, "a unit that does not tell its size"
        size = shift = 0
        while True:
            size |= (packet[start] & 127) << shift
            shift, start = shift + 7, start + 1
            if not packet[start - 1] & 128:
                break
        assert not header & _HAS_EXTENSION
        if header >> 3 & 15 in _PICTURES:
            yield bytes([header | _HAS_EXTENSION, extension]) + packet[at + 1 : start + size]
        elif header >> 3 & 15 != _DELIMITER:
            yield packet[at : start + size]
        at = start + size
