"""Owns the map from a model's raw score to the declared range of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from securevqa_core.errors import ConfigurationError

__all__ = ["Calibration"]

_FIELDS = ("low", "high", "midpoint", "scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A logistic curve from raw scores (any finite number) to [low, high] (higher is better quality).

    Raises:
        ConfigurationError: a field is not finite, `scale` is not above 0, or 0 <= low < high <= 100 fails.
    """

    low: float = 0.0  # score that raw -> -inf approaches, 0..100
    high: float = 100.0  # score that raw -> +inf approaches, 0..100
    midpoint: float  # raw score in the middle of the range
    scale: float  # raw score units per logistic unit, > 0

    def __post_init__(self) -> None:
        for name in _FIELDS:
            _check_finite(name, getattr(self, name))
        if self.scale <= 0:
            raise ConfigurationError(f"scale must be > 0, got {self.scale}")
        if not 0 <= self.low < self.high <= 100:
            raise ConfigurationError(
                f"low and high must be 0 <= low < high <= 100, got {self.low} and {self.high}"
            )

    @overload
    def to_score(self, raw: float) -> float: ...

    @overload
    def to_score(self, raw: NDArray[np.floating]) -> NDArray[np.float64]: ...

    def to_score(self, raw: float | NDArray[np.floating]) -> float | NDArray[np.float64]:
        """Return low + (high - low) * sigmoid((raw - midpoint) / scale) for a number or for each of an array.

        Undefined stays undefined: a NaN gives a NaN.
        """
        # Halving first keeps the difference of any two finite numbers finite; the division may then reach
        # infinity, which is where the curve ends anyway.
        values = np.asarray(raw, dtype=np.float64)
        with np.errstate(over="ignore"):
            half = (values / 2 - self.midpoint / 2) / self.scale
        # The logistic function as a tanh: no exponential to overflow at either end, and exactly 0.5 at 0.
        score = self.low + (self.high - self.low) * (0.5 + 0.5 * np.tanh(half))
        return float(score) if values.ndim == 0 else score

    def as_dict(self) -> dict[str, float]:
        """Return the four fields as plain numbers, for JSON."""
        return {name: float(getattr(self, name)) for name in _FIELDS}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Calibration:
        """Return the calibration that `as_dict` wrote.

        Raises:
            ConfigurationError: a field is missing, unknown or not a number.
        """
        unknown, missing = sorted(set(fields) - set(_FIELDS)), sorted({"midpoint", "scale"} - set(fields))
        if unknown or missing:
            raise ConfigurationError(f"calibration has unknown fields {unknown} and lacks {missing}")
        return cls(**{name: _as_float(name, value) for name, value in fields.items()})


def _as_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number, got {value!r}")
    return float(value)


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConfigurationError(f"{name} must be finite, got {value}")
