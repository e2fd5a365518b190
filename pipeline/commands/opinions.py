"""Owns `securevqa opinions`: which features, how often, and where the fitted model goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.places import file_option
from pipeline.commands.terminal import events
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError
from securevqa_core.opinions.versions import VERSIONS
from securevqa_core.types import require_range

__all__ = ["opinions_command"]


def opinions_command(
    model: Annotated[str, typer.Option(help=f"Which features: {', '.join(VERSIONS)}.")] = "videval",
    features: Annotated[
        Path | None, typer.Option(help="Table of opinions and features; default: what ships.")
    ] = None,
    splits: Annotated[int, typer.Option(help="Random splits into four fifths and one fifth.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    output: Annotated[
        Path | None,
        file_option(
            "--output", "-o", help="Checkpoint to write, fitted to all videos, local; default: none."
        ),
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="TOML of text for its card; default: none.")] = None,
) -> Result:
    """Measure how well VIDEVAL's features predict opinions of real uploads, beside the paper's table."""
    if model not in VERSIONS:
        raise ConfigurationError(f"model must be one of {', '.join(VERSIONS)}, got {model!r}")
    require_range("splits", splits, low=1, high=10_000)
    require_range("seed", seed, low=0, high=2**32)
    if features is not None and not features.is_file():
        raise ConfigurationError(f"features must be a file that is there, got {str(features)!r}")
    if notes is not None and output is None:
        raise ConfigurationError(f"--notes are of the card of --output, got {str(notes)!r} without")
    with events.doing("loading", is_logged=False):
        from pipeline.evaluation.opinions import measure_opinions  # noqa: PLC0415 - seconds of imports

    return measure_opinions(
        model, features=features, num_splits=splits, seed=seed, output=output, notes=notes, events=events
    )
