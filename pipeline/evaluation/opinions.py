"""Owns how well VIDEVAL's features predict people, beside the paper, and the model fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table

from pipeline.events import Events
from pipeline.results import Result
from pipeline.toml_source import read_notes
from securevqa_core import weights
from securevqa_core.calibration import fit_calibration
from securevqa_core.opinions.agreement import (
    CategoryAgreement,
    CrossAgreement,
    SplitAgreement,
    cross_set_error,
    from_set_to_set,
    on_categories,
    on_splits,
    out_of_fold,
    together,
)
from securevqa_core.opinions.alignment import Alignment, aligned
from securevqa_core.opinions.regression import EPSILON, GAMMA, C, fit
from securevqa_core.opinions.tables import SHIPPED, Opinions, read_opinions
from securevqa_core.opinions.versions import VERSIONS

__all__ = ["measure_opinions"]

# SRCC and PLCC of VIDEVAL, of whole frames as `videval` reads them, on small data sets: the paper's Table IV,
# and of all three together its authors'.
_PUBLISHED = {
    "live-vqc": (0.752, 0.751),
    "konvid-1k": (0.783, 0.780),
    "youtube-ugc": (0.779, 0.773),
    "all together": (0.796, None),
}
_PUBLISHED_MODEL = "videval"
_SCORES = (0.0, 100.0)


def measure_opinions(
    model: str,
    *,
    features: Path | None,
    num_splits: int,
    seed: int,
    output: Path | None,
    notes: Path | None,
    events: Events,
) -> Result:
    """Measure how well a version's features predict people, on random splits and from set to set.

    Args:
        model: of `VERSIONS`.
        features: table of opinions and features; None: what ships.
        num_splits: random splits into four fifths and one fifth.
        seed: of the splits.
        output: where the model that is fitted to all videos goes; None: nowhere.
        notes: TOML of text for its card.
        events: says how far it is.

    Raises:
        ConfigurationError: `notes` cannot be read.
        DatasetError: `features` cannot be read.
    """
    said = {} if notes is None else read_notes(notes)
    data_sets = read_opinions(features or SHIPPED, version=model)
    errors = {way: cross_set_error(aligned(data_sets, way)) for way in get_args(Alignment)}
    way = min(errors, key=lambda name: errors[name])
    chosen = aligned(data_sets, way)
    everyone = together(chosen)
    measured = _on_splits([*chosen, everyone], num_splits=num_splits, seed=seed, events=events)
    crossed = [from_set_to_set(one, other) for one in chosen for other in chosen if one is not other]
    predicted = out_of_fold(everyone, rng=np.random.default_rng(seed))
    categories = on_categories(everyone, predicted)
    record: dict[str, Any] = {
        "features": VERSIONS[model],
        "alignment": way,
        "cross_set_errors": errors,
        "settings": {"c": C, "epsilon": EPSILON, "gamma": GAMMA},
        "num_splits": num_splits,
        "splits": [asdict(one) for one in measured],
        "cross": [asdict(one) for one in crossed],
        "categories": [asdict(one) for one in categories],
    }
    shown = [*_split_lines(measured, num_splits, model=model), *_crossed_lines(crossed, errors, way)]
    shown += _category_lines(categories)
    if output is None:
        return Result(record=record, shown=shown)
    written = _write(output, model, everyone, predicted, {"notes": said, "opinions": record})
    return Result(
        record=record | {"output": str(output), "checkpoint_id": written},
        shown=[*shown, f"written: {output}, checkpoint_id {written}"],
    )


def _on_splits(
    data_sets: Sequence[Opinions], *, num_splits: int, seed: int, events: Events
) -> list[SplitAgreement]:
    found, num_done = [], 0
    with events.counting("random splits", total=num_splits * len(data_sets)) as count:

        def tick() -> None:
            nonlocal num_done
            num_done += 1
            count(num_done, 0)

        for one in data_sets:
            rng = np.random.default_rng(seed)
            found.append(on_splits(one, num_splits=num_splits, rng=rng, tick=tick))
    return found


def _split_lines(measured: Sequence[SplitAgreement], num_splits: int, *, model: str) -> list[RenderableType]:
    """Return the agreement, beside the paper's only where the features are those that the paper used."""
    beside = ["Table IV"] if model == _PUBLISHED_MODEL else []
    table = _table("data set", "videos", "SRCC", *beside, "PLCC", *beside, "sd of SRCC")
    for one in measured:
        cells: list[float | None] = [one.srcc, one.plcc, one.srcc_sd]
        if beside:
            srcc, plcc = _PUBLISHED.get(one.name, (None, None))
            cells = [one.srcc, srcc, one.plcc, plcc, one.srcc_sd]
        table.add_row(one.name, str(one.num_videos), *map(_number, cells))
    said = "all together: VIDEVAL's authors' 0.796" if beside else f"of {model}, of which the paper has none"
    return [table, f"medians of {num_splits} random splits; {said}"]


def _crossed_lines(
    crossed: Sequence[CrossAgreement], errors: dict[Alignment, float], way: Alignment
) -> list[RenderableType]:
    table = _table("trained on", "tested on", "SRCC", "error / sd")
    for one in crossed:
        table.add_row(one.trained_on, one.tested_on, _number(one.srcc), _number(one.error))
    compared = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    return [
        table,
        f"scales aligned by {way}, which predicts one data set from the others best: {compared}",
    ]


def _category_lines(categories: Sequence[CategoryAgreement]) -> list[RenderableType]:
    table = _table("category of youtube-ugc", "videos", "SRCC", "mean error")
    for one in categories:
        table.add_row(one.category, str(one.num_videos), _number(one.srcc), f"{one.error:+.1f}")
    return [table, "each video predicted by a model that never saw it; errors in points of 100"]


def _write(
    path: Path, model: str, everyone: Opinions, predicted: np.ndarray[Any, Any], card: dict[str, Any]
) -> str:
    low, high = _SCORES
    calibration = fit_calibration(predicted, np.clip(everyone.opinions, low, high), low=low, high=high)
    return weights.save(
        path,
        fit(everyone.features, everyone.opinions),
        architecture=model,
        calibration=calibration,
        status="trained",
        card=card,
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index, name in enumerate(columns):
        is_text = index == 0 or name == "tested on"
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
