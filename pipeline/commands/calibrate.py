"""Owns `securevqa weights calibrate`: the same weights with a calibration refitted to a user's labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.evaluate import LabelOptions
from pipeline.commands.options import spread
from pipeline.commands.places import CheckpointOutput
from pipeline.commands.terminal import events, resumable
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline.evaluation.evaluate import Contestant
    from pipeline.scoring.config import ScoreConfig

__all__ = ["calibrate_command"]


@spread(LabelOptions)
def calibrate_command(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, or a model's name for what ships.")],
    output: CheckpointOutput,
    labelled_manifest: Annotated[
        str | None,
        typer.Argument(help="Manifest with a label column, or a label file; with --run, of its videos."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Finished run of the checkpoint over labelled rows; default: videos are scored."),
    ] = None,
    *,
    options: LabelOptions,
) -> Result:
    """Refit the calibration of CHECKPOINT to labels, and write it with the same weights as a new file."""
    if run is None and labelled_manifest is None:
        raise ConfigurationError("give LABELLED_MANIFEST, --run, or both: labels of the videos of a run")
    if run is not None:
        options.require_no_scoring(but=("pass_at", "reject_below"))
    else:
        options.require_values()
    with events.doing("loading", is_logged=False):
        # Seconds of imports, which help need not wait for.
        from pipeline.evaluation.calibrate import (  # noqa: PLC0415
            contestant,
            refit,
            refit_lines,
            refit_note,
            require_enough,
        )
        from pipeline.evaluation.evaluate import score_contestants  # noqa: PLC0415
        from pipeline.evaluation.listed import read_labelled  # noqa: PLC0415
        from pipeline.evaluation.scored import read_scored  # noqa: PLC0415
        from pipeline.runs.lock import alone  # noqa: PLC0415
        from pipeline.runs.rundir import RunDirectory  # noqa: PLC0415
        from securevqa_core import weights  # noqa: PLC0415
        from securevqa_core.randomness import Key  # noqa: PLC0415

        settings = options.settings()
        one = contestant(checkpoint)
        key = Key.public(0) if run is not None else options.key()

    def configure(one: Contestant, manifest: str, output: str) -> ScoreConfig:
        return replace(options, uri_column="uri").config(
            manifest=manifest, output=output, key=key, model=one.model, checkpoint=one.checkpoint
        )

    with events.doing("loading the model"):
        loaded = configure(one, labelled_manifest or "", str(output)).load_checkpoint()
    if loaded.status == "untrained":
        events.note("checkpoint_status = untrained: its scores mean nothing, calibrated or not")
    labels = None
    if run is not None:
        directory = RunDirectory(run)
        labels = options.late_labels(labelled_manifest)
    else:
        assert labelled_manifest is not None
        table, settings = read_labelled(options.source(labelled_manifest), settings, tell=events.note)
        require_enough(table, settings)
        # Beside the new file, so that the same command finishes an interrupted run.
        directory = RunDirectory(f"{output}.run")
        directory.require_writable()
        with resumable(), alone(directory):
            runs = score_contestants(table, [one], directory, configure=configure, events=events)
        directory = runs[one.name]
    scored = read_scored(one.name, directory, settings, labels=labels, tell=events.note)
    fitted = refit(scored, loaded)
    note = {"refit": refit_note(fitted, scored, loaded, settings)}
    written = weights.rewrite(output, loaded, additions=note, calibration=fitted.calibration)
    lines = refit_lines(fitted, loaded, thresholds=(options.pass_at, options.reject_below))
    calibration = fitted.calibration.as_dict()
    return Result(
        record=note | {"output": str(output), "checkpoint_id": written, "calibration": calibration},
        shown=[*lines, f"written: {output}, checkpoint_id {written}"],
    )
