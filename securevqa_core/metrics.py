"""Owns the measures of agreement between scores and labels; each is an error where it is undefined.

srcc([1, 2, 3, 4], [10, 20, 40, 30])  ->  0.8
srcc([1, 1, 1], [10, 20, 30])         ->  UndefinedError: SRCC is undefined for constant scores ...
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from securevqa_core.bootstrap import Estimate, Resamples, Rows, estimate_all
from securevqa_core.errors import UndefinedError
from securevqa_core.logistic import Floats, Logistic, fit_logistic, is_constant, paired

__all__ = [
    "MIN_POINTS",
    "Agreement",
    "LadderAgreement",
    "agreement",
    "krcc",
    "ladder_tau",
    "ladder_taus",
    "plcc",
    "plcc_fitted",
    "rmse",
    "rmse_fitted",
    "srcc",
]

MIN_POINTS = 3  # a correlation of two points is 1 or -1, whatever they are


def srcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Spearman's rank correlation, ties by their mean rank.

    Raises:
        UndefinedError: fewer than `MIN_POINTS` points, constant or not finite.
    """
    return float(scipy.stats.spearmanr(*paired(scores, labels, what="SRCC", least=MIN_POINTS)).statistic)


def plcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Pearson's linear correlation, of the scores as they are.

    Raises:
        UndefinedError: as for `srcc`.
    """
    return float(scipy.stats.pearsonr(*paired(scores, labels, what="PLCC", least=MIN_POINTS)).statistic)


def krcc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Kendall's rank correlation, tau-b.

    Raises:
        UndefinedError: as for `srcc`.
    """
    return float(scipy.stats.kendalltau(*paired(scores, labels, what="KRCC", least=MIN_POINTS)).statistic)


def rmse(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Return the root of the mean squared difference, in units of the labels; constants are fine.

    Raises:
        UndefinedError: no points, or one that is not finite.
        ValueError: the lengths differ.
    """
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (predicted, labels))
    if len(x) != len(y):
        raise ValueError(f"predictions and labels must be of one length, got {len(x)} and {len(y)}")
    if not len(x) or not np.isfinite([x, y]).all():
        raise UndefinedError(f"RMSE needs finite points, at least one, got {len(x)} points")
    return float(np.sqrt(np.mean((x - y) ** 2)))


def plcc_fitted(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return Pearson's correlation of labels with scores after the standard four-parameter logistic fit.

    Raises:
        UndefinedError: the fit is (`fit_logistic`).
    """
    return plcc(fit_logistic(scores, labels)(scores), labels)


def rmse_fitted(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the RMSE of scores after the standard four-parameter logistic fit, in units of the labels.

    Raises:
        UndefinedError: the fit is (`fit_logistic`).
    """
    return rmse(fit_logistic(scores, labels)(scores), labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well scores agree with labels, each measure with its bootstrap interval."""

    num_rows: int
    srcc: Estimate
    krcc: Estimate
    plcc: Estimate  # of the scores as they are
    plcc_fitted: Estimate  # after the logistic fit, which every resample repeats
    rmse_fitted: Estimate  # after the logistic fit, in units of the labels
    curve: Logistic | None  # the fit; None where it is undefined


def agreement(scores: ArrayLike, labels: ArrayLike, *, resamples: Resamples) -> Agreement:
    """Measure n scores against n labels; a measure that is undefined is an `Estimate` without a value.

    Args:
        scores: n numbers.
        labels: n numbers.
        resamples: of the n rows.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    try:
        curve = fit_logistic(x, y)
    except UndefinedError:
        curve = None

    def fitted(rows: Rows) -> tuple[float, float]:
        predicted = fit_logistic(x[rows], y[rows], start=curve)(x[rows])
        return plcc(predicted, y[rows]), rmse(predicted, y[rows])

    def plain(rows: Rows) -> tuple[float, float, float]:
        return srcc(x[rows], y[rows]), krcc(x[rows], y[rows]), plcc(x[rows], y[rows])

    before = estimate_all(plain, resamples, count=3)
    after = estimate_all(fitted, resamples, count=2)
    return Agreement(
        num_rows=len(x),
        srcc=before[0],
        krcc=before[1],
        plcc=before[2],
        plcc_fitted=after[0],
        rmse_fitted=after[1],
        curve=curve,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderAgreement:
    """Kendall's tau-b inside every ladder."""

    taus: Floats  # (ladders,)
    first_rows: tuple[int, ...]  # one row of each ladder, in the order of `taus`
    num_short: int  # ladders left out: fewer than MIN_POINTS rows
    num_constant_labels: int  # ladders left out: nothing to order
    num_constant_scores: int  # ladders left out: nothing was ordered


def ladder_taus(scores: ArrayLike, labels: ArrayLike, ladders: Sequence[Hashable | None]) -> LadderAgreement:
    """Return tau-b of score against label inside each ladder, the rows with one value in `ladders`.

    A row whose ladder is None belongs to none. What is left out is counted by its reason.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, ladder in enumerate(ladders):
        if ladder is not None:
            members[ladder].append(row)
    long = [rows for rows in members.values() if len(rows) >= MIN_POINTS]
    uneven = [rows for rows in long if not is_constant(y[rows])]
    used = [rows for rows in uneven if not is_constant(x[rows])]
    return LadderAgreement(
        taus=np.array([krcc(x[rows], y[rows]) for rows in used]),
        first_rows=tuple(rows[0] for rows in used),
        num_short=len(members) - len(long),
        num_constant_labels=len(long) - len(uneven),
        num_constant_scores=len(uneven) - len(used),
    )


def ladder_tau(scores: ArrayLike, labels: ArrayLike, ladders: Sequence[Hashable | None]) -> tuple[float, int]:
    """Return the mean tau-b over ladders and the number of ladders.

    Raises:
        UndefinedError: no ladder has `MIN_POINTS` rows with labels and scores that differ.
    """
    measured = ladder_taus(scores, labels, ladders)
    if not len(measured.taus):
        raise UndefinedError(
            f"tau inside ladders needs a ladder of at least {MIN_POINTS} rows with labels and scores that "
            f"differ, got {measured.num_short} shorter, {measured.num_constant_labels} with constant labels "
            f"and {measured.num_constant_scores} with constant scores"
        )
    return float(measured.taus.mean()), len(measured.taus)
