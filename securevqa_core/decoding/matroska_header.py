"""Owns what the headers of a Matroska or WebM track order a player to do to its pictures (RFC 9559)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

from securevqa_core.decoding.header import MISPLACED, Crop, Header, dolby_vision
from securevqa_core.decoding.matroska_index import read_element

__all__ = ["declares_length", "matroska_header"]

_EBML, _SEGMENT, _CLUSTER, _TRACKS, _SEEK_HEAD = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0x114D9B74
_INFO, _DURATION = 0x1549A966, 0x4489
_CHAPTERS, _EDITION, _IS_ORDERED = 0x1043A770, 0x45B9, 0x45DD
_SEEK, _SEEK_ID, _SEEK_POSITION = 0x4DBB, 0x53AB, 0x53AC
_TRACK_ENTRY, _TRACK_TYPE, _CODEC_ID, _VIDEO, _OPERATION = 0xAE, 0x83, 0x86, 0xE0, 0xE2
_CROP_BOTTOM, _CROP_TOP, _CROP_LEFT, _CROP_RIGHT, _ALPHA_MODE = 0x54AA, 0x54BB, 0x54CC, 0x54DD, 0x53C0
_MAPPING, _MAPPED_TYPE, _MAPPED_RECORD = 0x41E4, 0x41E7, 0x41ED
_COLOUR, _TRANSFER = 0x55B0, 0x55BA
_STEREO_MODE, _PROJECTION, _PROJECTION_TYPE = 0x53B8, 0x7670, 0x7671
_LISTS = frozenset([_TRACKS, _CHAPTERS, _INFO])
_NESTED = frozenset([_TRACK_ENTRY, _VIDEO, _COLOUR, _PROJECTION, _MAPPING, _SEEK])
_STREAM_TYPES = frozenset([0x01, 0x02, 0x11, 0x21])  # of tracks that FFmpeg makes streams of
_VIDEO_TYPE = 0x01
_KIND_BYTES = 8
_DOLBY_VISION = frozenset(name.rjust(_KIND_BYTES, b"\0") for name in (b"dvcC", b"dvvC", b"dvwC"))
_OTHER_VIEWS = frozenset([b"mvcC".rjust(_KIND_BYTES, b"\0")])
_MAX_ELEMENTS = 20_000  # that are looked at, of all kinds
_MAX_DEPTH = 2  # of elements in an entry of the track list
_MAX_CONTENT_BYTES = 256  # of one that is read; those that matter have fewer

_Fields = dict[int, list[bytes]]  # what elements hold, by name


def matroska_header(descriptor: int, stream_index: int, num_tracks: int) -> Header:
    """Read the headers of one track.

    Args:
        descriptor: of the file.
        stream_index: FFmpeg's, which counts the tracks it knows the type of.
        num_tracks: how many it counts.
    """
    reader = _Reader(descriptor)
    tracks = [fields for fields in reader.entries(_TRACKS, _TRACK_ENTRY) if _is_stream(fields)]
    is_known = len(tracks) == num_tracks and stream_index < num_tracks
    if not is_known or _number(tracks[stream_index], _TRACK_TYPE) != _VIDEO_TYPE:
        return Header(not_understood=(MISPLACED,))
    mine = tracks[stream_index]
    crop = Crop(
        top=_number(mine, _CROP_TOP),
        bottom=_number(mine, _CROP_BOTTOM),
        left=_number(mine, _CROP_LEFT),
        right=_number(mine, _CROP_RIGHT),
    )
    problems = list(_problems(mine))
    if any(_OPERATION in fields for fields in tracks):
        problems.append("tracks that are put together (TrackOperation)")
    if any(_number(edition, _IS_ORDERED) for edition in reader.entries(_CHAPTERS, _EDITION)):
        problems.append("chapters that are played in an order of their own (EditionFlagOrdered)")
    if reader.is_exhausted:
        problems.append(MISPLACED)
    return Header(crop=crop, transfer=_number(mine, _TRANSFER), not_understood=tuple(problems))


def declares_length(descriptor: int) -> bool:
    """Tell whether a file says how long it is: of one made live FFmpeg guesses it, by its sound's rate."""
    return _Reader(descriptor).holds(_INFO, _DURATION)


def _is_stream(fields: _Fields) -> bool:
    codec = fields.get(_CODEC_ID, [b""])[-1].rstrip(b"\0")
    return bool(codec) and _number(fields, _TRACK_TYPE) in _STREAM_TYPES


