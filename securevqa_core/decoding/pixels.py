"""Owns colour conversion: from a decoded picture to 8-bit RGB of the patches and the size that are kept.

picture, YUV              sheet, YUV: a tile a patch              RGB
+-----------------+       +------+------+      +------+------+    +--+--+
|  [a]            |       |. .. .|. .. .|      |      |      |    |a |b |
|            [b]  |  -->  |.[a] .|.[b] .|  --> | [a]  | [b]  | -> +--+--+
|    [c]          |       +------+------+      +------+------+    |c |d |
|           [d]   |       |.[c] .|.[d] .|      | [c]  | [d]  |    +--+--+
+-----------------+       +------+------+      +------+------+
                          with a margin, which chroma is interpolated from: cut off again
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from securevqa_core.decoding.tone_mapping import is_hdr, tone_map
from securevqa_core.fragments import crop_patches

__all__ = ["PictureScaler", "PlaneSplitter", "Scaler", "TileCutter"]

_FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
_PLANE_FLAGS = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_HALF = 128
_HIGHEST = 0xFFFF - _HALF

# Formats whose planes can be cut: luma rows and columns a chroma sample stands for, and the type of a sample.
_SUBSAMPLING = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}
_SAMPLES: dict[str, type[np.unsignedinteger[Any]]] = {"p": np.uint8, "p10le": np.uint16, "p12le": np.uint16}
_LAYOUTS = {
    f"{prefix}{sampling}{depth}": (*steps, sample)
    for prefix in ("yuv", "yuvj")
    for sampling, steps in _SUBSAMPLING.items()
    for depth, sample in _SAMPLES.items()
}
_KEPT = ("colorspace", "color_range", "color_trc", "color_primaries", "interlaced_frame")
_FRAME_ALIGNMENT = 2  # pixels a chroma sample stands for
_FIELD_ALIGNMENT = 4  # likewise, where two fields take turns
_MIN_GAIN = 3  # pictures with fewer pixels, by those of a sheet, are sooner converted as a whole


class Scaler:
    """Turns decoded pictures into RGB of one size; FFmpeg's scaler is set up once, not once a picture."""

    def __init__(self) -> None:
        self._reformatter, self._interleaver = VideoReformatter(), VideoReformatter()
        self._rounded: VideoFrame | None = None  # planes that `shrunk` is about to interleave

    def rgb(self, picture: VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) RGB; high dynamic range is tone-mapped."""
        if is_hdr(picture):
            return self.shrunk(picture, height=height, width=width)
        if (height, width) == (picture.height, picture.width):
            # By way of planes, for which FFmpeg's scaler has the faster code: the same values in 0.6 of the
            # time. Where the size changes they would differ in one value of a thousand.
            return self._interleaved(self._reformat(picture, "gbrp", height=height, width=width))
        converted = self._reformat(picture, "rgb24", height=height, width=width)
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)

    def shrunk(self, picture: VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
        """Return what `rgb` does, antialiased bilinear where the size changes (Eq. 8), in half the time.

        By way of 16 bits a value, for which FFmpeg's scaler has the faster code: one value in two hundred is
        rounded the other way.
        """
        converted = self._reformat(picture, "gbrp16le", height=height, width=width)
        planes = _planes(converted, np.uint16)
        if is_hdr(picture):
            green, blue, red = planes
            return tone_map(np.stack([red, green, blue], axis=-1), picture)
        if self._rounded is None or (self._rounded.height, self._rounded.width) != (height, width):
            self._rounded = VideoFrame(width, height, "gbrp")
        highest = np.full(width, _HIGHEST, dtype=np.uint16)  # NumPy has no fast code for a number
        for levels, target in zip(planes, _planes(self._rounded, np.uint8), strict=True):
            rounded = np.minimum(levels, highest)
            rounded += _HALF
            np.right_shift(rounded, 8, out=target, casting="unsafe")
        return self._interleaved(self._rounded)

    def _interleaved(self, planes: VideoFrame) -> NDArray[np.uint8]:
        converted = self._interleaver.reformat(planes, format="rgb24", interpolation=_FLAGS, threads=1)
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)

    def _reformat(self, picture: VideoFrame, name: str, *, height: int, width: int) -> VideoFrame:
        return self._reformatter.reformat(
            picture, width=width, height=height, format=name, interpolation=_FLAGS, threads=1
        )


class PlaneSplitter:
    """Turns decoded pictures into 8-bit luma and chroma planes of limited range, chroma at half the size."""

    def __init__(self) -> None:
        self._scaler, self._reformatter = Scaler(), VideoReformatter()

    def planes(self, picture: VideoFrame, *, height: int, width: int) -> list[NDArray[np.uint8]]:
        """Return luma (height, width) and both chroma planes; high dynamic range is tone-mapped."""
        if is_hdr(picture):
            shown = self._scaler.rgb(picture, height=height, width=width)
            picture = VideoFrame.from_ndarray(shown, format="rgb24")
        if (picture.format.name, picture.height, picture.width) != ("yuv420p", height, width):
            picture = self._reformatter.reformat(
                picture, width=width, height=height, format="yuv420p", interpolation=_PLANE_FLAGS, threads=1
            )
        return [np.array(plane) for plane in _planes(picture, np.uint8)]


class PictureScaler:
    """Turns decoded pictures into red, green and blue planes of one size, by bicubic interpolation."""

    def __init__(self) -> None:
        self._scaler, self._reformatter = Scaler(), VideoReformatter()

    def planes(self, picture: VideoFrame, *, height: int, width: int) -> list[NDArray[np.uint8]]:
        """Return red, green and blue (height, width); high dynamic range is tone-mapped.

        By way of interleaved colours, as `ffmpeg -vf scale=flags=bicubic,format=rgb24` does: to planes
        FFmpeg's scaler interpolates chroma in another way.
        """
        if is_hdr(picture):
            shown = self._scaler.rgb(picture, height=picture.height, width=picture.width)
            picture = VideoFrame.from_ndarray(shown, format="rgb24")
        converted = self._reformatter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=_PLANE_FLAGS, threads=1
        )
        return list(np.ascontiguousarray(converted.to_ndarray().transpose(2, 0, 1)))


class TileCutter:
    """Cuts patches out of a picture and converts those alone: the same values, for a fraction of the work.

    Each patch of a grid, with a margin, becomes a tile of a small picture of the same format, the sheet,
    which is then converted as a whole.
    """

    def __init__(self, grid_size: int, side: int) -> None:
        self._grid_size, self._side = grid_size, side
        self._scaler, self._sheet_maker = Scaler(), VideoReformatter()
        self._sheet: VideoFrame | None = None
        self._kind: tuple[object, ...] = ()
        self._plans: dict[bytes, _Plan] = {}  # by the corners they are for; a clip shares its corners

    def can_cut(self, picture: VideoFrame) -> bool:
        """Tell whether patches of `picture` can be converted without the rest of it."""
        layout = _LAYOUTS.get(picture.format.name)
        sheet_pixels = (self._grid_size * _tile_side(self._side, picture)) ** 2
        if layout is None or picture.height * picture.width < _MIN_GAIN * sheet_pixels:
            return False
        if any(plane.line_size < 0 for plane in picture.planes):
            return False
        return picture.height % layout[0] == 0 and picture.width % layout[1] == 0

    def patches(self, picture: VideoFrame, corners: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return (G, G, S, S, 3) RGB.

        Args:
            picture: one for which `can_cut` holds.
            corners: (G, G, 2) of (row, column).
        """
        sheet = self._sheet_for(picture)
        plan = self._plan(picture, corners)
        sample = _LAYOUTS[picture.format.name][2]
        for lay, source, target in zip(
            (plan.luma, plan.chroma, plan.chroma),
            _planes(picture, sample),
            _planes(sheet, sample),
            strict=True,
        ):
            _lay(lay, source, target)
        pixels = self._scaler.rgb(sheet, height=sheet.height, width=sheet.width)
        return crop_patches(pixels, plan.corners, self._side)

    def _sheet_for(self, picture: VideoFrame) -> VideoFrame:
        """Return a picture with a place for every tile and all the properties of `picture`."""
        size = (picture.height, picture.width)
        kind = (picture.format.name, size, *(getattr(picture, name) for name in _KEPT))
        if self._sheet is None or kind != self._kind:
            side = self._grid_size * _tile_side(self._side, picture)
            # Made from the picture itself, as nothing else copies where its chroma samples lie.
            self._sheet = self._sheet_maker.reformat(
                picture,
                width=side,
                height=side + _FIELD_ALIGNMENT * (size == (side, side)),  # or it would come back as it is
                interpolation=Interpolation.POINT,
                threads=1,
            )
            self._kind, self._plans = kind, {}
        return self._sheet

    def _plan(self, picture: VideoFrame, corners: NDArray[np.int64]) -> _Plan:
        key = corners.tobytes()
        if key not in self._plans:
            alignment, tile = _alignment(picture), _tile_side(self._side, picture)
            starts = corners // alignment * alignment - alignment
            rows, columns, _ = _LAYOUTS[picture.format.name]
            size = np.array([picture.height, picture.width])
            steps = np.array([rows, columns])
            cells = np.moveaxis(np.indices(corners.shape[:2]), 0, -1)
            self._plans[key] = _Plan(
                luma=_lay_plan(starts, tile, tile, size),
                chroma=_lay_plan(starts // steps, tile // rows, tile // columns, size // steps),
                corners=cells * tile + corners - starts,
            )
        return self._plans[key]


def _alignment(picture: VideoFrame) -> int:
    """Return what tiles begin at a multiple of, and how wide their margin is."""
    return _FIELD_ALIGNMENT if picture.interlaced_frame else _FRAME_ALIGNMENT


def _tile_side(side: int, picture: VideoFrame) -> int:
    """Return the side of a tile that holds a patch wherever it begins, and its margins."""
    alignment = _alignment(picture)
    return -(-(side + alignment - 1) // alignment) * alignment + 2 * alignment


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _LayPlan:
    """Where the tiles of one plane come from."""

    rows: int
    columns: int
    inside: NDArray[np.int64]  # (G, G, 2) starts, moved to where a whole tile fits
    at_edges: tuple[tuple[int, int, NDArray[np.int64], NDArray[np.int64]], ...]  # cell, its rows and columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """Where all tiles come from, and where the patches then lie on the sheet."""

    luma: _LayPlan
    chroma: _LayPlan
    corners: NDArray[np.int64]


def _lay_plan(starts: NDArray[np.int64], rows: int, columns: int, size: NDArray[np.int64]) -> _LayPlan:
    inside = np.clip(starts, 0, size - [rows, columns])
    at_edges = []
    for row, column in np.argwhere((inside != starts).any(axis=-1)).tolist():
        top, left = starts[row, column]
        ys = np.clip(np.arange(top, top + rows), 0, size[0] - 1)[:, None]
        xs = np.clip(np.arange(left, left + columns), 0, size[1] - 1)
        at_edges.append((row, column, ys, xs))
    return _LayPlan(rows=rows, columns=columns, inside=inside, at_edges=tuple(at_edges))


def _lay(plan: _LayPlan, source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy every tile to its place, repeating the edge of `source` beyond it."""
    rows, columns, grid = plan.rows, plan.columns, len(plan.inside)
    windows = as_strided(
        source,
        (source.shape[0] - rows + 1, source.shape[1] - columns + 1, rows, columns),
        source.strides * 2,
        writeable=False,
    )
    tiles = target[: grid * rows, : grid * columns].reshape(grid, rows, grid, columns)
    tiles[...] = windows[plan.inside[..., 0], plan.inside[..., 1]].transpose(0, 2, 1, 3)
    for row, column, ys, xs in plan.at_edges:
        tiles[row, :, column] = source[ys, xs]


def _planes(picture: VideoFrame, sample: type[np.unsignedinteger[Any]]) -> list[NDArray[Any]]:
    """View the planes of a picture as (rows, columns) each."""
    size = np.dtype(sample).itemsize
    return [
        np.frombuffer(memoryview(plane), dtype=sample).reshape(-1, plane.line_size // size)[
            : plane.height, : plane.width
        ]
        for plane in picture.planes
    ]
