"""Owns what the headers of an MP4 or MOV track order a player to do to its pictures."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from securevqa_core.decoding.boxes import Box, boxes, child, content
from securevqa_core.decoding.header import MISPLACED, NO_CROP, Crop, Header, dolby_vision
from securevqa_core.decoding.heif_header import heif_problems

__all__ = ["clean_aperture", "mp4_header"]

_ENTRY_BYTES = 78  # of a visual sample entry before the boxes in it (ISO/IEC 14496-12, section 12.1.3)
_SIZE_AT = 24  # in it, of width and height
_MAX_TERMINATOR_BYTES = 8  # that QuickTime puts after the boxes
_IN_ENTRY = {
    b"lhvC": "further layers or views (lhvC)",
    b"vexu": "several views or a projection (vexu)",
    b"mvcC": "several views (mvcC)",
    b"svcC": "further layers (svcC)",
    b"sv3d": "a spherical picture (sv3d)",
    b"lvcC": "an LCEVC enhancement (lvcC)",
}
_STEREO_AT, _MONO = 4, b"\0"  # in st3d, after version and flags
_DOLBY_VISION_BOXES = frozenset([b"dvcC", b"dvvC", b"dvwC"])
_DOLBY_VISION_ENTRIES = frozenset([b"dvh1", b"dvhe", b"dav1", b"dva1", b"dvav"])
_SHOWN = frozenset([b"clap", b"pasp", b"colr", b"st3d", *_IN_ENTRY, *_DOLBY_VISION_BOXES])
_CODED_COLOURS = frozenset([b"nclx", b"nclc"])  # kinds of `colr` that give numbers of ITU-T H.273
_IS_ENABLED = 1  # flag of a track
_EMPTY_EDIT, _NORMAL_RATE = -1, 1 << 16  # of an edit list


def mp4_header(descriptor: int, track_id: int) -> Header:
    """Read the headers of a track, or of the item of a still picture in the same boxes (HEIF).

    Args:
        descriptor: of the file.
        track_id: the track's or item's number.
    """
    movie, items = _movie_and_items(descriptor)
    problems = [] if items is None else list(heif_problems(descriptor, items, track_id))
    if movie is None:
        if items is None:
            return Header(not_understood=(MISPLACED,))
        return Header(is_heif=True, not_understood=tuple(problems))
    inside = boxes(descriptor, movie.start, movie.end)
    tracks = [_Track(descriptor, box) for box in inside if box.kind == b"trak"]
    mine = [track for track in tracks if track.number == track_id]
    if len(mine) != 1:
        return Header(not_understood=(MISPLACED,))
    header = _track_header(descriptor, mine[0])
    if any(mine[0].is_composed_with(other) for other in tracks if other is not mine[0]):
        problems.append("a track that is laid over another")
    return replace(header, not_understood=(*problems, *header.not_understood))


def _movie_and_items(descriptor: int) -> tuple[Box | None, Box | None]:
    """Return the boxes that describe tracks and still pictures; the latter come first in files of both."""
    items = None
    for box in boxes(descriptor, 0, os.fstat(descriptor).st_size):
        if box.kind == b"moov":
            return box, items
        if box.kind == b"meta" and child(descriptor, Box(b"", box.start + 4, box.end), b"pitm"):
            items = box
    return None, items


class _Track:
    """What a track header says."""

    def __init__(self, descriptor: int, box: Box) -> None:
        self.box = box
        head = child(descriptor, box, b"tkhd")
        fields = b"" if head is None else content(descriptor, head)
        wide = 12 if fields[:1] == b"\1" else 0  # its times have 64 bits
        self.number = int.from_bytes(fields[12 + wide * 2 // 3 :][:4])
        handler = child(descriptor, box, b"mdia", b"hdlr")
        is_video = handler is not None and content(descriptor, handler)[8:12] == b"vide"
        self._is_shown = is_video and bool(fields[3:4] and fields[3] & _IS_ENABLED)
        self._layer, self._group = fields[32 + wide :][:2], fields[34 + wide :][:2]
        self._place = fields[64 + wide :][:8]  # of its matrix, how far the picture is moved

    def is_composed_with(self, other: _Track) -> bool:
        """Tell whether the two are shown at once, each in a place or a layer of its own."""
        is_choice = self._group == other._group and any(self._group)
        is_placed = self._layer != other._layer or any(self._place) or any(other._place)
        return self._is_shown and other._is_shown and not is_choice and is_placed


def _track_header(descriptor: int, track: _Track) -> Header:
    table = child(descriptor, track.box, b"mdia", b"minf", b"stbl", b"stsd")
    entries = [] if table is None else list(boxes(descriptor, table.start + 8, table.end))
    if not entries:
        return Header(not_understood=(MISPLACED,))
    orders = [_orders(descriptor, entry) for entry in entries]
    problems = list(_problems(entries[0].kind, orders[0]))
    if _changes_pace(descriptor, track.box):
        problems.append("an edit list that plays backwards, at another pace or holds a picture")
    if any(other != orders[0] for other in orders[1:]):
        problems.append("descriptions of the same track that disagree on how it is shown")
    if any(entry.kind != entries[0].kind for entry in entries[1:]):
        problems.append("descriptions of the same track that are of several codecs, of which one is decoded")
    if not all(_is_tiled(descriptor, entry) for entry in entries):
        problems.append(MISPLACED)
    crop: Crop | None = NO_CROP
    apertures = [held for kind, held in orders[0] if kind == b"clap"]
    if apertures:
        size = os.pread(descriptor, 4, entries[0].start + _SIZE_AT)
        crop = clean_aperture(apertures[-1], int.from_bytes(size[:2]), int.from_bytes(size[2:]))
    if crop is None:
        problems.append("a clean aperture that is no part of the picture")
    return Header(crop=crop or NO_CROP, transfer=_transfer(orders[0]), not_understood=tuple(problems))


def _changes_pace(descriptor: int, track: Box) -> bool:
    """Tell whether a segment of an edit list has another rate than 1 (section 8.6.6); FFmpeg ignores it."""
    lists = [box for box in boxes(descriptor, track.start, track.end) if box.kind == b"edts"]
    inside = [box for edits in lists for box in boxes(descriptor, edits.start, edits.end)]
    tables = [content(descriptor, box) for box in inside if box.kind == b"elst"]
    return any(
        media_time != _EMPTY_EDIT and rate != _NORMAL_RATE
        for table in tables
        for _, media_time, rate in _edits(table)
    )


def _edits(table: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield how long each segment is, where it begins and its rate."""
    entry = struct.Struct(">Qqi" if table[:1] == b"\1" else ">Iii")
    rows = table[8 : 8 + len(table[8:]) // entry.size * entry.size]
    yield from entry.iter_unpack(rows)


def _transfer(orders: list[tuple[bytes, bytes]]) -> int:
    coded = [held for kind, held in orders if kind == b"colr" and held[:4] in _CODED_COLOURS]
    return int.from_bytes(coded[-1][6:8]) if coded else 0


def _orders(descriptor: int, entry: Box) -> list[tuple[bytes, bytes]]:
    """Return kind and content of the boxes in a sample entry that have to do with how it is shown."""
    inside = boxes(descriptor, entry.start + _ENTRY_BYTES, entry.end)
    return [(box.kind, content(descriptor, box)) for box in inside if box.kind in _SHOWN]


def _is_tiled(descriptor: int, entry: Box) -> bool:
    """Tell whether a sample entry is boxes to its end: FFmpeg might read others out of any other."""
    start = entry.start + _ENTRY_BYTES
    inside = list(boxes(descriptor, start, entry.end))
    end = max((box.end for box in inside if any(box.kind)), default=start)
    return entry.end - end <= _MAX_TERMINATOR_BYTES


def _problems(kind: bytes, orders: list[tuple[bytes, bytes]]) -> Iterator[str]:
    records = [held for name, held in orders if name in _DOLBY_VISION_BOXES]
    for name, held in orders:
        if name in _IN_ENTRY:
            yield _IN_ENTRY[name]
        if name == b"st3d" and held[_STEREO_AT:] != _MONO:
            yield "a stereoscopic picture (st3d)"
    for record in records:
        if (problem := dolby_vision(record)) is not None:
            yield problem
    if kind in _DOLBY_VISION_ENTRIES and not records:
        yield f"Dolby Vision without a record ({kind.decode()})"


def clean_aperture(held: bytes, width: int, height: int) -> Crop | None:
    """Return what a `clap` box cuts off, None where that is no part of the picture (section 12.1.4).

    Halves of a pixel are rounded as FFmpeg does.

    Args:
        held: the box's content: width, height and offset of the centre, a fraction each.
        width: of the picture, by its sample entry.
        height: likewise.
    """
    numbers = [int.from_bytes(held[at : at + 4], signed=True) for at in range(0, 32, 4)]
    if len(held) < 32 or min(numbers[1::2]) <= 0 or min(numbers[0], numbers[2]) <= 0:
        return None
    shown_width, shown_height, right_of_centre, below_centre = (
        Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)
    )
    columns, rows = _cut(width, shown_width, right_of_centre), _cut(height, shown_height, below_centre)
    if columns is None or rows is None:
        return None
    return Crop(top=rows[0], bottom=rows[1], left=columns[0], right=columns[1])


def _cut(size: int, shown: Fraction, offset: Fraction) -> tuple[int, int] | None:
    """Return how much is cut off at each end of a side."""
    centre, half = Fraction(size - 1, 2) + offset, (shown - 1) / 2
    first, last = int(centre - half), int(centre + half)
    is_inside = centre - half > -1 and last < size and first <= last
    return (first, size - 1 - last) if is_inside else None
