"""MP4 boxes made and changed by hand, where FFmpeg writes none of the kind."""

from __future__ import annotations

import struct
from pathlib import Path

PATH_TO_ENTRIES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
ENTRY_BYTES = 78  # of a visual sample entry before the boxes in it


def box(kind: bytes, *held: bytes) -> bytes:
    content = b"".join(held)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, *held: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *held)


def clap(
    width: tuple[int, int], height: tuple[int, int], right: tuple[int, int], down: tuple[int, int]
) -> bytes:
    """A clean aperture, each number a fraction."""
    return box(b"clap", struct.pack(">8i", *width, *height, *right, *down))


def dolby_vision(kind: bytes, *, profile: int, compatibility: int) -> bytes:
    """A configuration record of level 1 with RPUs and a base layer."""
    return box(kind, struct.pack(">BBHB", 1, 0, profile << 9 | 1 << 3 | 0b101, compatibility << 4), bytes(19))


def find(content: bytes, *path: bytes) -> list[int]:
    """Where the boxes on the way to one begin; the index must come after the pictures, so that these stay."""
    start, end, places = 0, len(content), []
    for kind in path:
        while content[start + 4 : start + 8] != kind:
            start += int.from_bytes(content[start : start + 4])
            assert start < end, f"no {kind!r} in {path!r}"
        places.append(start)
        end = start + int.from_bytes(content[start : start + 4])
        start += 16 if kind == b"stsd" else 8
    return places


def add_to_entry(source: Path, target: Path, extra: bytes, *, kind: bytes | None = None) -> Path:
    """Write `source` to `target` with more boxes in its sample entry, which may be renamed."""
    content = bytearray(source.read_bytes())
    entry = find(content, *PATH_TO_ENTRIES)[-1] + 16
    size = int.from_bytes(content[entry : entry + 4])
    content[entry + size : entry + size] = extra
    if kind is not None:
        content[entry + 4 : entry + 8] = kind
    for place in [*find(bytes(content), *PATH_TO_ENTRIES), entry]:
        grown = int.from_bytes(content[place : place + 4]) + len(extra)
        content[place : place + 4] = struct.pack(">I", grown)
    target.write_bytes(content)
    return target
