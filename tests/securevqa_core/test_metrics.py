"""Measures of agreement equal their definitions, ignore what they should, and are errors where undefined."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from securevqa_core import metrics
from securevqa_core.bootstrap import estimate, resample
from securevqa_core.errors import UndefinedError
from securevqa_core.logistic import Logistic

RNG = np.random.default_rng(11)
SCORES = np.round(RNG.normal(size=60), 1)  # rounded, so that there are ties
LABELS = np.round(SCORES + RNG.normal(size=60), 1)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks from the definition: how many are smaller, and half of the equal ones."""
    smaller, equal = values[:, None] > values, values[:, None] == values
    return smaller.sum(axis=1) + (equal.sum(axis=1) + 1) / 2


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    pairs = list(itertools.combinations(range(len(x)), 2))
    dx, dy = (np.array([np.sign(v[i] - v[j]) for i, j in pairs]) for v in (x, y))
    return float((dx * dy).sum() / math.sqrt((dx**2).sum() * (dy**2).sum()))


def test_correlations_equal_their_definitions() -> None:
    assert metrics.plcc(SCORES, LABELS) == pytest.approx(np.corrcoef(SCORES, LABELS)[0, 1], rel=1e-12)
    by_ranks = np.corrcoef(ranks(SCORES), ranks(LABELS))[0, 1]
    assert metrics.srcc(SCORES, LABELS) == pytest.approx(by_ranks, rel=1e-12)
    assert metrics.krcc(SCORES, LABELS) == pytest.approx(tau_b(SCORES, LABELS), rel=1e-12)
    assert metrics.srcc([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)


def test_rmse_equals_its_definition_and_takes_constants() -> None:
    assert metrics.rmse([1, 2], [4, 6]) == pytest.approx(math.sqrt((9 + 16) / 2))
    assert metrics.rmse([5, 5], [5, 5]) == 0


@pytest.mark.parametrize("measure", [metrics.srcc, metrics.krcc])
def test_rank_measures_ignore_a_monotone_map(measure: Callable[..., float]) -> None:
    assert measure(np.exp(SCORES), LABELS) == pytest.approx(measure(SCORES, LABELS), rel=1e-12)


def test_the_fit_undoes_a_logistic_bend() -> None:
    x = np.linspace(-3, 3, 50)
    labels = Logistic(lower=10, upper=90, midpoint=0.5, scale=0.3)(x)
    assert metrics.plcc(x, labels) < 0.97
    assert metrics.plcc_fitted(x, labels) == pytest.approx(1, abs=1e-9)
    assert metrics.rmse_fitted(x, labels) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("measure", [metrics.srcc, metrics.plcc, metrics.krcc])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2], [1, 2], "at least 3 points, got 2"),
        ([], [], "at least 3 points, got 0"),
        ([4, 4, 4], [1, 2, 3], "constant scores, all 3 are 4"),
        ([1, 2, 3], [5, 5, 5], "constant labels, all 3 are 5"),
        ([0, 0, 0], [1, 2, 3], "constant scores, all 3 are 0"),
        ([1, 2, math.nan], [1, 2, 3], "finite scores, got nan"),
        ([1, 2, 3], [1, -math.inf, 3], "finite labels, got -inf"),
    ],
)
def test_undefined_correlations_are_errors(measure, scores, labels, message: str) -> None:
    with pytest.raises(UndefinedError, match=message):
        measure(scores, labels)


def test_undefined_rmse_is_an_error() -> None:
    for predicted, labels, message in ([], [], "got 0 points"), ([1, math.nan], [1, 2], "finite"):
        with pytest.raises(UndefinedError, match=message):
            metrics.rmse(predicted, labels)
    with pytest.raises(ValueError, match="got 1 and 2"):
        metrics.rmse([1], [1, 2])


def test_agreement_holds_every_measure_inside_its_interval() -> None:
    found = metrics.agreement(
        SCORES, LABELS, resamples=resample(60, rng=np.random.default_rng(1), num_resamples=200)
    )
    assert found.num_rows == 60
    assert found.curve is not None
    assert found.srcc.value == metrics.srcc(SCORES, LABELS)
    assert found.rmse_fitted.value == pytest.approx(metrics.rmse(found.curve(SCORES), LABELS), abs=1e-3)
    for name in ("srcc", "krcc", "plcc", "plcc_fitted", "rmse_fitted"):
        one = getattr(found, name)
        assert one.low < one.value < one.high, name
        assert one.undefined is None


def test_a_failed_fit_leaves_the_other_measures_and_says_why() -> None:
    falling = metrics.agreement(
        SCORES, -SCORES, resamples=resample(60, rng=np.random.default_rng(1), num_resamples=200)
    )
    assert falling.srcc.value == pytest.approx(-1)
    assert falling.curve is None
    assert falling.plcc_fitted.value is None
    assert "does not rise" in str(falling.rmse_fitted.undefined)


@pytest.mark.slow
def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(3), 0
    truth = 6 / math.pi * math.asin(0.7 / 2)  # Spearman's rho of a normal pair with correlation 0.7
    for _ in range(100):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=80).T
        drawn = resample(80, rng=rng, num_resamples=200)
        one = estimate(lambda rows, x=x, y=y: metrics.srcc(x[rows], y[rows]), drawn)
        covered += one.low <= truth <= one.high
    assert 86 <= covered <= 100  # 95 are expected, with a standard deviation of 2.2


# ladder, score, label
LADDERS = [
    *(("up", score, label) for score, label in [(1, 10), (2, 20), (3, 30)]),
    *(("one swap", score, label) for score, label in [(1, 10), (2, 30), (3, 20), (4, 40)]),
    *(("short", score, label) for score, label in [(9, 1), (8, 2)]),
    *(("one label", score, 50) for score in (1, 2, 3)),
    *(("one score", 5, label) for label in (1, 2, 3)),
    *((None, score, label) for score, label in [(9, 1), (8, 2), (7, 3)]),
]


def test_tau_is_the_mean_over_ladders_and_what_is_left_out_is_counted() -> None:
    ladders, scores, labels = zip(*LADDERS, strict=True)
    mean, num_ladders = metrics.ladder_tau(scores, labels, ladders)
    assert num_ladders == 2
    assert mean == pytest.approx((1 + 4 / 6) / 2)
    found = metrics.ladder_taus(scores, labels, ladders)
    assert (found.num_short, found.num_constant_labels, found.num_constant_scores) == (1, 1, 1)
    assert found.first_rows == (0, 3)


def test_tau_without_any_ladder_is_an_error_that_counts() -> None:
    rows = [row for row in LADDERS if row[0] in {"short", "one label", "one score"}]
    ladders, scores, labels = zip(*rows, strict=True)
    with pytest.raises(
        UndefinedError, match="got 1 shorter, 1 with constant labels and 1 with constant scores"
    ):
        metrics.ladder_tau(scores, labels, ladders)
