"""Owns percentile-bootstrap intervals, over rows or over whole clusters of rows that are not independent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securevqa_core.errors import UndefinedError
from securevqa_core.types import NUM_RESAMPLES, require_range

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "Resamples",
    "Rows",
    "estimate",
    "estimate_all",
    "resample",
]

CONFIDENCE = 0.95
Rows = NDArray[np.intp]  # row numbers

_MOST_UNDEFINED = 0.05  # share of resamples; with more, what is left is no picture of the spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic and its percentile-bootstrap interval of `CONFIDENCE`; None is undefined, never 0."""

    value: float | None
    low: float | None = None
    high: float | None = None
    undefined: str | None = None  # why the value, or else the interval, is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """Rows drawn with replacement, again and again; the same draws serve every statistic, so they pair."""

    num_rows: int  # of the data
    num_clusters: int  # that were drawn from; the rows where each is its own
    draws: tuple[Rows, ...]  # row numbers of each resample


def resample(
    num_rows: int,
    *,
    rng: np.random.Generator,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
) -> Resamples:
    """Draw rows with replacement.

    Args:
        num_rows: of the data.
        rng: where the draws come from.
        clusters: one value a row: rows that share it (clips of one source, say) are drawn together or not at
            all, as they are not independent. A row of None, NaN or "" belongs to none and is drawn alone.
            Without clusters all are.
        num_resamples: how many times.

    Raises:
        ConfigurationError: `num_resamples` is below 100.
        ValueError: `clusters` is not as long as the rows.
    """
    require_range("num_resamples", num_resamples, low=100, high=1_000_000)
    if clusters is not None and len(clusters) != num_rows:
        raise ValueError(f"clusters must have one value a row, got {len(clusters)} for {num_rows} rows")
    if clusters is None:
        draws = (rng.integers(num_rows, size=num_rows) for _ in range(num_resamples if num_rows else 0))
        return Resamples(num_rows=num_rows, num_clusters=num_rows, draws=tuple(draws))
    number: dict[Hashable, int] = {}
    named = [object() if _is_none(cluster) else cluster for cluster in clusters]
    member = np.array([number.setdefault(cluster, len(number)) for cluster in named], dtype=np.intp)
    starts = np.cumsum(np.bincount(member))[:-1]
    rows = np.split(np.argsort(member, kind="stable"), starts)
    draws = (_draw(rows, rng) for _ in range(num_resamples if num_rows else 0))
    return Resamples(num_rows=num_rows, num_clusters=len(number), draws=tuple(draws))


def estimate(statistic: Callable[[Rows], float], resamples: Resamples) -> Estimate:
    """Return a statistic of all rows, and the interval that its resamples span.

    Args:
        statistic: of row numbers; raises UndefinedError where it is undefined.
        resamples: what `resample` drew.
    """
    return estimate_all(lambda rows: (statistic(rows),), resamples, count=1)[0]


def estimate_all(
    statistics: Callable[[Rows], tuple[float, ...]], resamples: Resamples, *, count: int
) -> list[Estimate]:
    """Do as `estimate` for `count` statistics that are computed together."""
    try:
        values = statistics(np.arange(resamples.num_rows))
    except UndefinedError as error:
        return [Estimate(value=None, undefined=str(error))] * count
    if resamples.num_clusters < 2:
        reason = f"an interval needs at least 2 clusters, got {resamples.num_clusters}"
        return [Estimate(value=value, undefined=reason) for value in values]
    drawn = []
    for rows in resamples.draws:
        with contextlib.suppress(UndefinedError):
            drawn.append(statistics(rows))
    num_lost = len(resamples.draws) - len(drawn)
    if num_lost > _MOST_UNDEFINED * len(resamples.draws):
        reason = f"undefined in {num_lost} of {len(resamples.draws)} resamples: too few rows for an interval"
        return [Estimate(value=value, undefined=reason) for value in values]
    ends = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0).T.tolist()
    return [
        Estimate(value=value, low=low, high=high) for value, (low, high) in zip(values, ends, strict=True)
    ]


def _is_none(cluster: Hashable) -> bool:
    return cluster is None or cluster == "" or cluster != cluster  # noqa: PLR0124 - NaN


def _draw(clusters: list[Rows], rng: np.random.Generator) -> Rows:
    return np.concatenate([clusters[index] for index in rng.integers(len(clusters), size=len(clusters))])
