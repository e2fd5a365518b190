"""Owns what decoded pictures carry besides pixels: how to turn them, and what makes them no plain picture."""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from av.dictionary import Dictionary
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from securevqa_core.decoding.icc import is_ordinary

__all__ = ["display_matrix", "side_data", "unplain"]

# FFmpeg's kinds of side data (libavutil/frame.h); PyAV has no name for the last four.
_STEREO3D, _DISPLAY_MATRIX, _SPHERICAL, _ICC_PROFILE, _DOLBY_VISION_RAW, _DOLBY_VISION = 2, 6, 13, 15, 23, 24
_LCEVC, _VIEW_ID, _REFERENCE_DISPLAYS, _EXIF = 28, 29, 30, 31
_NOT_UNDERSTOOD = {
    _LCEVC: "an LCEVC enhancement",
    _VIEW_ID: "several views",
    _REFERENCE_DISPLAYS: "several views",
}
_LAST_KNOWN = _EXIF  # a kind after it may mean anything
_FLAT, _RECTILINEAR = 0, 4  # of FFmpeg's kinds of stereoscopy and of projections
_RPU_PROFILE_AT = 4  # in FFmpeg's header of Dolby Vision data
_OPAQUE = 250  # of 255: what lets less than a fiftieth through is lossy coding
_MATRICES = frozenset([1, 2, 3, 4, 5, 6, 7, 9])  # that FFmpeg's scaler knows (ITU-T H.273, table 4)
_RGB_MATRIX = 0
_TRANSFERS = frozenset([0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 16, 18])  # no linear or logarithmic light
_XYZ_PRIMARIES = 10

SideData = dict[int, Any]  # what supports the buffer protocol, by FFmpeg's number of its kind


def _unnamed(cls: type[Type], value: object) -> Type:
    """Make a name for a kind of side data that PyAV has none for; without one, none can be read at all."""
    kind: Any = object.__new__(cls)
    kind._name_, kind._value_ = f"KIND_{value}", value
    return cast(Type, cls._value2member_map_.setdefault(value, kind))


Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment, method-assign]


def side_data(picture: VideoFrame) -> SideData:
    """Return what a picture carries, the first of each kind, as FFmpeg's programs take it.

    Not by way of `picture.side_data`, which ties the picture to itself: its buffer would wait for the garbage
    collector, and a decoder that gets no buffer back allocates and clears one for every frame.
    """
    held: SideData = {}
    for item in _items(SideDataContainer(picture)):  # type: ignore[call-arg]
        kind: Any = item.type  # its stub has no value
        held.setdefault(kind.value, item)
        _keep_description(item)
    return held


def _items(container: Any) -> Iterator[Any]:
    """Yield every item by its place: iterating gives items in PyAV 18 and kinds in 19."""
    for place in itertools.count():
        try:
            item = container[place]
        except IndexError:
            return
        yield item


def _keep_description(item: Any) -> None:
    """Have what describes side data (the name of an ICC profile) outlive its Python object.

    PyAV frees it with that object and FFmpeg frees it again with the picture, which ends the process. The
    object that owns it is never freed instead: some bytes for a picture that has such data.
    """
    for owned in gc.get_referents(item):
        if isinstance(owned, Dictionary) and len(owned):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(owned))


def display_matrix(held: SideData) -> list[int] | None:
    """Return the nine numbers of a display matrix, None where there is none."""
    item = held.get(_DISPLAY_MATRIX)
    return None if item is None else np.frombuffer(item, dtype=np.int32)[:9].tolist()


def unplain(picture: VideoFrame, held: SideData) -> str | None:
    """Say what keeps a picture from being shown as its pixels stand; None for nearly every picture."""
    return _unplain_data(held) or _unplain_colour(picture) or _see_through(picture)


def _unplain_data(held: SideData) -> str | None:
    for kind, item in held.items():
        if kind in _NOT_UNDERSTOOD or kind > _LAST_KNOWN:
            return _NOT_UNDERSTOOD.get(kind, f"data of a kind not known here ({kind})")
        if kind == _STEREO3D and _first_number(item) != _FLAT:
            return "a stereoscopic picture, of which a viewer sees one half"
        if kind == _SPHERICAL and _first_number(item) != _RECTILINEAR:
            return "a spherical picture, of which a viewer sees a window"
    if _ICC_PROFILE in held and not is_ordinary(bytes(held[_ICC_PROFILE])):
        return "an ICC profile that is none of a usual colour space"
    if _DOLBY_VISION_RAW in held:
        return _unplain_dolby_vision(held.get(_DOLBY_VISION))
    return None


def _unplain_dolby_vision(metadata: Any) -> str | None:
    """Say what cannot be shown of the data that comes with a picture, whatever the container says."""
    if metadata is None:
        return "Dolby Vision data that cannot be read"
    header = int(np.frombuffer(metadata, dtype=np.uint64)[0])
    return (
        None if bytes(metadata)[header + _RPU_PROFILE_AT] else "Dolby Vision whose base layer is not Y'CbCr"
    )


def _first_number(item: Any) -> int:
    return int(np.frombuffer(item, dtype=np.int32)[0])


def _unplain_colour(picture: VideoFrame) -> str | None:
    matrix, transfer = int(picture.colorspace), int(picture.color_trc)
    if matrix not in _MATRICES and matrix != _RGB_MATRIX:
        return f"a colour matrix that is not understood ({matrix})"
    if transfer not in _TRANSFERS:
        return f"a transfer characteristic that is not understood ({transfer})"
    if int(picture.color_primaries) == _XYZ_PRIMARIES:
        return "XYZ primaries"
    return None


def _see_through(picture: VideoFrame) -> str | None:
    """Say that a picture is not opaque.

    What shows through is the page, the desktop or black, as the player likes, and FFmpeg's programs show the
    colours under it: no two agree, so there is nothing to be faithful to.
    """
    if not _has_alpha(picture.format.name):
        return None
    alpha = picture.reformat(format="gbrap", threads=1).planes[3]
    rows = np.frombuffer(memoryview(alpha), dtype=np.uint8).reshape(-1, alpha.line_size)[:, : alpha.width]
    return None if rows.min() >= _OPAQUE else "a picture that is not opaque (alpha)"


@functools.cache
def _has_alpha(pixel_format: str) -> bool:
    """Tell whether pixels of a format can be transparent."""
    described = VideoFormat(pixel_format)
    return described.has_palette or any(component.is_alpha for component in described.components)
