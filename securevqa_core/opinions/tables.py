"""Owns reading the published tables: what people think of each video, and VIDEVAL's features of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from securevqa_core.errors import DatasetError
from securevqa_core.opinions.versions import VERSIONS

__all__ = ["NUM_FEATURES", "SHIPPED", "Opinions", "read_opinions"]

Floats = NDArray[np.float64]

NUM_FEATURES = 60
SHIPPED = Path(__file__).parent / "features.parquet"
# The worst and the best that people could answer.
_SCALES = {"konvid-1k": (1.0, 5.0), "live-vqc": (0.0, 100.0), "youtube-ugc": (1.0, 5.0)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opinions:
    """One data set."""

    name: str
    features: Floats  # (n, 60); not a number where its authors could compute none
    opinions: Floats  # (n,) means, from 0, the worst answer there was, to 100, the best
    categories: tuple[str | None, ...]  # of each video, where the data set says


def read_opinions(path: Path = SHIPPED, *, version: str = "videval") -> tuple[Opinions, ...]:
    """Return every data set of a table, in the table's order.

    Args:
        path: Parquet with columns data_set, mos, category and one of 60 features for each of `VERSIONS`.
        version: which features.

    Raises:
        DatasetError: the table cannot be read, or holds something else.
    """
    column = VERSIONS[version]
    try:
        table = pq.read_table(path, columns=["data_set", "mos", "category", column])
        features = np.array(table[column].to_pylist(), dtype=np.float64)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{path} is no table of opinions and features: {error}") from error
    names, means = np.array(table["data_set"].to_pylist()), np.array(table["mos"].to_pylist())
    unknown = sorted(set(names.tolist()) - set(_SCALES))
    if unknown or features.shape != (len(names), NUM_FEATURES):
        raise DatasetError(
            f"{path} must have {NUM_FEATURES} features a video of {', '.join(_SCALES)}, "
            f"got an array of {features.shape} and data sets {unknown}"
        )
    categories = table["category"].to_pylist()
    return tuple(
        _one(str(name), rows, features, means, categories)
        for name in dict.fromkeys(names.tolist())
        if len(rows := np.flatnonzero(names == name))
    )


def _one(
    name: str, rows: NDArray[np.intp], features: Floats, means: Floats, categories: list[str | None]
) -> Opinions:
    worst, best = _SCALES[name]
    return Opinions(
        name=name,
        features=features[rows],
        opinions=100 * (means[rows] - worst) / (best - worst),
        categories=tuple(categories[row] for row in rows),
    )
