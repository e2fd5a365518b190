"""The calibration maps any finite raw score into the declared range, and refuses a range that is not one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from securevqa_core.calibration import Calibration, fit_calibration
from securevqa_core.errors import ConfigurationError, UndefinedError


def test_score_is_the_logistic_curve() -> None:
    calibration = Calibration(low=10, high=90, midpoint=2, scale=0.5)
    assert calibration.to_score(2.0) == 50
    assert calibration.to_score(3.0) == pytest.approx(10 + 80 / (1 + math.exp(-2)), rel=1e-12)


@pytest.mark.parametrize(("raw", "expected"), [(1e308, 100.0), (-1e308, 0.0), (0.0, 50.0)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e300])
def test_no_finite_raw_score_overflows(raw: float, expected: float, scale: float) -> None:
    score = Calibration(midpoint=0, scale=scale).to_score(raw)
    assert 0 <= score <= 100
    assert abs(score - expected) <= 1e-6 or scale == 1e300


def test_far_midpoint_does_not_overflow() -> None:
    assert Calibration(midpoint=-1e308, scale=1e-3).to_score(1e308) == 100


def test_arrays_keep_shape_and_order() -> None:
    raw = np.linspace(-5, 5, 12, dtype=np.float32).reshape(3, 4)
    score = Calibration(midpoint=0, scale=1).to_score(raw)
    assert score.shape == (3, 4)
    assert (np.diff(score.ravel()) > 0).all()


def test_raw_scores_are_found_again() -> None:
    calibration = Calibration(low=10, high=90, midpoint=2, scale=0.5)
    assert calibration.to_raw(50) == 2
    assert calibration.to_raw(calibration.to_score(1.7)) == pytest.approx(1.7, rel=1e-12)


@pytest.mark.parametrize("score", [10.0, 90.0, 95.5, math.nan])
def test_scores_that_the_curve_never_reaches_have_no_raw_score(score: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"between 10 and 90, exclusive, got {score:g}"):
        Calibration(low=10, high=90, midpoint=2, scale=0.5).to_raw(score)


def test_undefined_stays_undefined() -> None:
    assert math.isnan(Calibration(midpoint=0, scale=1).to_score(math.nan))


def test_dictionary_round_trip() -> None:
    calibration = Calibration(low=1, high=99, midpoint=-0.110198185, scale=0.04178565)
    assert Calibration.from_dict(calibration.as_dict()) == calibration


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"midpoint": 0, "scale": 0.0}, "scale must be > 0, got 0.0"),
        ({"midpoint": 0, "scale": -2.5}, "-2.5"),
        ({"midpoint": math.inf, "scale": 1}, "midpoint must be finite, got inf"),
        ({"midpoint": 0, "scale": 1, "low": 60, "high": 40}, "60.0 and 40.0"),
        ({"midpoint": 0, "scale": 1, "high": 100.5}, "100.5"),
        ({"midpoint": 0, "scale": 1, "low": -0.5}, "-0.5"),
        ({"midpoint": 0}, r"\['scale'\]"),
        ({"midpoint": 0, "scale": 1, "slope": 3}, r"\['slope'\]"),
        ({"midpoint": "zero", "scale": 1}, "'zero'"),
        ({"midpoint": True, "scale": 1}, "True"),
    ],
)
def test_invalid_fields_are_named(fields: dict[str, object], value: str) -> None:
    with pytest.raises(ConfigurationError, match=value):
        Calibration.from_dict(fields)


def test_fit_finds_the_calibration_that_made_the_labels() -> None:
    calibration = Calibration(low=5, high=90, midpoint=-0.11, scale=0.04)
    raw = np.random.default_rng(2).normal(-0.1, 0.08, size=150)
    fitted = fit_calibration(raw, calibration.to_score(raw))
    for name, value in calibration.as_dict().items():
        assert fitted.as_dict()[name] == pytest.approx(value, rel=1e-3), name


def test_fit_never_leaves_the_declared_range() -> None:
    raw = np.linspace(-2, 2, 60)
    labels = np.clip(50 + 40 * raw, 0, 100)  # ends in two corners that a free curve would overshoot
    fitted = fit_calibration(raw, labels)
    assert 0 <= fitted.low < fitted.high <= 100
    assert np.abs(fitted.to_score(raw) - labels).max() < 10
    narrow = fit_calibration(raw, np.clip(labels, 20, 80), low=20, high=80)
    assert 20 <= narrow.low < narrow.high <= 80


@pytest.mark.parametrize(
    ("raw", "labels", "error", "message"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], UndefinedError, "at least 5 points, got 4"),
        ([2] * 8, range(8), UndefinedError, "constant scores, all 8 are 2"),
        (range(8), [60] * 8, UndefinedError, "constant labels, all 8 are 60"),
        (range(8), range(80, 0, -10), UndefinedError, "does not rise"),
        (range(8), [*range(7), 104.5], ConfigurationError, r"labels must be in 0..100, got 104\.5"),
        (range(8), [-1, *range(7)], ConfigurationError, "labels must be in 0..100, got -1"),
    ],
)
def test_labels_that_fix_no_calibration_are_refused(raw, labels, error, message: str) -> None:
    with pytest.raises(error, match=message):
        fit_calibration(list(raw), list(labels))
