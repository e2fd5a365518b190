"""Makes H.264 of which each field has a packet of its own, out of uncompressed macroblocks."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

__all__ = ["write_fields"]

_BLOCK = 16  # pixels a side of a macroblock
_I_PCM = 25  # mb_type of Rec. ITU-T H.264, table 7-11: the samples follow as they are
_GREY = bytes([128]) * (_BLOCK * _BLOCK // 2)  # both planes of chroma


class _Bits:
    """Writes the codes of Rec. ITU-T H.264, clause 9.1."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def put(self, value: int, number: int) -> _Bits:
        self._bits.append(format(value, f"0{number}b"))
        return self

    def code(self, value: int) -> _Bits:
        """Exponential-Golomb code of a number that is not negative."""
        coded = format(value + 1, "b")
        self._bits.append("0" * (len(coded) - 1) + coded)
        return self

    def content(self, *, fill: str) -> bytes:
        bits = "".join(self._bits)
        bits += fill
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8)


def write_fields(path: Path, pictures: list[NDArray[np.uint8]]) -> Path:
    """Write grey pictures, (height, width) of 16..235, two interlaced fields each, to a container.

    Args:
        path: its suffix chooses the container.
        pictures: height a multiple of 32, width of 16; one every 1/25 s.
    """
    fields = [
        _field(picture[parity::2], number, parity)
        for number, picture in enumerate(pictures)
        for parity in (0, 1)
    ]
    head = _head(*pictures[0].shape)
    with (
        av.open(io.BytesIO(head + fields[0] + fields[1]), format="h264") as raw,
        av.open(str(path), "w") as file,
    ):
        stream = file.add_stream_from_template(raw.streams.video[0], opaque=True)
        stream.time_base = Fraction(1, 50)
        for place, field in enumerate(fields):
            packet = Packet(head + field if place == 0 else field)
            packet.stream, packet.time_base = stream, Fraction(1, 50)
            packet.pts = packet.dts = place
            packet.duration, packet.is_keyframe = 1, place == 0
            file.mux(packet)
    return path


def _unit(kind: int, payload: bytes) -> bytes:
    escaped, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([kind]) + bytes(escaped)


def _head(height: int, width: int) -> bytes:
    """Sequence and picture parameters: main profile, fields, order of display as of decoding."""
    sequence = _Bits().put(77, 8).put(0, 8).put(40, 8).code(0).code(0).code(2).code(1).put(0, 1)
    sequence.code(width // _BLOCK - 1).code(height // _BLOCK // 2 - 1).put(0b00100, 5)
    picture = _Bits().code(0).code(0).put(0b00, 2).code(0).code(0).code(0).put(0, 1).put(0, 2)
    picture.code(0).code(0).code(0).put(0b100, 3)
    return _unit(0x67, sequence.content(fill="1")) + _unit(0x68, picture.content(fill="1"))


def _field(rows: NDArray[np.uint8], number: int, parity: int) -> bytes:
    """Return the slice of one field."""
    is_idr = number == 0 and parity == 0
    head = _Bits().code(0).code(7).code(0).put(number % 16, 4).put(1, 1).put(parity, 1)
    if is_idr:
        head.code(0)
    head.put(0, 2 if is_idr else 1).code(0).code(1)
    bits, payload = head, b""
    for row, column in np.ndindex(rows.shape[0] // _BLOCK, rows.shape[1] // _BLOCK):
        block = rows[row * _BLOCK :, column * _BLOCK :][:_BLOCK, :_BLOCK]
        payload += bits.code(_I_PCM).content(fill="") + block.tobytes() + _GREY
        bits = _Bits()
    return _unit(0x65 if is_idr else 0x61, payload + b"\x80")
