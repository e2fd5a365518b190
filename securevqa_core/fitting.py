"""Owns what all ways of bringing weights to a model share: reading, fit, finite values, the copy."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from securevqa_core.errors import AbsentCheckpointError, CheckpointError
from securevqa_core.models.published_keys import published_name

__all__ = [
    "METADATA_KEY",
    "capped",
    "check_finite",
    "check_fit",
    "copy_weights",
    "read_file",
    "read_safetensors",
    "read_torch",
]

# One entry, because safetensors writes several in no fixed order, and the same weights must have the same id.
METADATA_KEY = "securevqa"

_MAX_NAMED = 8  # keys in one message
_GLOBAL_NAME = re.compile(r"GLOBAL ([\w.]+)")


def read_file(path: Path) -> bytes:
    """Return the content of a local file.

    Raises:
        AbsentCheckpointError: it is not there.
        CheckpointError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        kind = AbsentCheckpointError if isinstance(error, FileNotFoundError) else CheckpointError
        raise kind(f"{path} cannot be read: {error}") from error


def read_safetensors(data: bytes, *, where: str) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        CheckpointError: it is not one.
    """
    try:
        tensors = safetensors_torch.load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{where} is not a safetensors file: {error}") from error
    # The library checks the header, a length and then JSON, and does not hand out what it says.
    length = int.from_bytes(data[:8], "little")
    return tensors, json.loads(data[8 : 8 + length]).get("__metadata__", {})


def read_torch(data: bytes, *, where: str, allowed: Iterable[tuple[type, str]] = ()) -> object:
    """Return what `torch.save` wrote; nothing in it is run.

    Messages are ours: PyTorch's explain how to load the file all the same.

    Args:
        data: the content of a file.
        where: what messages call it.
        allowed: classes that stand for what the file names, and those names.

    Raises:
        CheckpointError: it is damaged, or holds more than tensors and plain values.
    """
    try:
        _require_sums(data, where)
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
            warnings.simplefilter("ignore")  # of formats, with the same advice
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 - the restricted unpickler meets arbitrary bytes
        named = _GLOBAL_NAME.search(str(error))
        if named is not None:
            raise CheckpointError(
                f"{where} holds more than tensors, and is not unpickled: {named[1]} could run code"
            ) from None
        raise CheckpointError(
            f"{where} is not a file of weights that torch can load: damaged, or of another kind"
        ) from None


def _require_sums(data: bytes, where: str) -> None:
    """Hold every part of an archive against its own checksum, which PyTorch does not."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"{where} is damaged: its part {damaged!r} is not as it was written")


def check_fit(
    expected: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    where: str,
    unexpected: Iterable[str] = (),
) -> None:
    """Require the keys and the shapes of `expected`.

    Raises:
        CheckpointError: names every way in which `given` differs, with `unexpected` keys on top.
    """
    shapes = [
        f"{published_name(key)} is {tuple(tensors[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    complaints = {
        "missing keys": [published_name(key) for key in expected if key not in tensors],
        "unexpected keys": [*unexpected, *(published_name(key) for key in tensors if key not in expected)],
        "shapes": shapes,
    }
    reasons = [f"{what}: {capped(items)}" for what, items in complaints.items() if items]
    if reasons:
        raise CheckpointError(f"{where} does not fit the model; {'; '.join(reasons)}")


def check_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Require finite numbers.

    Raises:
        CheckpointError: names every tensor that has others.
    """
    bad = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise CheckpointError(f"{where} has weights that are not finite: {capped(bad)}")


def copy_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite those entries of `model.state_dict()` that `tensors` names."""
    state = model.state_dict()
    with torch.no_grad():
        for key, value in tensors.items():
            state[key].copy_(value)


def capped(items: Sequence[str]) -> str:
    """Return names for a message: the first few, and how many more there are."""
    more = f" and {len(items) - _MAX_NAMED} more" if len(items) > _MAX_NAMED else ""
    return ", ".join(items[:_MAX_NAMED]) + more
