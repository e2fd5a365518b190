"""Owns which rendition of an upload is judged: a codec and a quality, from a closed table.

    x264:23   ->   Rendition(codec="x264", quality=23)

The text of it is a setting of a run, and stands in its rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from securevqa_core.errors import ConfigurationError
from securevqa_core.types import require_range

__all__ = ["CODECS", "Codec", "Rendition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How FFmpeg's library encodes, and decodes, one codec; one thread, so that a file has one rendition."""

    encoder: str
    decoder: str
    highest: int  # quality value, the lowest quality
    options: tuple[tuple[str, str], ...] = ()


# Speeds are those that platforms encode many uploads at.
CODECS = {
    # x264's code for AVX-512 makes another file of the same pictures now and then; its older code makes one.
    "x264": Codec(
        encoder="libx264",
        decoder="h264",
        highest=51,
        options=(("preset", "medium"), ("x264-params", "asm=SSE4.2")),
    ),
    "x265": Codec(
        encoder="libx265",
        decoder="hevc",
        highest=51,
        options=(("preset", "medium"), ("x265-params", "pools=none:frame-threads=1:log-level=none")),
    ),
    "av1": Codec(
        encoder="libsvtav1",
        decoder="libdav1d",
        highest=63,
        options=(("preset", "8"), ("svtav1-params", "lp=1")),
    ),
    "vp9": Codec(
        encoder="libvpx-vp9",
        decoder="vp9",
        highest=63,
        options=(("b", "0"), ("deadline", "good"), ("cpu-used", "4"), ("row-mt", "0")),
    ),
}
_TEXT = re.compile(f"({'|'.join(CODECS)}):([0-9]{{1,2}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """What viewers get of an upload.

    Raises:
        ConfigurationError: no such codec, or its quality is out of range.
    """

    codec: str  # of `CODECS`
    quality: int  # constant rate factor; lower is better

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise ConfigurationError(f"codec must be one of {', '.join(CODECS)}, got {self.codec!r}")
        require_range(f"quality of {self.codec}", self.quality, low=0, high=CODECS[self.codec].highest)

    def __str__(self) -> str:
        return f"{self.codec}:{self.quality}"

    @classmethod
    def parse(cls, text: str, *, name: str = "as_delivered") -> Rendition:
        """Return what `x264:23` and the like mean; `name` is what messages call it.

        Raises:
            ConfigurationError: it is no codec of the table with a quality in range.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None or int(found[2]) > CODECS[found[1]].highest:
            known = ", ".join(f"{codec}:0..{how.highest}" for codec, how in CODECS.items())
            raise ConfigurationError(f"{name} must be one of {known}, got {text!r}")
        return cls(codec=found[1], quality=int(found[2]))
