"""Owns how decoded pixels lie on the screen: mirroring, quarter turns and the shape of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_PIXEL_ASPECT", "UPRIGHT", "Geometry", "geometry_of", "square_pixels", "stretch_of"]

# Encoders that round to even sizes mark pixels as nearly square; stretching those would blur for nothing.
_SQUARE_TOLERANCE = 0.02
MAX_PIXEL_ASPECT = 8  # beyond it, or below its inverse, a header lies
_MAX_SLANT = math.sin(math.radians(1))  # of what counts as a quarter turn, as FFmpeg's programs have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What a player does to a decoded picture: mirror it left to right, then turn it."""

    is_mirrored: bool = False
    quarter_turns: int = 0  # 0..3, anticlockwise

    def swapped(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) as shown from the decoded ones, or the other way round."""
        return (width, height) if self.quarter_turns % 2 else (height, width)

    def upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (..., height, width, 3) as shown from decoded pixels."""
        if self.is_mirrored:
            pixels = pixels[..., ::-1, :]
        return np.rot90(pixels, self.quarter_turns, axes=(-3, -2))

    def decoded_corners(
        self, corners: NDArray[np.int64], side: int, *, size: tuple[int, int]
    ) -> NDArray[np.int64]:
        """Return where squares that are placed on the shown picture lie in the decoded one.

        Args:
            corners: (..., 2) of (row, column) of top-left corners on the shown picture.
            side: of the squares, pixels.
            size: (height, width) of the decoded picture.
        """
        row, column = corners[..., 0], corners[..., 1]
        bottom, right = size[0] - side, size[1] - side  # the last places a square fits
        turned = [
            (row, column),
            (column, right - row),
            (bottom - row, right - column),
            (bottom - column, row),
        ]
        row, column = turned[self.quarter_turns]
        return np.stack([row, right - column if self.is_mirrored else column], axis=-1)


UPRIGHT = Geometry()


def geometry_of(matrix: list[int] | None) -> Geometry | None:
    """Return what a display matrix does to a picture, None where it is more than a mirror and quarter turns.

    How large it makes the picture is left to `stretch_of`.

    Args:
        matrix: nine numbers, of which (x', y') = (a x + c y, b x + d y) where the others have no perspective;
            None and zeros do nothing.
    """
    if matrix is None or not any(matrix[:5]):
        return UPRIGHT
    a, b, u, c, d, v = matrix[:6]
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    quarter_turns = round(math.atan2(c - b, a + d) / (math.pi / 2)) % 4
    along, across = ((a, d), (b, c)) if quarter_turns % 2 == 0 else ((b, c), (a, d))
    if u or v or not all(along) or max(map(abs, across)) > _MAX_SLANT * min(map(abs, along)):
        return None
    return Geometry(is_mirrored=is_mirrored, quarter_turns=quarter_turns)


def stretch_of(matrix: list[int] | None) -> float:
    """Return how many times wider than higher a display matrix makes pixels, before it turns them."""
    if matrix is None or not any(matrix[:5]):
        return 1.0
    a, b, _, c, d = matrix[:5]
    return math.hypot(a, b) / math.hypot(c, d)


def square_pixels(
    height: int, width: int, pixel_aspect: Fraction | None, *, max_pixels: int
) -> tuple[int, int]:
    """Return the (height, width) of a picture once its pixels are square.

    Args:
        height: as decoded.
        width: likewise.
        pixel_aspect: width of a pixel by its height; None where the stream does not say.
        max_pixels: a picture that would have more is made lower, not wider.
    """
    if not pixel_aspect or not 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT:
        return height, width
    if abs(pixel_aspect - 1) <= _SQUARE_TOLERANCE:
        return height, width
    wider = max(1, round(width * pixel_aspect))
    if height * wider <= max_pixels:
        return height, wider
    return max(1, round(height / pixel_aspect)), width
