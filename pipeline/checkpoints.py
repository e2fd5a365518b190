"""Owns reading the checkpoint that people name: a model's name for what ships of it, a file, or a URI."""

from __future__ import annotations

from operators.storage import StorageError, read_bytes, redact
from securevqa_core import weights, zoo
from securevqa_core.errors import CheckpointError

__all__ = ["checkpoint_bytes", "read_checkpoint"]

PIECE_SECONDS = 60.0  # for each piece of the file


def checkpoint_bytes(name: str) -> bytes:
    """Return the bytes of a checkpoint.

    Raises:
        CheckpointError: there is none of that name, or it cannot be read.
    """
    place = str(weights.path_of(name)) if name in zoo.names() else name  # a URI is no Path
    try:
        return read_bytes(place, timeout_seconds=PIECE_SECONDS)
    except StorageError as error:
        raise CheckpointError(f"checkpoint {redact(name)!r} cannot be read: {error}") from error


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
