"""Owns the four-parameter logistic curve, and fitting it to scores and labels by least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load at their first use: scoring, which fits nothing, need not wait for all
from numpy.typing import ArrayLike, NDArray

from securevqa_core.errors import UndefinedError

__all__ = ["MIN_FIT_POINTS", "Floats", "Logistic", "fit_logistic", "is_constant", "logistic", "paired"]

Floats = NDArray[np.float64]

MIN_FIT_POINTS = 5  # one more than the curve has parameters
# Values that differ by less than this share of the largest are one value: what is left is rounding.
_SAME = 1e-12

# Of standardised scores and labels. Nearly linear data would otherwise send the asymptotes to infinity.
_FARTHEST_MIDPOINT = 10.0
_SCALES = (0.01, 10.0)
_FARTHEST_ASYMPTOTE = 50.0
_START_MIDPOINTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_START_SCALES = (0.1, 0.3, 1.0, 3.0)
_NUM_STARTS = 3  # best of the grid above that are polished
_MAX_EVALUATIONS = 500
# Relative change of the squared error, or of the parameters, that ends the search: of one fit, and of the
# thousands of a bootstrap, which start close by and differ from each other by far more.
_TOLERANCE = 1e-7
_NEAR_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """The rising curve lower + (upper - lower) / (1 + exp(-(score - midpoint) / scale)).

    The b2, b1, b3 and b4 of VQEG's four-parameter logistic, in this order, with b2 < b1 and b4 > 0.
    """

    lower: float  # label that scores -> -inf approach
    upper: float  # label that scores -> +inf approach
    midpoint: float  # score half way between
    scale: float  # score units per logistic unit

    def __call__(self, scores: ArrayLike) -> Floats:
        """Return the label that the curve predicts for each score."""
        return logistic(scores, low=self.lower, high=self.upper, midpoint=self.midpoint, scale=self.scale)


def logistic(values: ArrayLike, *, low: float, high: float, midpoint: float, scale: float) -> Floats:
    """Return low + (high - low) * sigmoid((values - midpoint) / scale); a NaN gives a NaN."""
    # Halving first keeps the difference of any two finite numbers finite; the division may then reach
    # infinity, which is where the curve ends anyway.
    with np.errstate(over="ignore"):
        half = (np.asarray(values, dtype=np.float64) / 2 - midpoint / 2) / scale
    # The logistic function as a tanh: no exponential to overflow at either end, and exactly 0.5 at 0.
    return np.asarray(low + (high - low) * (0.5 + 0.5 * np.tanh(half)))


def paired(scores: ArrayLike, labels: ArrayLike, *, what: str, least: int) -> tuple[Floats, Floats]:
    """Return scores and labels as two (n,) arrays for which a statistic is defined.

    Args:
        scores: n numbers.
        labels: n numbers.
        what: the statistic, for messages.
        least: points it needs.

    Raises:
        UndefinedError: fewer points, a value that is not finite, or all scores or all labels the same.
        ValueError: the lengths differ.
    """
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (scores, labels))
    if len(x) != len(y):
        raise ValueError(f"scores and labels must be of one length, got {len(x)} and {len(y)}")
    if len(x) < least:
        raise UndefinedError(f"{what} needs at least {least} points, got {len(x)}")
    for name, values in (("scores", x), ("labels", y)):
        if not np.isfinite(values).all():
            raise UndefinedError(f"{what} needs finite {name}, got {values[~np.isfinite(values)][0]}")
        if is_constant(values):
            raise UndefinedError(f"{what} is undefined for constant {name}, all {len(x)} are {values[0]:g}")
    return x, y


def is_constant(values: Floats) -> bool:
    """Tell whether finite values differ by no more than rounding."""
    return bool(np.ptp(values) <= _SAME * np.abs(values).max())


def fit_logistic(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    start: Logistic | None = None,
) -> Logistic:
    """Fit the rising four-parameter logistic that maps scores to labels with the least squared error.

    Args:
        scores: n numbers.
        labels: n numbers.
        low: least value that an asymptote may have.
        high: largest value that an asymptote may have.
        start: a curve close by, to start from, for fits to resamples: faster and less exact. None searches a
            grid of curves first.

    Raises:
        UndefinedError: `paired` refuses the points, the search does not converge, or the curve that fits best
            does not rise: then the scores do not tell labels apart in the right order.
    """
    x, y = paired(scores, labels, what="the logistic fit", least=MIN_FIT_POINTS)
    (x_mean, x_sd), (y_mean, y_sd) = (x.mean(), x.std()), (y.mean(), y.std())
    problem = _Problem(
        x=(x - x_mean) / x_sd,
        y=(y - y_mean) / y_sd,
        low=max((low - y_mean) / y_sd, -_FARTHEST_ASYMPTOTE),
        high=min((high - y_mean) / y_sd, _FARTHEST_ASYMPTOTE),
    )
    if start is None:
        starts = problem.starts()
    else:
        asymptotes = ((start.lower - y_mean) / y_sd, (start.upper - y_mean) / y_sd)
        log_scale = math.log(start.scale / x_sd)
        starts = [np.array([*asymptotes, (start.midpoint - x_mean) / x_sd, log_scale])]
    lower, upper, midpoint, log_scale = problem.solve(
        starts, tolerance=_TOLERANCE if start is None else _NEAR_TOLERANCE
    )
    if upper - lower <= _SAME:
        raise UndefinedError(
            f"the logistic fit does not rise: labels do not rise with scores, of {len(x)} points"
        )
    return Logistic(
        lower=float(y_mean + y_sd * lower),
        upper=float(y_mean + y_sd * upper),
        midpoint=float(x_mean + x_sd * midpoint),
        scale=float(x_sd * math.exp(log_scale)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """A fit of standardised points; parameters are (lower, upper, midpoint, log scale)."""

    x: Floats
    y: Floats
    low: float  # of both asymptotes
    high: float

    def solve(self, starts: list[Floats], *, tolerance: float) -> tuple[float, float, float, float]:
        """Return the parameters of least squared error that any start leads to."""
        least = np.array([self.low, self.low, -_FARTHEST_MIDPOINT, math.log(_SCALES[0])])
        most = np.array([self.high, self.high, _FARTHEST_MIDPOINT, math.log(_SCALES[1])])
        fits = [
            scipy.optimize.least_squares(
                self._residuals,
                np.clip(start, least, most),
                self._jacobian,
                bounds=(least, most),
                max_nfev=_MAX_EVALUATIONS,
                ftol=tolerance,
                xtol=tolerance,
                gtol=tolerance,
            )
            for start in starts
        ]
        converged = [one for one in fits if one.success]
        if not converged:
            raise UndefinedError(f"the logistic fit did not converge in {_MAX_EVALUATIONS} evaluations")
        lower, upper, midpoint, log_scale = min(converged, key=lambda one: one.cost).x.tolist()
        return lower, upper, midpoint, log_scale

    def starts(self) -> list[Floats]:
        """Return the best few curves of a grid, each with the asymptotes that suit it best."""
        candidates = []
        for midpoint in _START_MIDPOINTS:
            for scale in _START_SCALES:
                basis = scipy.special.expit((self.x - midpoint) / scale)
                design = np.stack([1 - basis, basis], axis=1)
                asymptotes = np.clip(np.linalg.lstsq(design, self.y)[0], self.low, self.high)
                error = float(((design @ asymptotes - self.y) ** 2).sum())
                candidates.append((error, (*asymptotes.tolist(), midpoint, math.log(scale))))
        return [np.array(start) for _, start in sorted(candidates)[:_NUM_STARTS]]

    def _residuals(self, parameters: Floats) -> Floats:
        lower, upper, midpoint, log_scale = parameters
        basis = scipy.special.expit((self.x - midpoint) / np.exp(log_scale))
        residuals: Floats = lower + (upper - lower) * basis - self.y
        return residuals

    def _jacobian(self, parameters: Floats) -> Floats:
        lower, upper, midpoint, log_scale = parameters
        scaled = (self.x - midpoint) / np.exp(log_scale)
        basis = scipy.special.expit(scaled)
        slope = (upper - lower) * basis * (1 - basis)
        return np.stack([1 - basis, basis, -slope / np.exp(log_scale), -slope * scaled], axis=1)
