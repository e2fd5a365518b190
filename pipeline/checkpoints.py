"""Owns the checkpoints that people name: what ships of a model, a file, a URI; and what is said of them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from operators.storage import StorageError, read_bytes, redact
from pipeline.results import Result
from securevqa_core import weights, zoo
from securevqa_core.errors import AbsentCheckpointError, CheckpointError, ConfigurationError
from securevqa_core.published import Assembled, assemble, read_published
from securevqa_core.verification import FINGERPRINT, fingerprint, verify

__all__ = [
    "StoredCheckpoint",
    "bound",
    "checkpoint_bytes",
    "halve",
    "import_published",
    "mix",
    "model_facts",
    "read_checkpoint",
    "read_stored",
    "stored_result",
    "verified",
    "written_result",
]

_SHOWN_FIRST = ("evaluation", "opinions", "notes", "rows")  # of a card: results, limits and data
_HISTORY = ("bounded_from", "mixed_from")  # whole cards
PIECE_SECONDS = 60.0  # for each piece of the file


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredCheckpoint:
    """A checkpoint, and the file it was read from."""

    checkpoint: weights.Checkpoint
    sha256: str  # of the file
    size_bytes: int


def checkpoint_bytes(name: str) -> bytes:
    """Return the bytes of a checkpoint.

    Raises:
        AbsentCheckpointError: there is none of that name.
        CheckpointError: it cannot be read.
    """
    place = str(weights.path_of(name)) if name in zoo.names() else name  # a URI is no Path
    try:
        return read_bytes(place, timeout_seconds=PIECE_SECONDS)
    except StorageError as error:
        hint = weights.likely_meant(name)
        kind = AbsentCheckpointError if error.kind == "not_found" else CheckpointError
        raise kind(f"checkpoint {redact(name)!r} cannot be read: {error}{hint}") from error


def read_checkpoint(name: str, *, architecture: str | None = None) -> weights.Checkpoint:
    """Return a checkpoint, which fits its architecture.

    Args:
        name: of a model, for what ships of it, or where a file lies.
        architecture: refuse a checkpoint of any other one.

    Raises:
        CheckpointError: it cannot be read, is damaged or of another architecture.
    """
    checkpoint = weights.read(checkpoint_bytes(name), architecture=architecture, name=redact(name))
    weights.build(checkpoint)  # what does not fit is said here, not in a worker
    return checkpoint


def read_stored(name: str) -> StoredCheckpoint:
    """Return a checkpoint and its file's digest and size.

    Raises:
        CheckpointError: it cannot be read or is not one.
    """
    content = checkpoint_bytes(name)
    return StoredCheckpoint(
        checkpoint=weights.read(content, name=redact(name)),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def import_published(files: Sequence[Path], *, architecture: str, partial: bool, output: Path) -> Assembled:
    """Make a checkpoint from published weights, and return what it was made of.

    Raises:
        CheckpointError: a file is none of published weights, or they do not fit the architecture.
        ConfigurationError: there is no such architecture.
    """
    zoo.spec(architecture)
    assembled = assemble([read_published(file) for file in files], architecture=architecture, partial=partial)
    weights.save(
        output,
        assembled.model,
        architecture=architecture,
        calibration=assembled.calibration,
        status=assembled.status,
        card=assembled.card | _fingerprint_note(assembled.model, architecture),
    )
    return assembled


def halve(checkpoint: weights.Checkpoint, output: Path) -> None:
    """Write a checkpoint with its weights rounded to 16 bits."""
    rounded = weights.build(checkpoint).half().float()
    note = {"halved": checkpoint.checkpoint_id} | _fingerprint_note(rounded, checkpoint.architecture)
    weights.save(
        output,
        rounded,
        architecture=checkpoint.architecture,
        calibration=checkpoint.calibration,
        status=checkpoint.status,
        card=checkpoint.card | note,
        is_half=True,
    )


def mix(one: weights.Checkpoint, other: weights.Checkpoint, *, share: float, output: Path) -> None:
    """Write the weights on the line from `one` to `other`, of which `share` is 0..1.

    Raises:
        CheckpointError: they are of different architectures.
        ConfigurationError: `share` is out of range.
    """
    _write(weights.mixed(one, other, share=share), output)


def bound(
    checkpoint: weights.Checkpoint,
    *,
    intra: float | None,
    inter: float | None,
    level_share: float | None,
    quiet: float | None,
    output: Path,
) -> None:
    """Write a checkpoint with other bounds on what a statistic says and answers to; None: as it is.

    Raises:
        CheckpointError: the branch that is meant sees no statistics.
        ConfigurationError: a bound is out of range, or there is none.
    """
    if {intra, inter, level_share, quiet} == {None}:
        raise ConfigurationError("one must be given: --intra, --inter, --level-share or --quiet-levels")
    changed = weights.bounded(checkpoint, intra=intra, inter=inter, level_share=level_share, quiet=quiet)
    _write(changed, output)


def _write(checkpoint: weights.Checkpoint, output: Path) -> None:
    """Write a checkpoint with what its weights make of the fixed input."""
    note = _fingerprint_note(weights.build(checkpoint), checkpoint.architecture)
    weights.rewrite(output, checkpoint, additions=note)


def _fingerprint_note(model: torch.nn.Module, architecture: str) -> dict[str, object]:
    return {FINGERPRINT: list(fingerprint(model, zoo.spec(architecture).sampling))}


def verified(name: str, *, digest: str | None) -> Result:
    """Check that a checkpoint is whole, fits, and scores a fixed input as where it was made.

    Raises:
        CheckpointError: it is not so.
    """
    verification = verify(checkpoint_bytes(name), name=redact(name), digest=digest)
    found = verification.checkpoint
    record = {
        "checkpoint_id": found.checkpoint_id,
        "status": found.status,
        "sha256": verification.sha256,
        "num_tensors": len(found.tensors),
        "has_digest": found.has_digest,
        "fingerprint": list(verification.scores),
        "difference": verification.difference,
    }
    state = "as they were written" if found.has_digest else "with no digest in the file to check them by"
    compared = "with nothing: the card has no fingerprint"
    if verification.difference is not None:
        compared = f"with the card: {verification.difference:.1e} of the largest score apart"
    shown = [
        f"checkpoint   {found.checkpoint_id}, {found.status}",
        f"sha256       {verification.sha256}{'' if digest is None else ', as expected'}",
        f"weights      {len(found.tensors)} tensors, all there, all finite, {state}",
        f"fingerprint  {' '.join(f'{score:g}' for score in verification.scores)}",
        f"compared     {compared}",
    ]
    return Result(record=record, shown=shown)


def stored_result(name: str, *, has_history: bool = False) -> Result:
    """Return what a checkpoint is: architecture, status, calibration, sampling, size and card.

    Of its card people are shown results, notes and data first; cards of checkpoints that it was made from
    last, and only where `has_history`.

    Raises:
        CheckpointError: it cannot be read or is not one.
    """
    facts = _facts(read_stored(name))
    card, history = _in_order(facts["card"])
    shown = [*_lines(facts | {"card": card | (history if has_history else {})})]
    if history and not has_history:
        shown.append(f"{', '.join(history)}: --verbose shows what it was made from, as --json does")
    return Result(record=facts, shown=[*shown, *_doubts(facts)])


def _in_order(card: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a card as people read it, and the cards in it of what the checkpoint was made from."""
    first = {name: card[name] for name in _SHOWN_FIRST if name in card}
    history = {name: card[name] for name in _HISTORY if name in card}
    rest = {name: value for name, value in card.items() if name not in {*first, *history}}
    return first | rest, history


