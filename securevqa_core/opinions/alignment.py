"""Owns bringing the opinions of several data sets to one scale: 60 of one need not be 60 of another.

Each way keeps the scale of one data set, the reference, and looks for the scale of every other on which one
linear model of the features predicts all of them best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from securevqa_core.errors import ConfigurationError
from securevqa_core.logistic import fit_logistic
from securevqa_core.opinions.tables import Opinions

__all__ = ["REFERENCE", "Alignment", "aligned"]

Floats = NDArray[np.float64]
Alignment = Literal["ranges", "inlsa", "logistic"]

REFERENCE = "youtube-ugc"  # the largest, and the widest in what it shows
_MAX_ROUNDS = 300
_SETTLED = 1e-3  # points of 100 that opinions may still move by
_RIDGE = 1.0  # keeps the linear model of 60 features, some nearly the same, from growing
_FARTHEST = 5.0  # standard deviations
_Map = Callable[[Floats, Floats], Floats]  # opinions, what is predicted of them -> opinions on its scale


def aligned(data_sets: Sequence[Opinions], way: Alignment) -> tuple[Opinions, ...]:
    """Return the data sets with opinions on the scale of `REFERENCE`, or of the first where it is not there.

    Args:
        data_sets: with opinions on 0..100 by the range of answers.
        way: `ranges` leaves it at that. `inlsa` is the iterated nested least squares of Voran (2002), which
            VIDEVAL's authors use: one gain and one offset for each. `logistic` bends the scale as well.

    Raises:
        ConfigurationError: no such way.
    """
    if way not in get_args(Alignment):
        raise ConfigurationError(f"alignment must be one of {', '.join(get_args(Alignment))}, got {way!r}")
    if way == "ranges":
        return tuple(data_sets)
    names = [one.name for one in data_sets]
    reference = names.index(REFERENCE) if REFERENCE in names else 0
    mapping: _Map = _by_gain if way == "inlsa" else _by_curve
    design = _design(data_sets)
    scales = [one.opinions for one in data_sets]
    for _ in range(_MAX_ROUNDS):
        predicted = _predictions(design, scales)
        moved = [mapping(one.opinions, guess) for one, guess in zip(data_sets, predicted, strict=True)]
        # The model shrinks all towards the mean: the reference is brought back, and all others with it.
        gain, offset = _line(data_sets[reference].opinions, predicted[reference])
        moved = [(values - offset) / gain for values in moved]
        moved[reference] = data_sets[reference].opinions
        change = max(float(np.abs(new - old).max()) for new, old in zip(moved, scales, strict=True))
        scales = moved
        if change < _SETTLED:
            break
    return tuple(replace(one, opinions=values) for one, values in zip(data_sets, scales, strict=True))


def _design(data_sets: Sequence[Opinions]) -> list[Floats]:
    """Return standardised features, and a column of ones, of every data set."""
    together = np.concatenate([one.features for one in data_sets])
    mean, sd = np.nanmean(together, axis=0), np.nanstd(together, axis=0) + 1e-9
    found = []
    for one in data_sets:
        standard = np.clip((one.features - mean) / sd, -_FARTHEST, _FARTHEST)
        standard = np.where(np.isfinite(standard), standard, 0.0)
        found.append(np.concatenate([standard, np.ones((len(standard), 1))], axis=1))
    return found


def _predictions(design: list[Floats], scales: list[Floats]) -> list[Floats]:
    x, y = np.concatenate(design), np.concatenate(scales)
    penalty = _RIDGE * np.eye(x.shape[1])
    penalty[-1, -1] = 0.0
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    return [part @ weights for part in design]


def _line(opinions: Floats, predicted: Floats) -> tuple[float, float]:
    """Return the gain and offset that give opinions the mean and the spread of what is predicted."""
    gain = float(predicted.std() / opinions.std())
    return gain, float(predicted.mean() - gain * opinions.mean())


def _by_gain(opinions: Floats, predicted: Floats) -> Floats:
    gain, offset = _line(opinions, predicted)
    return gain * opinions + offset


def _by_curve(opinions: Floats, predicted: Floats) -> Floats:
    """Bend opinions by the logistic that predicts best, then give them the spread of what is predicted."""
    return _by_gain(fit_logistic(opinions, predicted)(opinions), predicted)
