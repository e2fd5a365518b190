"""Owns how well the regression predicts people: on random splits, from data set to data set, by category."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securevqa_core.errors import UndefinedError
from securevqa_core.metrics import plcc_fitted, rmse, srcc
from securevqa_core.opinions.regression import fit, predict
from securevqa_core.opinions.tables import Opinions

__all__ = [
    "CategoryAgreement",
    "CrossAgreement",
    "SplitAgreement",
    "cross_set_error",
    "from_set_to_set",
    "on_categories",
    "on_splits",
    "out_of_fold",
    "together",
]

Floats = NDArray[np.float64]
_TEST_SHARE = 0.2
_NUM_FOLDS = 10
_LEAST_VIDEOS = 5  # of a category, for a correlation


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAgreement:
    """Medians over random splits, and the standard deviation of SRCC over them."""

    name: str
    num_videos: int
    srcc: float
    plcc: float  # after the four-parameter logistic
    srcc_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAgreement:
    """Trained on some data sets, tested on another."""

    trained_on: str
    tested_on: str
    srcc: float
    error: float  # RMSE in standard deviations of the opinions tested on; 1 is to know their mean


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryAgreement:
    """One kind of content, predicted by models that never saw the video."""

    category: str
    num_videos: int
    srcc: float | None  # None: undefined
    error: float  # mean of prediction minus opinion, points of 100


def together(data_sets: Sequence[Opinions]) -> Opinions:
    """Return the videos of all data sets as one."""
    return Opinions(
        name="all together",
        features=np.concatenate([one.features for one in data_sets]),
        opinions=np.concatenate([one.opinions for one in data_sets]),
        categories=tuple(category for one in data_sets for category in one.categories),
    )


def on_splits(
    data_set: Opinions,
    *,
    num_splits: int,
    rng: np.random.Generator,
    tick: Callable[[], None] = lambda: None,
) -> SplitAgreement:
    """Return medians over random splits, four fifths of which are trained on and one tested on.

    Args:
        data_set: to split.
        num_splits: how often.
        rng: decides the splits.
        tick: called after each.
    """
    found = []
    for _ in range(num_splits):
        order = rng.permutation(len(data_set.opinions))
        test, train = np.split(order, [round(_TEST_SHARE * len(order))])
        predicted = _predicted(data_set, train, data_set.features[test])
        truth = data_set.opinions[test]
        found.append((srcc(predicted, truth), plcc_fitted(predicted, truth)))
        tick()
    ranks, lines = np.array(found).T
    return SplitAgreement(
        name=data_set.name,
        num_videos=len(data_set.opinions),
        srcc=float(np.median(ranks)),
        plcc=float(np.median(lines)),
        srcc_sd=float(ranks.std()),
    )


def from_set_to_set(trained_on: Opinions, tested_on: Opinions) -> CrossAgreement:
    """Return how well a model of one data set predicts another."""
    predicted = predict(fit(trained_on.features, trained_on.opinions), tested_on.features)
    return CrossAgreement(
        trained_on=trained_on.name,
        tested_on=tested_on.name,
        srcc=srcc(predicted, tested_on.opinions),
        error=rmse(predicted, tested_on.opinions) / float(tested_on.opinions.std()),
    )


def cross_set_error(data_sets: Sequence[Opinions]) -> float:
    """Return the mean error, in standard deviations, of each data set predicted from all others together."""
    errors = []
    for one in data_sets:
        others = together([other for other in data_sets if other is not one])
        errors.append(from_set_to_set(others, one).error)
    return float(np.mean(errors))


def out_of_fold(data_set: Opinions, *, rng: np.random.Generator) -> Floats:
    """Return predictions (n,), each by a model of the nine tenths of the videos that it is not in."""
    folds = np.array_split(rng.permutation(len(data_set.opinions)), _NUM_FOLDS)
    predicted = np.empty(len(data_set.opinions))
    for test in folds:
        train = np.setdiff1d(np.arange(len(predicted)), test)
        predicted[test] = _predicted(data_set, train, data_set.features[test])
    return predicted


def on_categories(data_set: Opinions, predicted: Floats) -> list[CategoryAgreement]:
    """Return how well each category is predicted, the least well first.

    Args:
        data_set: with categories; videos without one are left out.
        predicted: (n,) as `out_of_fold` returns them.
    """
    found = []
    labels = np.array([category or "" for category in data_set.categories])
    for category in sorted(set(labels.tolist()) - {""}):
        rows = labels == category
        found.append(_on_category(category, predicted[rows], data_set.opinions[rows]))
    return sorted(found, key=lambda one: -2.0 if one.srcc is None else one.srcc)


def _on_category(category: str, predicted: Floats, opinions: Floats) -> CategoryAgreement:
    rank: float | None
    try:
        rank = srcc(predicted, opinions) if len(opinions) >= _LEAST_VIDEOS else None
    except UndefinedError:
        rank = None
    return CategoryAgreement(
        category=category,
        num_videos=len(opinions),
        srcc=rank,
        error=float((predicted - opinions).mean()),
    )


def _predicted(data_set: Opinions, train: NDArray[np.intp], features: Floats) -> Floats:
    return predict(fit(data_set.features[train], data_set.opinions[train]), features)
