"""Owns `securevqa weights`: published weights in, checkpoints shown and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import complete_models
from pipeline.commands.places import CheckpointOutput
from pipeline.commands.terminal import events
from pipeline.results import Result
from securevqa_core.errors import an

__all__ = ["weights_app"]


weights_app = typer.Typer(no_args_is_help=True)

_Checkpoint = Annotated[str, typer.Argument(help="Checkpoint file, or a model's name for what ships.")]


@weights_app.callback()
def _about() -> None:
    """Bring published weights, and look into checkpoints."""


@weights_app.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="Published files; several bring a part each.")],
    arch: Annotated[
        str, typer.Option("--arch", autocompletion=complete_models, help="Architecture from the zoo.")
    ],
    output: CheckpointOutput,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave parts that no file brings seeded, and untrained.")
    ] = False,
) -> Result:
    """Make a checkpoint from published weights: .pth, .pyth, .pt (tensors only) or .safetensors."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import import_published, written_result  # noqa: PLC0415 - seconds, as below
        from securevqa_core import zoo  # noqa: PLC0415

        made = import_published(files, architecture=arch, partial=partial, output=output)
    if made.status == "imported" and zoo.spec(arch).published_calibration is None:
        events.note("no mapping to 0-100 was published for it: verdicts mean little until it is calibrated")
    for file, keys in made.dropped.items():
        events.note(f"{file}: dropped, as {an(arch)} has no use for them: {keys}")
    names = ", ".join(file.name for file in files)
    return written_result(output, f"weights of {an(arch)}, from {names}")


@weights_app.command("halve")
def halve_command(
    checkpoint: _Checkpoint,
    output: CheckpointOutput,
) -> Result:
    """Write CHECKPOINT with its weights rounded to 16 bits: half the size."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import halve, read_stored, written_result  # noqa: PLC0415 - as above

        whole = read_stored(checkpoint)
        halve(whole.checkpoint, output)
    was = f"{whole.checkpoint.checkpoint_id}, {whole.size_bytes / 1e6:.3g} MB"
    return written_result(output, f"weights rounded to 16 bits, of {was}")


@weights_app.command("mix")
def mix_command(
    checkpoint: _Checkpoint,
    other: Annotated[str, typer.Argument(help="Another of the same architecture, trained on from it.")],
    output: CheckpointOutput,
    share: Annotated[float, typer.Option(help="Of OTHER, 0..1.")] = 0.5,
) -> Result:
    """Write the weights on the line from CHECKPOINT to OTHER: part of what a training gained and cost."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import mix, read_stored, written_result  # noqa: PLC0415 - as above

        one, end = (read_stored(uri).checkpoint for uri in (checkpoint, other))
        mix(one, end, share=share, output=output)
    parts = f"{1 - share:g} of {one.checkpoint_id}, {share:g} of {end.checkpoint_id}"
    return written_result(output, f"weights and calibration: {parts}")


@weights_app.command("bound")
def bound_command(
    checkpoint: _Checkpoint,
    output: CheckpointOutput,
    intra: Annotated[
        float | None,
        typer.Option(
            help="Of what fragments show, in standard deviations; default: as it is.", show_default=False
        ),
    ] = None,
    inter: Annotated[
        float | None, typer.Option(help="The same of motion; default: as it is.", show_default=False)
    ] = None,
    level_share: Annotated[
        float | None,
        typer.Option(
            help="Share of a place's change of level, as of flicker, to leave out; default: as it is.",
            show_default=False,
        ),
    ] = None,
    quiet_levels: Annotated[
        float | None,
        typer.Option(
            help="Levels of 255 below which a change counts for little; default: as it is.",
            show_default=False,
        ),
    ] = None,
) -> Result:
    """Write CHECKPOINT with other bounds, beyond which a statistic says no more; its scale needs a refit.

    --level-share and --quiet-levels say to which changes statistics answer: train with them before you score.
    """
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import bound, read_stored, written_result  # noqa: PLC0415 - as above

        before = read_stored(checkpoint).checkpoint
        bound(before, intra=intra, inter=inter, level_share=level_share, quiet=quiet_levels, output=output)
    given = {"intra": intra, "inter": inter, "level-share": level_share, "quiet-levels": quiet_levels}
    bounds = ", ".join(f"{name} {value:g}" for name, value in given.items() if value is not None)
    return written_result(
        output,
        f"bounds of {before.checkpoint_id}: {bounds}",
        "its scale, which needs a refit: securevqa weights calibrate",
    )


@weights_app.command("show")
def show_command(checkpoint: _Checkpoint) -> Result:
    """Print what CHECKPOINT is: architecture, status, calibration, sampling, size and card."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import stored_result  # noqa: PLC0415 - as above

        return stored_result(checkpoint, has_history=events.is_verbose)


@weights_app.command("verify")
def verify_command(
    checkpoint: _Checkpoint,
    sha256: Annotated[
        str | None, typer.Option(help="Expected digest, or a checkpoint_id from a report; default: none.")
    ] = None,
) -> Result:
    """Check that CHECKPOINT is whole, fits its architecture and scores a fixed input as where it was made."""
    with events.doing("loading", is_logged=False):
        from pipeline.checkpoints import verified  # noqa: PLC0415 - as above

        return verified(checkpoint, digest=sha256)
