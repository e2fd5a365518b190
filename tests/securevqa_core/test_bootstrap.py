"""Intervals cover what they should, clusters are drawn whole, and what is undefined has no interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from securevqa_core.bootstrap import estimate, resample
from securevqa_core.errors import ConfigurationError, UndefinedError

RNG = np.random.default_rng


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = RNG(1).normal(size=80)
    ours = estimate(lambda rows: float(values[rows].mean()), resample(80, rng=RNG(2), num_resamples=20_000))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=RNG(3))
    assert ours.value == values.mean()
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.01)


def test_the_same_generator_gives_the_same_draws() -> None:
    first, again, other = (resample(50, rng=RNG(seed), clusters=[0, 1] * 25) for seed in (4, 4, 5))
    assert all((a == b).all() for a, b in zip(first.draws, again.draws, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first.draws, other.draws, strict=True))


def test_clusters_are_drawn_whole() -> None:
    clusters = ["a", "b", "a", "c", "b", "a"]
    drawn = resample(6, rng=RNG(0), clusters=clusters)
    assert drawn.num_clusters == 3
    for rows in drawn.draws:
        times = np.bincount(rows, minlength=6)
        assert times[0] == times[2] == times[5]
        assert times[1] == times[4]
        assert times[0] + times[1] + times[3] == 3


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
def test_rows_without_a_cluster_are_drawn_alone(nothing: object) -> None:
    drawn = resample(300, rng=RNG(0), clusters=[*[nothing] * 260, *(index // 2 for index in range(40))])
    assert drawn.num_clusters == 260 + 20
    times = np.array([np.bincount(rows, minlength=300) for rows in drawn.draws])
    assert (times[:, 260::2] == times[:, 261::2]).all()
    assert min(map(len, drawn.draws)) > 240
    assert max(map(len, drawn.draws)) < 360
    assert abs(np.corrcoef(times[:, 0], times[:, 1])[0, 1]) < 0.1


def test_copies_of_a_row_narrow_no_interval_when_drawn_together() -> None:
    values = np.repeat(RNG(8).normal(size=30), 20)
    sources = np.repeat(np.arange(30), 20).tolist()

    def width(clusters: list[int] | None, data: np.ndarray) -> float:
        found = estimate(
            lambda rows: float(data[rows].mean()), resample(len(data), rng=RNG(9), clusters=clusters)
        )
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(sources, values) == pytest.approx(width(None, values[::20]), rel=0.1)
    assert width(None, values) < 0.4 * width(sources, values)


def test_an_undefined_statistic_has_neither_value_nor_interval() -> None:
    def refuse(rows: np.ndarray) -> float:
        raise UndefinedError(f"no value for {len(rows)} rows")

    found = estimate(refuse, resample(7, rng=RNG(0)))
    assert (found.value, found.low, found.high, found.undefined) == (None, None, None, "no value for 7 rows")
    assert estimate(refuse, resample(0, rng=RNG(0))).undefined == "no value for 0 rows"
    assert estimate(refuse, resample(0, rng=RNG(0), clusters=[])).value is None


def test_a_statistic_that_most_resamples_leave_undefined_has_no_interval() -> None:
    def of_all_only(rows: np.ndarray) -> float:
        if len(set(rows.tolist())) < 4:
            raise UndefinedError("rows are missing")
        return 1.0

    found = estimate(of_all_only, resample(4, rng=RNG(0), num_resamples=100))
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert "of 100 resamples" in str(found.undefined)


def test_one_cluster_has_no_interval() -> None:
    found = estimate(lambda rows: float(len(rows)), resample(5, rng=RNG(0), clusters=["only"] * 5))
    assert (found.value, found.low) == (5, None)
    assert "at least 2 clusters, got 1" in str(found.undefined)


def test_too_few_resamples_and_clusters_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"num_resamples must be in 100\.\.1e\+06, got 99"):
        resample(5, rng=RNG(0), num_resamples=99)
    with pytest.raises(ValueError, match="got 4 for 5 rows"):
        resample(5, rng=RNG(0), clusters=[0, 1, 2, 3])
