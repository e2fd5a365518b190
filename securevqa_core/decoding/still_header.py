"""Owns what a still picture's file (JPEG, PNG, WebP) holds beyond the picture that is decoded."""

from __future__ import annotations

import mmap
import os
import struct

from securevqa_core.decoding.header import Header

__all__ = ["still_header"]

# How files say that a second picture brightens the first on some screens: Adobe's and Google's, Apple's, ISO
# 21496-1's.
_GAIN_MAP_MARKS = (b"http://ns.adobe.com/hdr-gain-map/", b"aux:hdrgainmap", b"urn:iso:std:iso:ts:21496")
_MAX_BYTES = 256 << 20  # that are looked at; no still within the limits on pixels has more
_PNG, _CHUNK_BYTES = b"\x89PNG\r\n\x1a\n", 12  # of a chunk beside what it holds (PNG specification, 5.3)
_OWN_COLOURS = frozenset({b"cICP", b"iCCP", b"sRGB"})  # chunks beside which gAMA and cHRM do not count
_READ = _OWN_COLOURS | {b"acTL", b"cHRM", b"gAMA"}
_USUAL_GAMMA = 1e5 / 3, 1e5 / 1.5  # in gAMA's units; as of ICC profiles
# Red x, green y and blue y in cHRM's units, from BT.601 to ProPhoto, and a white's x and y, from C to D50.
_USUAL_PRIMARIES = {2: (6e4, 1e5), 5: (5.7e4, 1e5), 7: (0, 1e4), 0: (2.9e4, 3.6e4), 1: (3e4, 3.7e4)}
_ANIMATION = 0x02  # flag of WebP's extended header


def still_header(descriptor: int) -> Header:
    """Read what stands beside the picture."""
    length = min(os.fstat(descriptor).st_size, _MAX_BYTES)
    if not length:
        return Header()
    with mmap.mmap(descriptor, length, prot=mmap.PROT_READ) as held:
        problems = []
        if any(held.find(mark) >= 0 for mark in _GAIN_MAP_MARKS):
            problems.append("a gain map")
        if held[:4] == b"RIFF" and held[12:16] == b"VP8X" and held[20] & _ANIMATION:
            problems.append("an animated WebP, of which one picture is decoded")
        if held[: len(_PNG)] == _PNG:
            chunks = _chunks(held)
            if b"acTL" in chunks:
                problems.append("an animated PNG, of which another picture may be decoded than is shown")
            if _OWN_COLOURS.isdisjoint(chunks) and not _has_usual_colours(chunks):
                problems.append("a gamma or primaries of no usual colour space (gAMA, cHRM)")
    return Header(not_understood=tuple(problems))


def _chunks(png: mmap.mmap) -> dict[bytes, bytes]:
    """Return how chunks ahead of a PNG's picture begin; FFmpeg misses those behind many bytes of text."""
    at, found = len(_PNG), dict[bytes, bytes]()
    while (kind := png[at + 4 : at + 8]) not in {b"", b"IDAT"}:
        if kind in _READ:
            found[kind] = png[at + 8 : at + 40]
        at += int.from_bytes(png[at : at + 4]) + _CHUNK_BYTES
    return found


def _has_usual_colours(chunks: dict[bytes, bytes]) -> bool:
    """Tell whether browsers, which apply gAMA and cHRM, show about what the pixels are without."""
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4])
    if gamma and not _USUAL_GAMMA[0] <= gamma <= _USUAL_GAMMA[1]:
        return False
    points = chunks.get(b"cHRM", b"")
    if len(points) < 32:
        return True
    numbers = struct.unpack(">8I", points)
    return all(low <= numbers[place] <= high for place, (low, high) in _USUAL_PRIMARIES.items())
