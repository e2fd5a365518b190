"""Owns `securevqa opinions`: how well VIDEVAL predicts people, beside the paper, and the fitted model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer
from rich import box
from rich.progress import Progress
from rich.table import Table

from pipeline.commands.places import file_option
from pipeline.commands.terminal import console, events, say
from pipeline.toml_source import TomlSource
from securevqa_core import weights
from securevqa_core.calibration import fit_calibration
from securevqa_core.errors import ConfigurationError
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
from securevqa_core.opinions.tables import SHIPPED, VERSIONS, Opinions, read_opinions
from securevqa_core.types import require_range

__all__ = ["opinions_command"]

# SRCC and PLCC of VIDEVAL on small data sets: the paper's Table IV, and of all three together its authors'.
_PUBLISHED = {
    "live-vqc": (0.752, 0.751),
    "konvid-1k": (0.783, 0.780),
    "youtube-ugc": (0.779, 0.773),
    "all together": (0.796, None),
}
_SCORES = (0.0, 100.0)


def opinions_command(
    model: Annotated[str, typer.Option(help=f"Which features: {', '.join(VERSIONS)}.")] = "videval",
    features: Annotated[
        Path, typer.Option(help="Table of opinions and features; default: what ships.")
    ] = SHIPPED,
    splits: Annotated[int, typer.Option(help="Random splits into four fifths and one fifth.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    output: Annotated[
        Path | None,
        file_option(
            "--output", "-o", help="Checkpoint to write, fitted to all videos, local; default: none."
        ),
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="TOML of text for its card; default: none.")] = None,
) -> None:
    """Measure how well VIDEVAL's features predict opinions of real uploads, beside the paper's table."""
    if model not in VERSIONS:
        raise ConfigurationError(f"model must be one of {', '.join(VERSIONS)}, got {model!r}")
    require_range("splits", splits, low=1, high=10_000)
    require_range("seed", seed, low=0, high=2**32)
    said = _notes(notes)
    data_sets = read_opinions(features, version=model)
    errors = {way: cross_set_error(aligned(data_sets, way)) for way in get_args(Alignment)}
    way = min(errors, key=lambda name: errors[name])
    chosen = aligned(data_sets, way)
    everyone = together(chosen)
    measured = _on_splits([*chosen, everyone], num_splits=splits, seed=seed)
    _show_splits(measured, splits)
    crossed = [from_set_to_set(one, other) for one in chosen for other in chosen if one is not other]
    _show_crossed(crossed, errors, way)
    predicted = out_of_fold(everyone, rng=np.random.default_rng(seed))
    categories = on_categories(everyone, predicted)
    _show_categories(categories)
    if output is not None:
        card = {
            "notes": said,
            "opinions": {
                "features": VERSIONS[model],
                "alignment": way,
                "cross_set_errors": errors,
                "settings": {"c": C, "epsilon": EPSILON, "gamma": GAMMA},
                "num_splits": splits,
                "splits": [asdict(one) for one in measured],
                "cross": [asdict(one) for one in crossed],
                "categories": [asdict(one) for one in categories],
            },
        }
        _write(output, model, everyone, predicted, card)


def _notes(path: Path | None) -> dict[str, Any]:
    return {} if path is None else TomlSource(name=str(path), text=path.read_text()).document()


def _on_splits(data_sets: Sequence[Opinions], *, num_splits: int, seed: int) -> list[SplitAgreement]:
    found = []
    with Progress(console=events.console, transient=True) as progress:
        task = progress.add_task("random splits", total=num_splits * len(data_sets))
        advance: Callable[[], None] = lambda: progress.advance(task)  # noqa: E731 - a callback
        for one in data_sets:
            rng = np.random.default_rng(seed)
            found.append(on_splits(one, num_splits=num_splits, rng=rng, tick=advance))
    return found


def _show_splits(measured: Sequence[SplitAgreement], num_splits: int) -> None:
    table = _table("data set", "videos", "SRCC", "Table IV", "PLCC", "Table IV", "sd of SRCC")
    for one in measured:
        srcc, plcc = _PUBLISHED.get(one.name, (None, None))
        cells = [one.srcc, srcc, one.plcc, plcc, one.srcc_sd]
        table.add_row(one.name, str(one.num_videos), *map(_number, cells))
    console.print(table)
    say(f"medians of {num_splits} random splits; all together: VIDEVAL's authors' 0.796")


def _show_crossed(crossed: Sequence[CrossAgreement], errors: dict[Alignment, float], way: Alignment) -> None:
    table = _table("trained on", "tested on", "SRCC", "error / sd")
    for one in crossed:
        table.add_row(one.trained_on, one.tested_on, _number(one.srcc), _number(one.error))
    console.print(table)
    compared = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    say(f"scales aligned by {way}, which predicts one data set from the others best: {compared}")


def _show_categories(categories: Sequence[CategoryAgreement]) -> None:
    table = _table("category of youtube-ugc", "videos", "SRCC", "mean error")
    for one in categories:
        table.add_row(one.category, str(one.num_videos), _number(one.srcc), f"{one.error:+.1f}")
    console.print(table)
    say("each video predicted by a model that never saw it; errors in points of 100")


def _write(
    path: Path, model: str, everyone: Opinions, predicted: np.ndarray[Any, Any], card: dict[str, Any]
) -> None:
    low, high = _SCORES
    calibration = fit_calibration(predicted, np.clip(everyone.opinions, low, high), low=low, high=high)
    written = weights.save(
        path,
        fit(everyone.features, everyone.opinions),
        architecture=model,
        calibration=calibration,
        status="trained",
        card=card,
    )
    say(f"written: {path}, checkpoint_id {written}")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index, name in enumerate(columns):
        is_text = index == 0 or name == "tested on"
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
