"""Owns the map from a model's raw score to the declared range of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from securevqa_core.errors import ConfigurationError
from securevqa_core.logistic import fit_logistic, logistic

__all__ = ["Calibration", "fit_calibration"]

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
        score = logistic(raw, low=self.low, high=self.high, midpoint=self.midpoint, scale=self.scale)
        return float(score) if score.ndim == 0 else score

    def to_raw(self, score: float) -> float:
        """Return the raw score that `to_score` maps to `score`.

        Raises:
            ConfigurationError: `score` is not strictly between low and high, where the curve never gets.
        """
        if not self.low < score < self.high:
            raise ConfigurationError(
                f"score must be between {self.low:g} and {self.high:g}, exclusive, got {score:g}"
            )
        return self.midpoint + self.scale * math.log((score - self.low) / (self.high - score))

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


def fit_calibration(
    raw: ArrayLike, labels: ArrayLike, *, low: float = 0.0, high: float = 100.0
) -> Calibration:
    """Fit the rising four-parameter logistic from raw scores to labels, by least squares.

    Both asymptotes are fitted too, within [low, high]: a model that cannot tell good from perfect does not
    claim to.

    Args:
        raw: n raw scores.
        labels: n labels on the report's scale, in [low, high].
        low: least score that the calibration may give.
        high: largest score that the calibration may give.

    Raises:
        UndefinedError: fewer than `MIN_FIT_POINTS` points, constant or not finite ones, or a fit that does
            not converge or does not rise.
        ConfigurationError: a label is outside [low, high].
    """
    values = np.asarray(labels, dtype=np.float64).ravel()
    outside = values[(values < low) | (values > high)]
    if len(outside):
        raise ConfigurationError(f"labels must be in {low:g}..{high:g}, got {outside[0]:g}")
    curve = fit_logistic(raw, values, low=low, high=high)
    return Calibration(low=curve.lower, high=curve.upper, midpoint=curve.midpoint, scale=curve.scale)


def _as_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be a number, got {value!r}")
    return float(value)


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConfigurationError(f"{name} must be finite, got {value}")
