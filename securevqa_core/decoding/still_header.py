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
    return Header(not_understood=tuple(problems))
