"""Owns what bringing a video may cost: a setting that is checked without what brings it."""

from __future__ import annotations

from dataclasses import dataclass

from securevqa_core.types import require_range

__all__ = ["FetchLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """What bringing one object may cost.

    Raises:
        ConfigurationError: a field is out of range.
    """

    max_bytes: int = 20 << 30
    timeout_seconds: float = 600.0  # over all attempts
    max_attempts: int = 3

    def __post_init__(self) -> None:
        require_range("max_bytes", self.max_bytes, low=1, high=1 << 50)
        require_range("timeout_seconds", self.timeout_seconds, low=0.1, high=86_400)
        require_range("max_attempts", self.max_attempts, low=1, high=100)