def written_result(path: Path, *changed: str) -> Result:
    """Return what a checkpoint is that was written, for people in short: what changed, and where the rest is.

    Raises:
        CheckpointError: it cannot be read.
    """
    facts = _facts(read_stored(str(path)))
    shown = [
        f"written      {path}",
        f"checkpoint   {facts['checkpoint_id']}, {facts['status']}",
        f"size         {facts['size_bytes'] / 1e6:.3g} MB",
        *(f"changed      {one}" for one in changed),
        *_doubts(facts),
        f"securevqa weights show {shlex.quote(str(path))}",
    ]
    return Result(record=facts, shown=shown)


def _doubts(facts: dict[str, Any]) -> list[str]:
    is_trained = facts["status"] != "untrained"
    return [] if is_trained else ["untrained: its scores mean nothing, and every verdict is review"]


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
        "num_weights": _num_weights(model),
        "calibration": checkpoint.calibration.as_dict(),
        "sampling": spec.sampling.as_dict(),
        "card": checkpoint.card,
    }


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


def model_facts(name: str) -> dict[str, Any]:
    """Return what there is to know of a model of the zoo before it is chosen."""
    spec = zoo.spec(name)
    path = weights.shipped(name)
    with torch.device("meta"):  # no values are made
        model = spec.make(spec)
    return {
        "model": name,
        "is_default": name == zoo.DEFAULT_MODEL,
        "weights": "ships" if path.exists() else "bring",
        "checkpoint_bytes": path.stat().st_size if path.exists() else None,
        "num_weights": _num_weights(model),
        "description": spec.description,
        "looks_at": _looks_at(spec),
        "draws": spec.num_draws,
        "sampling": spec.sampling.as_dict(),
    }


def _num_weights(model: torch.nn.Module) -> int:
    """Count the values that a checkpoint of a model holds, those that no training changes too."""
    return sum(one.numel() for one in model.state_dict().values())


def _looks_at(spec: zoo.ModelSpec) -> str:
    """Say what of a video is looked at in one draw."""
    sampling = spec.sampling
    if sampling.picture_rate:
        size = f"{sampling.picture_width} x {sampling.picture_height}"
        return f"Per second: {sampling.picture_rate} whole frame in {size}."
    if sampling.has_statistics:
        return "Needs every frame decoded, at its own size."
    clips = f"{sampling.num_clips} x {sampling.clip_frames} frames in {sampling.fragment_side} pixels"
    segments = f"{sampling.num_segments} x {sampling.segment_frames} whole frames in {sampling.segment_side}"
    looked = [clips] if sampling.fragment_side > 32 else []
    looked += [segments] if sampling.num_segments else []
    return f"Per draw: {', '.join(looked)}."
