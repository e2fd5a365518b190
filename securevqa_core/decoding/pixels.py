"""Owns colour conversion: from a decoded picture to 8-bit RGB of the patches and the size that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from securevqa_core.decoding.tone_mapping import is_hdr, tone_map
from securevqa_core.fragments import crop_patches

__all__ = ["Scaler", "TileCutter"]

_FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
_HALF = np.uint16(128)
_HIGHEST = np.uint16(0xFFFF - 128)

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
_ALIGNMENT = 4  # tiles begin at a chroma sample of the first field of an interlaced picture
_MIN_GAIN = 3  # pictures with fewer pixels, by those of a sheet, are sooner converted as a whole
_MARGIN = 4  # pixels around a patch that its chroma is interpolated from


class Scaler:
    """Turns decoded pictures into RGB of one size; FFmpeg's scaler is set up once, not once a picture."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, picture: VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) RGB; high dynamic range is tone-mapped."""
        if is_hdr(picture):
            return self.shrunk(picture, height=height, width=width)
        converted = self._reformat(picture, "rgb24", height=height, width=width)
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)

    def shrunk(self, picture: VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
        """Return what `rgb` does, antialiased bilinear where the size changes (Eq. 8), in half the time.

        By way of 16 bits a value, for which FFmpeg's scaler has the faster code: one value in two hundred is
        rounded the other way.
        """
        converted = self._reformat(picture, "gbrp16le", height=height, width=width)
        green, blue, red = _planes(converted, np.uint16)
        if is_hdr(picture):
            return tone_map(np.stack([red, green, blue], axis=-1), picture)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        for channel, levels in enumerate((red, green, blue)):
            rounded = np.minimum(levels, _HIGHEST) + _HALF
            np.right_shift(rounded, 8, out=pixels[..., channel], casting="unsafe")
        return pixels

    def _reformat(self, picture: VideoFrame, name: str, *, height: int, width: int) -> VideoFrame:
        return self._reformatter.reformat(
            picture, width=width, height=height, format=name, interpolation=_FLAGS, threads=1
        )


class TileCutter:
    """Cuts patches out of a picture and converts those alone: the same values, for a fraction of the work.

    Each patch of a grid, with a margin, becomes a tile of a small picture of the same format, the sheet,
    which is then converted as a whole.
    """

    def __init__(self, grid_size: int, side: int) -> None:
        self._grid_size, self._side = grid_size, side
        reach = side + _ALIGNMENT - 1 + 2 * _MARGIN
        self._tile = -(-reach // _ALIGNMENT) * _ALIGNMENT
        self._scaler, self._sheet_maker = Scaler(), VideoReformatter()
        self._sheet: VideoFrame | None = None
        self._sheet_kind: tuple[object, ...] = ()

    def can_cut(self, picture: VideoFrame) -> bool:
        """Tell whether patches of `picture` can be converted without the rest of it."""
        layout = _LAYOUTS.get(picture.format.name)
        if layout is None or picture.height * picture.width < _MIN_GAIN * (self._grid_size * self._tile) ** 2:
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
        rows, columns, sample = _LAYOUTS[picture.format.name]
        sheet = self._sheet_for(picture)
        starts = corners // _ALIGNMENT * _ALIGNMENT - _MARGIN
        planes = zip(_planes(picture, sample), _planes(sheet, sample), strict=True)
        for number, (source, target) in enumerate(planes):
            steps = np.array([rows, columns] if number else [1, 1])
            self._lay(source, target, starts // steps, *(self._tile // steps).tolist())
        pixels = self._scaler.rgb(sheet, height=sheet.height, width=sheet.width)
        cells = np.moveaxis(np.indices(corners.shape[:2]), 0, -1)
        return crop_patches(pixels, cells * self._tile + corners - starts, self._side)

    def _sheet_for(self, picture: VideoFrame) -> VideoFrame:
        """Return a picture with a place for every tile and all the properties of `picture`."""
        kind = (picture.format.name, *(getattr(picture, name) for name in _KEPT))
        if self._sheet is None or kind != self._sheet_kind:
            side = self._grid_size * self._tile
            is_same_size = (picture.height, picture.width) == (side, side)  # would come back as it is
            # Made from the picture itself, as nothing else copies where its chroma samples lie.
            self._sheet = self._sheet_maker.reformat(
                picture,
                width=side,
                height=side + _ALIGNMENT * is_same_size,
                interpolation=Interpolation.POINT,
                threads=1,
            )
            self._sheet_kind = kind
        return self._sheet

    def _lay(
        self, source: NDArray[Any], target: NDArray[Any], starts: NDArray[np.int64], rows: int, columns: int
    ) -> None:
        """Copy a tile of (rows, columns) from every start to its place, repeating edges beyond them."""
        grid = self._grid_size
        tiles = target[: grid * rows, : grid * columns]
        windows = np.lib.stride_tricks.sliding_window_view(source, (rows, columns))
        inside = np.clip(starts, 0, np.array(windows.shape[:2]) - 1)
        cut = windows[inside[..., 0], inside[..., 1]]
        tiles[...] = cut.transpose(0, 2, 1, 3).reshape(tiles.shape)
        for row, column in np.argwhere((inside != starts).any(axis=-1)).tolist():
            top, left = starts[row, column].tolist()
            ys = np.clip(np.arange(top, top + rows), 0, source.shape[0] - 1)
            xs = np.clip(np.arange(left, left + columns), 0, source.shape[1] - 1)
            place = (slice(row * rows, (row + 1) * rows), slice(column * columns, (column + 1) * columns))
            tiles[place] = source[ys[:, None], xs]


def _planes(picture: VideoFrame, sample: type[np.unsignedinteger[Any]]) -> list[NDArray[Any]]:
    """View the planes of a picture as (rows, columns) each."""
    size = np.dtype(sample).itemsize
    return [
        np.frombuffer(memoryview(plane), dtype=sample).reshape(-1, plane.line_size // size)[
            : plane.height, : plane.width
        ]
        for plane in picture.planes
    ]
