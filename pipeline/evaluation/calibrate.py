"""Owns a calibration refitted to a user's labels: what it is fitted to, and what it means for verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from operators.stage import SCORED
from pipeline.evaluation.evaluate import Contestant, contestants
from pipeline.evaluation.scored import Scored
from pipeline.manifests.labelled import EvaluationSettings
from pipeline.manifests.labels import label_column
from pipeline.text import counted
from securevqa_core import weights, zoo
from securevqa_core.calibration import Calibration, fit_calibration
from securevqa_core.errors import CheckpointError, UndefinedError
from securevqa_core.logistic import MIN_FIT_POINTS, Floats
from securevqa_core.metrics import rmse

__all__ = ["Refit", "contestant", "refit", "refit_lines", "refit_note", "require_enough"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refit:
    """A refitted calibration and the n points that it was fitted to."""

    calibration: Calibration
    raw: Floats  # (n,) on the model's own scale
    labels: Floats  # (n,) on 0..100


def contestant(checkpoint: str) -> Contestant:
    """Return who scores the labelled videos: a model by its name, or a checkpoint."""
    is_model = checkpoint in zoo.names()
    return contestants([checkpoint] if is_model else [], [] if is_model else [checkpoint])[0]


def require_enough(table: pa.Table, settings: EvaluationSettings) -> None:
    """Refuse labels that are too few for a fit, before their videos are scored.

    Args:
        table: of `read_labelled`.
        settings: as it gave them.

    Raises:
        UndefinedError: fewer than `MIN_FIT_POINTS` rows have a label.
    """
    column = label_column(table.column_names, settings.label_column)
    num_labels = sum(value not in {None, ""} for value in table[column].to_pylist())
    if num_labels < MIN_FIT_POINTS:
        raise UndefinedError(
            f"a calibration needs at least {MIN_FIT_POINTS} labelled videos, got {num_labels}"
        )


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


def refit_note(
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


def refit_lines(
    fitted: Refit, checkpoint: weights.Checkpoint, *, thresholds: tuple[float, float]
) -> list[str]:
    """Return what the refit changed, and what the thresholds of pass and reject mean by it."""
    old, new = checkpoint.calibration, fitted.calibration
    lines = [f"{len(fitted.raw)} labelled rows; calibration low, high, midpoint, scale:"]
    for name, one in (("before", old), ("after", new)):
        figures = ", ".join(f"{round(value, 9):.6g}" for value in one.as_dict().values())
        error = rmse(one.to_score(fitted.raw), fitted.labels)
        lines.append(f"  {name}: {figures}; RMSE {error:.2f} points of 100")
    scores = np.asarray(new.to_score(fitted.raw))
    for option, label in zip(("--pass-at", "--reject-below"), thresholds, strict=True):
        shares = _shares(option, label, scores, fitted.labels)
        lines.append(f"  {_suggestion(option, label, old, new)}{shares}")
    return lines


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
    rows = counted(int(beyond.sum()), "row")
    return f"; of {rows} scored {side}, {share:.0%} are labelled {side}"
