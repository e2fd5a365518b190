"""Owns `securevqa extract`: a manifest in, a report with embeddings out."""

from __future__ import annotations

import dataclasses
import functools
import json as json_module
from typing import Annotated

import typer

from pipeline.commands.nightly import NightlyOptions
from pipeline.commands.options import spread
from pipeline.commands.score import show_outcome
from pipeline.commands.terminal import events, interrupted, resumable, say

__all__ = ["extract_command"]


@spread(
    NightlyOptions,
    address="Ray cluster, or local: start Ray here; default: RAY_ADDRESS, else Ray is started here.",
)
def extract_command(
    manifest: Annotated[str, typer.Argument(help="Parquet, CSV, JSON lines, directory or glob; any URI.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Run directory, local or s3://.")],
    features: Annotated[
        str, typer.Option(help="Some of intra, inter, fused, separated by commas.")
    ] = "fused",
    pool: Annotated[
        str, typer.Option(help="mean: a vector a video; clip: one a clip of each draw.")
    ] = "mean",
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float32",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object of the run.")] = False,
    *,
    options: NightlyOptions,
) -> None:
    """Score every video of MANIFEST and keep its embeddings beside the score, one row each."""
    with resumable(functools.partial(interrupted, output)):
        options.require_places(output)
        options.require_manifest([manifest])
        with events.doing("loading", is_logged=False):
            from securevqa_core.types import EmbeddingConfig  # noqa: PLC0415 - no command's help needs it

            embeddings = EmbeddingConfig(
                features=tuple(features.split(",")),  # type: ignore[arg-type]  # validated by EmbeddingConfig
                pool=pool,  # type: ignore[arg-type]
                dtype=dtype,  # type: ignore[arg-type]
            )
            config = options.config(
                manifest=manifest,
                output=output,
                key=options.key(),
                model=options.model,
                checkpoint=options.checkpoint,
            )
        with events.doing("loading"):
            from pipeline.scoring.score import score  # noqa: PLC0415 - seconds of imports

        outcome = score(dataclasses.replace(config, embeddings=embeddings), events=events)
    if json:
        say(json_module.dumps(outcome.run))
    else:
        show_outcome(outcome)
