"""Owns what a still picture's file (JPEG, PNG, WebP) holds beyond the picture that is decoded."""

from __future__ import annotations

import mmap
import os

from securevqa_core.decoding.header import Header

__all__ = ["still_header"]

# How files say that a second picture brightens the first on some screens: Adobe's and Google's, Apple's, ISO
# 21496-1's.
_GAIN_MAP_MARKS = (b"http://ns.adobe.com/hdr-gain-map/", b"aux:hdrgainmap", b"urn:iso:std:iso:ts:21496")
_MAX_BYTES = 256 << 20  # that are looked at; no still within the limits on pixels has more
_PNG, _CHUNK_BYTES = (
    b"\x89PNG\r\n\x1a\n",
    12,
)  # of a chunk beside what it holds (PNG specification, section 5.3)
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
        if held[: len(_PNG)] == _PNG and _is_animated(held):
            problems.append("an animated PNG, of which another picture may be decoded than is shown")
    return Header(not_understood=tuple(problems))


def _is_animated(png: mmap.mmap) -> bool:
    """Tell whether a PNG says so ahead of its picture; FFmpeg does not see it behind many bytes of text."""
    at = len(_PNG)
    while (kind := png[at + 4 : at + 8]) not in {b"", b"IDAT"}:
        if kind == b"acTL":
            return True
        at += int.from_bytes(png[at : at + 4]) + _CHUNK_BYTES
    return False
