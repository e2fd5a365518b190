"""Owns which colours a decoded picture is in: its own tags, else its stream's, else what players guess."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

__all__ = ["MIN_BT709_LINES", "Colours"]

_BT709, _UNSPECIFIED, _BT601, _BT2020 = 1, 2, 6, 9  # matrices of ITU-T H.273, table 4, which FFmpeg counts by
MIN_BT709_LINES = 720  # Chrome's rule
_MAX_STANDARD_SIZE = 576, 1279  # up to which everyone takes BT.601; mpv and libplacebo take BT.709 beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """What a stream says of its colours before it is decoded, the container's headers included.

    FFmpeg's HEVC decoder marks pictures as "unspecified" where its own headers say nothing, whatever the
    container says, and its context with them.
    """

    matrix: int
    primaries: int
    transfer: int
    range: int

    @property
    def is_tagged(self) -> bool:
        """Tell whether the matrix is known."""
        return self.matrix != _UNSPECIFIED

    @classmethod
    def of(cls, context: VideoCodecContext) -> Colours:
        """Read them off a decoder that has decoded nothing yet."""
        return cls(
            matrix=int(context.colorspace),
            primaries=int(context.color_primaries),
            transfer=int(context.color_trc),
            range=int(context.color_range),
        )

    def or_bt601(self) -> Colours:
        """Return these, with BT.601 where there is no matrix, as of stills (ISO/IEC 23000-22, 7.3.6.4)."""
        return self if self.is_tagged else replace(self, matrix=_BT601)

    def complete(self, picture: VideoFrame, *, size: tuple[int, int]) -> str | None:
        """Set what the tags of a picture leave open, and say what is a guess that not all players make.

        Args:
            picture: to be completed.
            size: (height, width) of the picture as decoded, before it is cropped.
        """
        if picture.color_trc == ColorTrc.UNSPECIFIED:
            picture.color_trc = self.transfer
        if picture.color_primaries == ColorPrimaries.UNSPECIFIED:
            picture.color_primaries = self.primaries
        if picture.color_range == ColorRange.UNSPECIFIED:
            picture.color_range = self.range
        if picture.colorspace == _UNSPECIFIED:
            picture.colorspace = self.matrix
        if picture.colorspace != _UNSPECIFIED or not _has_matrix(picture.format.name):
            return None
        return _guess_matrix(picture, *size)


def _guess_matrix(picture: VideoFrame, height: int, width: int) -> str | None:
    if picture.color_primaries == ColorPrimaries.BT2020:
        picture.colorspace = _BT2020
        guess = "matrix BT.2020 by its primaries"
    elif height >= MIN_BT709_LINES:
        picture.colorspace = _BT709
        guess = "matrix and primaries BT.709 by size"
    elif height <= _MAX_STANDARD_SIZE[0] and width <= _MAX_STANDARD_SIZE[1]:
        return None  # left open, as FFmpeg's scaler takes BT.601 then
    else:
        guess = "matrix and primaries BT.601 by size"
    if picture.color_range != ColorRange.UNSPECIFIED:
        return guess
    return f"{guess}, {'full' if picture.format.name.startswith('yuvj') else 'limited'} range by pixel format"


@functools.cache
def _has_matrix(pixel_format: str) -> bool:
    """Tell whether pixels are a luma and two colour differences: not RGB, a palette or grey alone."""
    described = VideoFormat(pixel_format)
    return not (described.is_rgb or described.has_palette) and len(described.components) >= 3