def _number(fields: _Fields, name: int) -> int:
    """Return what the last element of a name says, as FFmpeg does; 0 where there is none."""
    return int.from_bytes(fields.get(name, [b""])[-1][:8])


def _problems(fields: _Fields) -> Iterator[str]:
    if _number(fields, _STEREO_MODE):
        yield "a stereoscopic picture (StereoMode)"
    if _number(fields, _PROJECTION_TYPE):
        yield "a spherical picture (ProjectionType)"
    if _number(fields, _ALPHA_MODE):
        yield "alpha kept beside the picture (AlphaMode)"
    for mapping in fields.get(_MAPPING, []):
        kind, record = mapping[:_KIND_BYTES], mapping[_KIND_BYTES:]
        if kind in _OTHER_VIEWS:
            yield "several views (mvcC)"
        if kind in _DOLBY_VISION and (problem := dolby_vision(record)) is not None:
            yield problem


def _kind_and_record(mapping: _Fields) -> bytes:
    """Return which kind of data goes with blocks, as a number of so many bytes, and its configuration."""
    kind = mapping.get(_MAPPED_TYPE, [b""])[-1].rjust(_KIND_BYTES, b"\0")[-_KIND_BYTES:]
    return kind + mapping.get(_MAPPED_RECORD, [b""])[-1]


class _Reader:
    """Reads elements of one file, of which so many and no more are looked at."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._num_left = descriptor, _MAX_ELEMENTS
        self._lists: dict[int, dict[int, int]] = defaultdict(dict)  # by name, where each begins and ends
        self._find_lists()

    def entries(self, list_name: int, entry_name: int) -> Iterator[_Fields]:
        """Yield what the entries of a list hold, in order; none where it is not to be found."""
        for start, end in self._lists[list_name].items():
            inside = self._elements(start, end)
            yield from (self._fields(*places) for name, *places in inside if name == entry_name)

    def holds(self, list_name: int, name: int) -> bool:
        """Tell whether an element lies in a list."""
        return any(
            name == found
            for places in self._lists[list_name].items()
            for found, *_ in self._elements(*places)
        )

    @property
    def is_exhausted(self) -> bool:
        """Tell whether there may be more elements than were looked at."""
        return self._num_left <= 0

    def _find_lists(self) -> None:
        size_bytes = os.fstat(self._descriptor).st_size
        head = read_element(self._descriptor, 0, end=size_bytes)
        segment = read_element(self._descriptor, head[2], end=size_bytes) if head else None
        if head is None or head[0] != _EBML or segment is None or segment[0] != _SEGMENT:
            return
        sought: list[int] = []
        for name, start, end in self._elements(segment[1], min(segment[2], size_bytes)):
            if name == _CLUSTER:
                break
            if name in _LISTS:
                self._lists[name][start] = end
            if name == _SEEK_HEAD:
                sought += self._sought(start, end)
        for place in (segment[1] + position for position in sought):
            found = read_element(self._descriptor, place, end=size_bytes) if place < size_bytes else None
            if found is not None and found[0] in _LISTS:
                self._lists[found[0]][found[1]] = min(found[2], size_bytes)

    def _elements(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        while start < end and self._num_left > 0:
            self._num_left -= 1
            element = read_element(self._descriptor, start, end=end)
            if element is None or element[1] > end:
                return
            yield element[0], element[1], min(element[2], end)
            start = element[2]

    def _sought(self, start: int, end: int) -> list[int]:
        """Return where a seek head says that lists are, from where the segment's content begins."""
        fields = [self._fields(*places) for name, *places in self._elements(start, end) if name == _SEEK]
        return [_number(field, _SEEK_POSITION) for field in fields if _number(field, _SEEK_ID) in _LISTS]

    def _fields(self, start: int, end: int, *, depth: int = 0) -> _Fields:
        """Return what lies between two places, and in the elements there that hold others."""
        fields: _Fields = defaultdict(list)
        for name, first, last in self._elements(start, end):
            if name in _NESTED and depth < _MAX_DEPTH:
                inside = self._fields(first, last, depth=depth + 1)
                if name == _MAPPING:
                    inside = {_MAPPING: [_kind_and_record(inside)]}
                for inner, held in inside.items():
                    fields[inner] += held
            else:
                length = min(last - first, _MAX_CONTENT_BYTES)
                fields[name].append(os.pread(self._descriptor, length, first))
        return fields
