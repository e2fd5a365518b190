"""The calibration maps any finite raw score into the declared range, and refuses a range that is not one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from securevqa_core.calibration import Calibration
from securevqa_core.errors import ConfigurationError


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
