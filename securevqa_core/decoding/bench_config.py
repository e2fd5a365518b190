"""Owns what is measured of decoding: clips, how often, and with which sampling."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from securevqa_core.errors import ConfigurationError
from securevqa_core.types import SamplingConfig, require_range

__all__ = ["CLIPS", "BenchClip", "BenchConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchClip:
    """A size and a codec."""

    height: int  # pixels
    width: int  # pixels
    codec: str  # h264 or av1

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.height}p {self.codec}"


CLIPS = (
    BenchClip(height=540, width=960, codec="h264"),
    BenchClip(height=1080, width=1920, codec="h264"),
    BenchClip(height=1080, width=1920, codec="av1"),
    BenchClip(height=2160, width=3840, codec="h264"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """What is measured, and how often.

    Raises:
        ConfigurationError: a field is out of range.
    """

    footage: Path | None = None  # scaled to every size; None: what FFmpeg draws
    clip_seconds: float = 10.0
    num_repeats: int = 3  # in turn; the best of each counts. decord's windows are read once
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    scored: SamplingConfig = field(default_factory=SamplingConfig)  # what a run of the default model reads
    num_draws: int = 1  # of `scored`

    def __post_init__(self) -> None:
        require_range("clip_seconds", self.clip_seconds, low=0.5, high=7200)
        require_range("num_repeats", self.num_repeats, low=1, high=100)
        require_range("num_draws", self.num_draws, low=1, high=1000)
        if self.footage is not None and not self.footage.is_file():
            raise ConfigurationError(f"footage must be a file, got {str(self.footage)!r}")
