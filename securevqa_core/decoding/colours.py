"""Owns which colours a decoded picture is in: its own tags, else its stream's, else what players guess."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

__all__ = ["Colours"]

_BT709, _UNSPECIFIED, _BT2020 = 1, 2, 9  # matrices of ITU-T H.273, table 4, which FFmpeg counts by
# Chrome's rule; mpv and libplacebo begin at 1280 columns or 577 lines. What is below has BT.601's, which
# FFmpeg's scaler guesses at any size.
_MIN_BT709_LINES = 720


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

    @classmethod
    def of(cls, context: VideoCodecContext) -> Colours:
        """Read them off a decoder that has decoded nothing yet."""
        return cls(
            matrix=int(context.colorspace),
            primaries=int(context.color_primaries),
            transfer=int(context.color_trc),
            range=int(context.color_range),
        )

    def complete(self, picture: VideoFrame, *, num_lines: int) -> str | None:
        """Set what the tags of a picture leave open, and say what is a guess.

        Args:
            picture: to be completed.
            num_lines: of the picture as decoded, before it is cropped.
        """
        if picture.color_trc == ColorTrc.UNSPECIFIED:
            picture.color_trc = self.transfer
        if picture.color_primaries == ColorPrimaries.UNSPECIFIED:
            picture.color_primaries = self.primaries
        if picture.color_range == ColorRange.UNSPECIFIED:
            picture.color_range = self.range
        if picture.colorspace == _UNSPECIFIED:
            picture.colorspace = self.matrix
        return self._guess(picture, num_lines) if _has_matrix(picture.format.name) else None

    def _guess(self, picture: VideoFrame, num_lines: int) -> str | None:
        guesses = []
        if picture.colorspace == _UNSPECIFIED:
            if picture.color_primaries == ColorPrimaries.BT2020:
                picture.colorspace = _BT2020
                guesses.append("matrix BT.2020 by the primaries")
            elif num_lines >= _MIN_BT709_LINES:
                picture.colorspace = _BT709
                guesses.append("matrix and primaries BT.709 by size")
            else:  # left open, as FFmpeg's scaler guesses the same
                guesses.append("matrix and primaries BT.601 by size")
        if picture.color_range == ColorRange.UNSPECIFIED:
            width = "full" if picture.format.name.startswith("yuvj") else "limited"
            guesses.append(f"{width} range by pixel format")
        return ", ".join(guesses) or None


@functools.cache
def _has_matrix(pixel_format: str) -> bool:
    """Tell whether pixels are a luma and two colour differences: not RGB, a palette or grey alone."""
    described = VideoFormat(pixel_format)
    return not (described.is_rgb or described.has_palette) and len(described.components) >= 3
