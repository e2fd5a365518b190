"""Owns `securevqa weights describe`: a card that says what weights came to and what they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.places import CheckpointOutput
from pipeline.commands.terminal import events
from pipeline.results import Result
from pipeline.toml_source import read_notes
from securevqa_core.errors import ConfigurationError

__all__ = ["describe_command"]

_OF_ALL = ("rows", "where", "label", "bootstrap")
_OF_A_MODEL = ("overall", "ladders", "sd_over_draws", "num_draws")


def describe_command(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, or a model's name for what ships.")],
    output: CheckpointOutput,
    evaluation: Annotated[
        Path, typer.Option(help="evaluation.json of an evaluation that CHECKPOINT took part in.")
    ],
    notes: Annotated[
        Path | None,
        typer.Option(help="TOML of text: data, labels, limits, use, ...; default: none."),
    ] = None,
) -> Result:
    """Write CHECKPOINT, its weights as they are, with results of an evaluation and notes in its card."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import read_stored  # noqa: PLC0415 - seconds of imports
        from securevqa_core import weights  # noqa: PLC0415

        stored = read_stored(checkpoint).checkpoint
    entries = {
        "described": stored.checkpoint_id,
        "evaluation": _results(evaluation, stored.checkpoint_id),
        "notes": {} if notes is None else read_notes(notes),
    }
    written = weights.rewrite(output, stored, additions=entries)
    return Result(
        record=entries | {"output": str(output), "checkpoint_id": written},
        shown=[f"written: {output}, checkpoint_id {written}"],
    )


def _results(path: Path, checkpoint_id: str) -> dict[str, Any]:
    """Return what an evaluation measured of a checkpoint over all rows.

    Raises:
        ConfigurationError: the file cannot be read, or the checkpoint took no part.
    """
    try:
        record = json.loads(path.read_text())
        by_id = {model["checkpoint_id"]: model for model in record["models"]}
        facts = {name: record[name] for name in _OF_ALL}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"evaluation {str(path)!r} cannot be read: {error!r}") from error
    if checkpoint_id not in by_id:
        raise ConfigurationError(
            f"evaluation {str(path)!r} must be of {checkpoint_id}, got {', '.join(sorted(by_id))}"
        )
    return facts | {name: by_id[checkpoint_id][name] for name in _OF_A_MODEL}
