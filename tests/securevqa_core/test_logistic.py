"""The logistic fit finds the curve that made the labels, rises or refuses, and says why it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from securevqa_core.errors import UndefinedError
from securevqa_core.logistic import Logistic, fit_logistic, logistic

CURVE = Logistic(lower=12, upper=88, midpoint=0.3, scale=0.4)
SCORES = np.random.default_rng(5).normal(size=200)


def test_the_curve_is_the_logistic_function() -> None:
    assert CURVE([0.3]) == 50
    assert CURVE([0.7])[0] == pytest.approx(12 + 76 / (1 + math.exp(-1)), rel=1e-12)
    assert math.isnan(logistic(math.nan, low=0, high=1, midpoint=0, scale=1))


@pytest.mark.parametrize(("offset", "factor"), [(0, 1), (-7, 1e-3), (40, 1e4)])
def test_the_curve_that_made_the_labels_is_found_on_any_scale(offset: float, factor: float) -> None:
    fitted = fit_logistic(offset + factor * SCORES, CURVE(SCORES))
    assert fitted.lower == pytest.approx(12, abs=1e-3)
    assert fitted.upper == pytest.approx(88, abs=1e-3)
    assert fitted.midpoint == pytest.approx(offset + 0.3 * factor, abs=1e-4 * factor)
    assert fitted.scale == pytest.approx(0.4 * factor, rel=1e-4)


def test_no_other_optimiser_finds_a_better_curve() -> None:
    labels = CURVE(SCORES) + 8 * np.random.default_rng(6).normal(size=200)

    def error(parameters: list[float]) -> float:
        lower, upper, midpoint, log_scale = parameters
        curve = logistic(SCORES, low=lower, high=upper, midpoint=midpoint, scale=math.exp(log_scale))
        return float(((curve - labels) ** 2).sum())

    other = optimize.differential_evolution(
        error, [(-50, 50), (50, 150), (-2, 2), (-4, 2)], rng=np.random.default_rng(0), tol=1e-10
    )
    ours = float(((fit_logistic(SCORES, labels)(SCORES) - labels) ** 2).sum())
    assert ours == pytest.approx(other.fun, rel=1e-6)


@pytest.mark.parametrize("labels", [SCORES, np.exp(SCORES), SCORES > 0, -np.exp(-SCORES)])
def test_straight_bent_and_stepped_relations_are_fitted(labels: np.ndarray) -> None:
    fitted = fit_logistic(SCORES, labels)
    assert fitted.lower < fitted.upper
    assert np.corrcoef(fitted(SCORES), labels)[0, 1] > 0.97


def test_asymptotes_stay_within_their_bounds() -> None:
    fitted = fit_logistic(SCORES, 50 + 15 * SCORES, low=5, high=95)
    assert 5 <= fitted.lower < fitted.upper <= 95


def test_a_fit_from_a_curve_nearby_ends_where_the_search_does() -> None:
    labels = CURVE(SCORES) + np.random.default_rng(7).normal(size=200)
    near, found = fit_logistic(SCORES, labels, start=CURVE), fit_logistic(SCORES, labels)
    assert near(SCORES) == pytest.approx(found(SCORES), abs=0.1)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], "at least 5 points, got 4"),
        ([7] * 6, range(6), "constant scores, all 6 are 7"),
        (range(6), [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3], r"constant labels, all 6 are 0\.3"),
        ([0, 1, 2, 3, 4, math.nan], range(6), "finite scores, got nan"),
        (range(6), [0, 1, 2, math.inf, 4, 5], "finite labels, got inf"),
        (range(10), range(10, 0, -1), "does not rise.* 10 points"),
    ],
)
def test_what_has_no_fit_is_refused_by_its_reason(scores, labels, message: str) -> None:
    with pytest.raises(UndefinedError, match=message):
        fit_logistic(list(scores), list(labels))


def test_a_search_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securevqa_core.logistic._MAX_EVALUATIONS", 1)
    with pytest.raises(UndefinedError, match="did not converge in 1 evaluations"):
        fit_logistic(SCORES, CURVE(SCORES))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="got 5 and 6"):
        fit_logistic(range(5), range(6))
