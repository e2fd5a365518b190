"""Owns `securevqa weights`: published weights in, checkpoints shown and verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from operators.storage import redact
from pipeline.checkpoints import checkpoint_bytes
from pipeline.commands.places import file_option
from pipeline.commands.terminal import console
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.published import assemble, read_published
from securevqa_core.verification import FINGERPRINT, fingerprint, verify

__all__ = ["StoredCheckpoint", "read_checkpoint", "weights_app"]


weights_app = typer.Typer(no_args_is_help=True)

_Checkpoint = Annotated[str, typer.Argument(help="Checkpoint file, or a model's name for what ships.")]


@weights_app.callback()
def _about() -> None:
    """Bring published weights, and look into checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredCheckpoint:
    """A checkpoint, and the file it was read from."""

    checkpoint: weights.Checkpoint
    sha256: str  # of the file
    size_bytes: int


def read_checkpoint(uri: str) -> StoredCheckpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: it cannot be read or is not one.
    """
    content = checkpoint_bytes(uri)
    return StoredCheckpoint(
        checkpoint=weights.read(content, name=redact(uri)),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


@weights_app.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="Published files; several bring a part each.")],
    arch: Annotated[str, typer.Option("--arch", help="Architecture from the zoo.")],
    output: Annotated[Path, file_option("--output", "-o", help="Checkpoint to write, .safetensors, local.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave parts that no file brings seeded, and untrained.")
    ] = False,
) -> None:
    """Make a checkpoint from published weights: .pth, .pyth, .pt (tensors only) or .safetensors."""
    if output.resolve() in {file.resolve() for file in files}:
        raise ConfigurationError(f"output must not be one of the files, got {str(output)!r}")
    assembled = assemble([read_published(file) for file in files], architecture=arch, partial=partial)
    scores = fingerprint(assembled.model, zoo.spec(arch).sampling)
    weights.save(
        output,
        assembled.model,
        architecture=arch,
        calibration=assembled.calibration,
        status=assembled.status,
        card=assembled.card | {FINGERPRINT: list(scores)},
    )
    _show(read_checkpoint(str(output)))
    if assembled.status == "imported" and zoo.spec(arch).published_calibration is None:
        _print("no mapping to 0-100 was published for it: verdicts mean little until it is calibrated")


@weights_app.command("halve")
def halve_command(
    checkpoint: _Checkpoint,
    output: Annotated[Path, file_option("--output", "-o", help="Checkpoint to write, .safetensors, local.")],
) -> None:
    """Write CHECKPOINT with its weights rounded to 16 bits: half the size."""
    stored = read_checkpoint(checkpoint).checkpoint
    rounded = weights.build(stored).half().float()
    weights.save(
        output,
        rounded,
        architecture=stored.architecture,
        calibration=stored.calibration,
        status=stored.status,
        card=stored.card
        | {
            "halved": stored.checkpoint_id,
            FINGERPRINT: list(fingerprint(rounded, zoo.spec(stored.architecture).sampling)),
        },
        is_half=True,
    )
    _show(read_checkpoint(str(output)))


@weights_app.command("mix")
def mix_command(
    checkpoint: _Checkpoint,
    other: Annotated[str, typer.Argument(help="Another of the same architecture, trained on from it.")],
    output: Annotated[Path, file_option("--output", "-o", help="Checkpoint to write, .safetensors, local.")],
    share: Annotated[float, typer.Option(help="Of OTHER, 0..1.")] = 0.5,
) -> None:
    """Write the weights on the line from CHECKPOINT to OTHER: part of what a training gained and cost."""
    ends = [read_checkpoint(uri).checkpoint for uri in (checkpoint, other)]
    mixture = weights.mixed(*ends, share=share)
    seen = fingerprint(weights.build(mixture), zoo.spec(mixture.architecture).sampling)
    weights.rewrite(output, mixture, additions={FINGERPRINT: list(seen)})
    _show(read_checkpoint(str(output)))


@weights_app.command("show")
def show_command(
    checkpoint: _Checkpoint,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Print what CHECKPOINT is: architecture, status, calibration, sampling, size and card."""
    stored = read_checkpoint(checkpoint)
    if as_json:
        _print(json.dumps(_facts(stored), indent=2))
    else:
        _show(stored)


@weights_app.command("verify")
def verify_command(
    checkpoint: _Checkpoint,
    sha256: Annotated[
        str | None, typer.Option(help="Expected digest, or a checkpoint_id from a report; default: none.")
    ] = None,
) -> None:
    """Check that CHECKPOINT is whole, fits its architecture and scores a fixed input as where it was made."""
    verification = verify(checkpoint_bytes(checkpoint), name=redact(checkpoint), digest=sha256)
    found = verification.checkpoint
    _print(f"checkpoint   {found.checkpoint_id}, {found.status}")
    _print(f"sha256       {verification.sha256}{'' if sha256 is None else ', as expected'}")
    state = "as they were written" if found.has_digest else "with no digest in the file to check them by"
    _print(f"weights      {len(found.tensors)} tensors, all there, all finite, {state}")
    _print(f"fingerprint  {' '.join(f'{score:g}' for score in verification.scores)}")
    if verification.difference is None:
        _print("compared     with nothing: the card has no fingerprint")
    else:
        _print(f"compared     with the card: {verification.difference:.1e} of the largest score apart")


def _facts(stored: StoredCheckpoint) -> dict[str, Any]:
    checkpoint = stored.checkpoint
    spec, model = zoo.spec(checkpoint.architecture), weights.build(checkpoint)
    return {
        "checkpoint_id": checkpoint.checkpoint_id,
        "architecture": checkpoint.architecture,
        "description": spec.description,
        "status": checkpoint.status,
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "calibration": checkpoint.calibration.as_dict(),
        "sampling": spec.sampling.as_dict(),
        "card": checkpoint.card,
    }


def _show(stored: StoredCheckpoint) -> None:
    facts = _facts(stored)
    for line in _lines(facts):
        _print(line)
    if facts["status"] == "untrained":
        _print("untrained: its scores mean nothing, and every verdict is review")


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield an object as lines for a person; scalars as JSON, which lets no control character through."""
    for name, inner in value.items():
        label = f"{indent}{json.dumps(name)[1:-1]}"
        if isinstance(inner, dict) and inner:
            yield f"{label}:"
            yield from _lines(inner, indent + "  ")
        elif isinstance(inner, list) and any(isinstance(item, dict) for item in inner):
            for number, item in enumerate(inner, start=1):
                yield from _lines({f"{name} {number}": item}, indent)
        elif isinstance(inner, list):
            yield f"{label:26} {' '.join(map(json.dumps, inner))}"
        else:
            yield f"{label:26} {json.dumps(inner)}"


def _print(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
