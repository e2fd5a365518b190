"""Owns `securevqa weights calibrate`: the same weights with a calibration refitted to a user's labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from operators.stage import SCORED
from pipeline.commands.evaluate import LabelOptions
from pipeline.commands.options import spread
from pipeline.commands.places import file_option
from pipeline.commands.terminal import events, print_json, resumable, say
from pipeline.evaluation.evaluate import Contestant, read_labelled, score_contestants
from pipeline.evaluation.scored import Scored, read_scored
from pipeline.manifests.labelled import EvaluationSettings
from pipeline.runs.lock import alone
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from securevqa_core import weights, zoo
from securevqa_core.calibration import Calibration, fit_calibration
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.logistic import Floats
from securevqa_core.metrics import rmse
from securevqa_core.randomness import Key

__all__ = ["Refit", "calibrate_command", "refit"]

_CONTESTANT = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """A refitted calibration and the n points that it was fitted to."""

    calibration: Calibration
    raw: Floats  # (n,) on the model's own scale
    labels: Floats  # (n,) on 0..100


@spread(LabelOptions)
def calibrate_command(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, or a model's name for what ships.")],
    output: Annotated[Path, file_option("--output", "-o", help="Checkpoint file to write, local.")],
    labelled_manifest: Annotated[
        str | None,
        typer.Argument(help="Manifest with a label column, or a label file; with --run, of its videos."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Finished run of the checkpoint over labelled rows; default: videos are scored."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print both calibrations, for programs.")] = False,
    *,
    options: LabelOptions,
) -> None:
    """Refit the calibration of CHECKPOINT to labels, and write it with the same weights as a new file."""
    if run is None and labelled_manifest is None:
        raise ConfigurationError("give LABELLED_MANIFEST, --run, or both: labels of the videos of a run")
    if run is not None:
        options.require_no_scoring(but=("pass_at", "reject_below"))
    if output.exists():
        raise ConfigurationError(f"output must not be there yet, got {str(output)!r}")
    settings = options.settings()
    one = _named(checkpoint)
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
        # Beside the new file, so that the same command finishes an interrupted run.
        directory = RunDirectory(f"{output}.run")
        directory.require_writable()
        with resumable(), alone(directory):
            runs = score_contestants(table, [one], directory, configure=configure, events=events)
        directory = runs[one.name]
    scored = read_scored(_CONTESTANT, directory, settings, labels=labels, tell=events.note)
    fitted = refit(scored, loaded)
    note = {"refit": _note(fitted, scored, loaded, settings)}
    written = weights.rewrite(output, loaded, additions=note, calibration=fitted.calibration)
    if json:
        print_json(note | {"checkpoint_id": written, "calibration": fitted.calibration.as_dict()})
        return
    _show(fitted, loaded, thresholds=(options.pass_at, options.reject_below))
    say(f"written: {output}, checkpoint_id {written}")


def refit(scored: Scored, checkpoint: weights.Checkpoint) -> Refit:
    """Fit a calibration to the labelled rows that a checkpoint scored.

    Raises:
        CheckpointError: the run is of other weights.
        UndefinedError: the labels fix no calibration (`fit_calibration`).
    """
    scored_by = scored.run["provenance"]["checkpoint_id"]
    if scored_by != checkpoint.checkpoint_id:
        raise CheckpointError(
            f"run {scored.uri} must be of {checkpoint.checkpoint_id}, as raw scores of other weights are on "
            f"another scale; got {scored_by}"
        )
    rows = [
        (row["raw_score"], row["label_points"])
        for row in scored.rows.values()
        if row["status"] == SCORED and row["label_points"] is not None
    ]
    raw, labels = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return Refit(calibration=fit_calibration(raw, labels), raw=raw, labels=labels)


def _named(checkpoint: str) -> Contestant:
    if checkpoint in zoo.names():
        return Contestant(name=_CONTESTANT, model=checkpoint)
    return Contestant(name=_CONTESTANT, checkpoint=checkpoint)


def _note(
    fitted: Refit, scored: Scored, checkpoint: weights.Checkpoint, settings: EvaluationSettings
) -> dict[str, object]:
    """Return what the card says of the refit: enough to undo it and to do it again."""
    return {
        "source_checkpoint_id": checkpoint.checkpoint_id,
        "previous_calibration": checkpoint.calibration.as_dict(),
        "num_rows": len(fitted.raw),
        "label": {"column": scored.label_name, **asdict(scored.label_range)},
        "where": list(settings.where),
        "run_fingerprint": scored.run["fingerprint"],
        "rmse_points": rmse(fitted.calibration.to_score(fitted.raw), fitted.labels),
    }


def _show(fitted: Refit, checkpoint: weights.Checkpoint, *, thresholds: tuple[float, float]) -> None:
    old, new = checkpoint.calibration, fitted.calibration
    say(f"{len(fitted.raw)} labelled rows; calibration low, high, midpoint, scale:")
    for name, one in (("before", old), ("after", new)):
        figures = ", ".join(f"{value:.6g}" for value in one.as_dict().values())
        error = rmse(one.to_score(fitted.raw), fitted.labels)
        say(f"  {name}: {figures}; RMSE {error:.2f} points of 100")
    scores = np.asarray(new.to_score(fitted.raw))
    for option, label in zip(("--pass-at", "--reject-below"), thresholds, strict=True):
        say(f"  {_suggestion(option, label, old, new)}{_shares(option, label, scores, fitted.labels)}")


def _suggestion(option: str, label: float, old: Calibration, new: Calibration) -> str:
    """Say at which score the fit expects a label."""
    if not new.low < label < new.high:
        return (
            f"{option}: no score is worth a label of {label:g}, the fit spans {new.low:.1f}..{new.high:.1f}"
        )
    before = old.to_score(new.to_raw(label))
    return (
        f"{option} {label:g}: where a label of {label:g} is expected (it was {before:.1f} before the refit)"
    )


def _shares(option: str, label: float, scores: Floats, labels: Floats) -> str:
    """Say how often rows beyond a threshold have a label beyond it."""
    is_pass = option == "--pass-at"
    beyond = scores >= label if is_pass else scores < label
    right = labels >= label if is_pass else labels < label
    if not beyond.any():
        return "; no row lies beyond it"
    side = f"{label:g} or more" if is_pass else f"below {label:g}"
    share = float(right[beyond].mean())
    return f"; {share:.0%} of the {int(beyond.sum())} rows that score {side} are labelled {side}"
