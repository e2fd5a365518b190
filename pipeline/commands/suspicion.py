"""Owns `securevqa weights suspicion`: weights that know how far clean videos fall."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import ScoreOptions, spread
from pipeline.commands.places import CheckpointOutput
from pipeline.commands.terminal import events, resumable
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError
from securevqa_core.rendition import Rendition

if TYPE_CHECKING:
    from pipeline.evaluation.evaluate import Contestant
    from pipeline.scoring.config import ScoreConfig

__all__ = ["suspicion_command"]


@spread(ScoreOptions)
def suspicion_command(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, or a model's name for what ships.")],
    manifest: Annotated[
        str, typer.Argument(help="Clean videos, of many sources, codecs and qualities; any URI.")
    ],
    output: CheckpointOutput,
    rendition: Annotated[
        str, typer.Option(metavar="CODEC:QUALITY", help="What --notice will ask for.")
    ] = "x264:23",
    where: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=VALUE that rows must have; repeat; default: all rows."),
    ] = None,
    *,
    options: ScoreOptions,
) -> Result:
    """Fit how far clean videos fall when they are encoded, so that CHECKPOINT can notice attacks."""
    if options.as_delivered is not None:
        raise ConfigurationError(f"as_delivered must not be given, got {options.as_delivered!r}")
    options.require_values()
    encoded = Rendition.parse(rendition, name="rendition")
    with events.doing("loading", is_logged=False):
        # Seconds of imports, which help need not wait for.
        from pipeline.evaluation.calibrate import contestant  # noqa: PLC0415
        from pipeline.evaluation.evaluate import score_contestants  # noqa: PLC0415
        from pipeline.evaluation.suspicion import clean_pairs, clean_videos, fit_lines  # noqa: PLC0415
        from pipeline.runs.lock import alone  # noqa: PLC0415
        from pipeline.runs.rundir import RunDirectory  # noqa: PLC0415
        from securevqa_core import suspicion, weights  # noqa: PLC0415

        key = options.key()
    delivered = {"upload": None, "rendition": str(encoded)}
    entered = [dataclasses.replace(contestant(checkpoint), name=name) for name in delivered]

    def configure(one: Contestant, manifest: str, output: str) -> ScoreConfig:
        return dataclasses.replace(options, uri_column="uri", as_delivered=delivered[one.name]).config(
            manifest=manifest, output=output, key=key, model=one.model, checkpoint=one.checkpoint
        )

    with events.doing("loading the model"):
        config = configure(entered[0], manifest, str(output))
        loaded = config.load_checkpoint()
        config = config.settled(loaded)
    if loaded.status == "untrained":
        events.note("checkpoint_status = untrained: its scores mean nothing, and so do its suspicions")
    table = clean_videos(
        manifest, uri_column=options.uri_column, allow_schemes=config.allow_schemes, where=where
    )
    directory = RunDirectory(f"{output}.run")  # so that the same command finishes an interrupted run
    directory.require_writable()
    with resumable(), alone(directory):
        runs = score_contestants(table, entered, directory, configure=configure, events=events)
    scores, falls = clean_pairs(runs["upload"], runs["rendition"])
    assert config.num_draws is not None
    clean = suspicion.fit_clean_drops(scores, falls, rendition=encoded, num_draws=config.num_draws)
    note = suspicion.card_note(loaded.card, clean)
    written = weights.rewrite(output, loaded, additions=note)
    return Result(
        record=note | {"output": str(output), "checkpoint_id": written},
        shown=[*fit_lines(clean), f"written: {output}, checkpoint_id {written}"],
    )
