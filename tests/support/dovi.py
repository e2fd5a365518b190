"""Dolby Vision data (RPUs) made by hand: the least that FFmpeg takes for whole, changing no colour."""

from __future__ import annotations

from pathlib import Path

_DENOMINATOR_BITS = 23
_PIVOTS = (0, 1023)


def rpu_unit(*, profile: int, is_full_range: bool) -> bytes:
    """A NAL unit of HEVC without its start code.

    Args:
        profile: 0 for a base layer that is not Y'CbCr, 1 for one that is.
        is_full_range: of the base layer.
    """
    bits = _header(profile, is_full_range) + _mapping()
    bits += "0" * (-len(bits) % 8)
    held = int(bits, 2).to_bytes(len(bits) // 8)
    return b"\x7c\x01\x19" + _escaped(held + _crc(held).to_bytes(4) + b"\x80")


def append(raw_hevc: Path, unit: bytes) -> Path:
    """Add a unit to the last picture of a raw stream."""
    raw_hevc.write_bytes(raw_hevc.read_bytes() + b"\0\0\1" + unit)
    return raw_hevc


def _header(profile: int, is_full_range: bool) -> str:
    layout = (
        f"{2:06b}{0:011b}{profile:04b}{0:04b}" + "1"
    )  # type, format, profile, level, what follows is there
    coefficients = "0" + "00" + _golomb(_DENOMINATOR_BITS) + "00" + str(int(is_full_range))
    depths = _golomb(2) + _golomb(2) + _golomb(4)  # above eight bits: base, enhancement, whole
    return (
        layout + coefficients + depths + "0" + "000" + "0" + "1" + "0" + "0"
    )  # no residual, colours nor past


def _mapping() -> str:
    start = _golomb(0) * 3  # its number, colour space, chroma format
    pivots = (_golomb(0) + "".join(f"{pivot:010b}" for pivot in _PIVOTS)) * 3
    zero, one = ("1" + "0" * _DENOMINATOR_BITS, "010" + "0" * _DENOMINATOR_BITS)  # whole part and fraction
    line = _golomb(0) + _golomb(0) + "0" + zero + one  # a polynomial of first order
    return start + pivots + _golomb(0) * 2 + line * 3


def _golomb(value: int) -> str:
    coded = f"{value + 1:b}"
    return "0" * (len(coded) - 1) + coded


def _crc(held: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in held:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def _escaped(held: bytes) -> bytes:
    escaped = bytearray()
    for byte in held:
        if byte <= 3 and escaped[-2:] == b"\0\0":
            escaped.append(3)
        escaped.append(byte)
    return bytes(escaped)
