"""Owns telling the parts of an H.264 or HEVC packet apart."""

from __future__ import annotations

import re
from collections.abc import Iterator

from av.video.codeccontext import VideoCodecContext

__all__ = ["IDR_SLICE", "join_units", "length_bytes_of", "units"]

IDR_SLICE = 5  # nal_unit_type of Rec. ITU-T H.264, table 7-1

_START_CODE = b"\0\0\1"


def length_bytes_of(decoder: VideoCodecContext) -> int:
    """Return how many bytes give the length of each unit; 0 where start codes tell them apart."""
    extradata = decoder.extradata or b""
    if extradata[:1] != b"\x01":
        return 0
    place = 4 if decoder.codec.canonical_name == "h264" else 21  # ISO/IEC 14496-15, avcC and hvcC
    return (extradata[place] & 3) + 1 if len(extradata) > place else 4


def units(content: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the units of a packet, none empty."""
    if not length_bytes:
        yield from (unit for unit in re.split(re.escape(_START_CODE), content)[1:] if unit)
        return
    at = 0
    while at + length_bytes < len(content):
        start = at + length_bytes
        at = start + int.from_bytes(content[at:start])
        if at > start:
            yield content[start:at]


def join_units(chosen: Iterator[bytes], length_bytes: int) -> bytes:
    """Return a packet of some units."""
    return b"".join(
        (len(unit).to_bytes(length_bytes) if length_bytes else _START_CODE) + unit for unit in chosen
    )
