"""Owns the scales that labels are on, and those of public data sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from securevqa_core.errors import ConfigurationError

__all__ = ["LABEL_FORMATS", "LABEL_FORMATS_HELP", "LabelRange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRange:
    """The scale that labels are on.

    Raises:
        ConfigurationError: not finite, or low is not below high.
    """

    low: float = 0.0  # the worst label there can be
    high: float = 100.0  # the best

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigurationError(f"label range must have low < high, got {self.low:g} and {self.high:g}")

    def to_points(self, label: float) -> float:
        """Return a label on 0..100, the report's scale."""
        return (label - self.low) / (self.high - self.low) * 100


LABEL_FORMATS: dict[str, LabelRange | None] = {  # None: of any data set, so that the scale is guessed
    "konvid-1k": LabelRange(low=1, high=5),
    "live-vqc": LabelRange(low=0, high=100),
    "youtube-ugc": LabelRange(low=1, high=5),
    "lsvq": LabelRange(low=0, high=100),
    "fast-vqa": None,
}

LABEL_FORMATS_HELP = (
    f"The argument is a label file: {', '.join(LABEL_FORMATS)} (lines of path, duration, fps, MOS); "
    "default: a table, or what the file shows itself to be."
)
