"""Breaks real files the way transfers, disks and attackers do: bits, ends, blocks, boxes of MP4 and EBML."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

__all__ = ["MUTATIONS", "mutated"]

_MP4_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"dinf"}
_EBML_PARENTS = {0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7, 0x114D9B74}
_SIZES = (0, 1, 7, 8, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def flip_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A few bits anywhere."""
    for at in rng.integers(0, len(content) * 8, size=int(rng.choice([1, 4, 32, 256]))).tolist():
        content[at // 8] ^= 1 << at % 8
    return content


def flip_header_bits(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A few bits in the first and last kilobyte, where tables are."""
    for at in rng.integers(0, 1024, size=8).tolist():
        place = at if rng.random() < 0.5 else len(content) - 1 - at
        content[place % len(content)] ^= 1 << int(rng.integers(8))
    return content


def truncate(content: bytearray, rng: np.random.Generator) -> bytearray:
    """An end that is missing."""
    return content[: int(rng.integers(1, len(content)))]


def overwrite(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A block of zeros, ones or noise."""
    start = int(rng.integers(len(content)))
    length = min(int(rng.choice([4, 64, 2048])), len(content) - start)
    block = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    content[start : start + length] = (bytes(length), b"\xff" * length, block)[int(rng.integers(3))]
    return content


def move_block(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A block that is cut out, repeated or in another place."""
    start, to = (int(at) for at in rng.integers(0, len(content), size=2))
    block = content[start : start + int(rng.integers(1, 4096))]
    if rng.random() < 0.5:
        del content[start : start + len(block)]
    content[to:to] = block if rng.random() < 0.7 else b""
    return content


def edit_mp4(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A box of MP4 with another size, another type or other numbers in it."""
    boxes = _mp4_boxes(content, 0, len(content))
    if not boxes:
        return flip_bits(content, rng)
    start, size = boxes[int(rng.integers(len(boxes)))]
    match int(rng.integers(4)):
        case 0:
            content[start : start + 4] = struct.pack(">I", int(rng.choice(_SIZES)))
        case 1:
            other, _ = boxes[int(rng.integers(len(boxes)))]
            content[start + 4 : start + 8] = content[other + 4 : other + 8]
        case 2 if size > 16:
            at = start + 8 + 4 * int(rng.integers((size - 8) // 4))
            content[at : at + 4] = struct.pack(">I", int(rng.choice(_SIZES)))
        case _:
            content[start:start] = content[start : start + size]
    return content


def edit_ebml(content: bytearray, rng: np.random.Generator) -> bytearray:
    """An element of Matroska with another size, another name or other content."""
    elements = _ebml_elements(content, 0, len(content))
    if not elements:
        return flip_bits(content, rng)
    start, body, end = elements[int(rng.integers(len(elements)))]
    match int(rng.integers(4)):
        case 0:
            content[body - 1] = int(rng.integers(256))
        case 1:
            content[start] = int(rng.integers(256))
        case 2 if end > body:
            length = min(end - body, 8)
            content[body : body + length] = (b"\xff" * length, bytes(length))[int(rng.integers(2))]
        case _:
            content[start:start] = content[start:end]
    return content


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        flip_bits,
        flip_header_bits,
        truncate,
        overwrite,
        move_block,
        edit_mp4,
        edit_ebml,
    )
}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Break `content` in one to three ways; those that fit its container come often."""
    broken = bytearray(content)
    fitting = (
        "edit_mp4" if content[4:8] == b"ftyp" else "edit_ebml" if content[:1] == b"\x1a" else "overwrite"
    )
    unfitting = {"edit_mp4", "edit_ebml"} - {fitting}
    names = [name for name in MUTATIONS if name not in unfitting] + [fitting] * 2
    for name in rng.choice(names, size=int(rng.integers(1, 4))).tolist():
        if broken:
            broken = MUTATIONS[name](broken, rng)
    return bytes(broken)


def _mp4_boxes(content: bytearray, start: int, end: int) -> list[tuple[int, int]]:
    """(offset, size) of every box, parents before their children."""
    boxes = []
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        if not 8 <= size <= end - start:
            break
        boxes.append((start, size))
        if kind in _MP4_PARENTS:
            boxes += _mp4_boxes(content, start + 8, start + size)
        start += size
    return boxes


def _ebml_elements(content: bytearray, start: int, end: int) -> list[tuple[int, int, int]]:
    """(offset, offset of the body, end) of every element, parents before their children."""
    elements = []
    while start < end:
        name, after_name = _ebml_number(content, start, end, keeps_marker=True)
        size, body = _ebml_number(content, after_name, end, keeps_marker=False)
        if name is None or size is None:
            break
        stop = min(body + size, end)
        elements.append((start, body, stop))
        if name in _EBML_PARENTS:
            elements += _ebml_elements(content, body, stop)
        start = stop
    return elements


def _ebml_number(content: bytearray, start: int, end: int, *, keeps_marker: bool) -> tuple[int | None, int]:
    if start >= end or not content[start]:
        return None, start
    length = 9 - content[start].bit_length()
    if start + length > end:
        return None, start
    value = int.from_bytes(content[start : start + length])
    return (value if keeps_marker else value & ~(1 << 7 * length)), start + length
