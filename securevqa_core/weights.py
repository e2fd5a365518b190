"""Owns checkpoints: this project's safetensors files in and out, and untrained defaults."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, cast, get_args

from safetensors import torch as safetensors_torch
from torch import Tensor, float16, lerp, nn, tensor, uint8

from securevqa_core import zoo
from securevqa_core.calibration import Calibration
from securevqa_core.errors import (
    AbsentCheckpointError,
    CheckpointError,
    ConfigurationError,
    an,
    did_you_mean,
)
from securevqa_core.files import whole_file
from securevqa_core.fitting import (
    METADATA_KEY,
    check_finite,
    check_fit,
    copy_weights,
    read_file,
    read_safetensors,
)
from securevqa_core.models.saturation import BOUND
from securevqa_core.models.sensitivity import SENSITIVITY, Sensitivity
from securevqa_core.published import load_published
from securevqa_core.suspicion import CARD_KEY
from securevqa_core.types import require_range

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "Status",
    "bounded",
    "build",
    "default",
    "find",
    "likely_meant",
    "load_published",
    "mixed",
    "moved",
    "path_of",
    "read",
    "rewrite",
    "save",
    "seeded",
    "shipped",
    "shipped_names",
]

FORMAT_VERSION = 2
WITHOUT_DIGEST = 1  # the version before, which is still read
SHIPPED = Path(__file__).parent / "checkpoints"
Status = Literal["trained", "untrained", "imported"]
_DIGEST = "digest"  # in the header
# Of a card: what weights are worth.
_FINDINGS = ("described", "evaluation", "notes", "result", "refit", CARD_KEY)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Weights and what one has to know to use them."""

    checkpoint_id: str  # architecture and a digest of the file's bytes
    architecture: str  # a name of the zoo
    status: Status  # how the weights came about
    calibration: Calibration  # raw score -> 0..100
    card: dict[str, object]  # the model card: anything JSON can hold
    tensors: dict[str, Tensor]  # `state_dict()` of the model, on the CPU
    is_half: bool = False  # whether the file keeps them as float16
    has_digest: bool = False  # whether the file was held against its own digest; those of version 1 have none


def save(
    path: str | Path,
    model: nn.Module,
    *,
    architecture: str,
    calibration: Calibration,
    status: Status,
    card: Mapping[str, object],
    is_half: bool = False,
) -> str:
    """Write a checkpoint under a temporary name, then rename it; return its `checkpoint_id`.

    The same arguments give the same bytes. With `is_half` weights are kept as float16, and read as float32.
    The header has a digest of all that the file says, so that bytes that change later are noticed.

    Raises:
        ConfigurationError: no such architecture or status, or a card that JSON cannot hold.
        CheckpointError: the model is not of that architecture or not finite, or the file cannot be written.
    """
    path = Path(path)
    if status not in get_args(Status):
        raise ConfigurationError(f"status must be one of {', '.join(get_args(Status))}, got {status!r}")
    expected = zoo.build(architecture).state_dict()
    tensors = {
        key: (value.half() if is_half and value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    check_fit(expected, tensors, where=f"{an(architecture)} for {path}")
    check_finite(tensors, where=str(path))
    fields = {
        "format_version": FORMAT_VERSION,
        "architecture": architecture,
        "calibration": calibration.as_dict(),
        "status": status,
        "card": dict(card),
    }
    fields[_DIGEST] = _digest(_to_json(fields), tensors)
    data = safetensors_torch.save(tensors, metadata={METADATA_KEY: _to_json(fields)})
    _write(path, data)
    return _checkpoint_id(architecture, data)


def rewrite(
    path: str | Path,
    checkpoint: Checkpoint,
    *,
    additions: Mapping[str, object],
    calibration: Calibration | None = None,
) -> str:
    """Write the weights of a checkpoint as they are, with more in its card; return the new `checkpoint_id`.

    With `calibration` it takes the place of the checkpoint's own, and how far clean videos fall, which was in
    points of that, is forgotten. Errors are those of `save` and `build`.
    """
    card = {name: one for name, one in checkpoint.card.items() if calibration is None or name != CARD_KEY}
    return save(
        path,
        build(checkpoint),
        architecture=checkpoint.architecture,
        calibration=calibration or checkpoint.calibration,
        status=checkpoint.status,
        card=card | dict(additions),
        is_half=checkpoint.is_half,
    )


def read(source: str | Path | bytes, *, architecture: str | None = None, name: str = "<bytes>") -> Checkpoint:
    """Read a checkpoint that `save` wrote, from a local path or from its bytes; nothing is unpickled.

    Args:
        source: a path, or the content of a file.
        architecture: refuse a checkpoint of any other one.
        name: what messages call bytes, their URI for example.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown format or of another architecture.
    """
    where = name if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else read_file(Path(source))
    tensors, metadata = read_safetensors(data, where=where)
    fields = _header(metadata, where)
    found = _known_architecture(fields, where)
    if architecture is not None and found != architecture:
        raise CheckpointError(f"{where} holds {an(found)}, and {an(architecture)} was asked for")
    check_finite(tensors, where=where)
    has_digest = fields["format_version"] != WITHOUT_DIGEST
    said = {name: value for name, value in fields.items() if name != _DIGEST}
    if has_digest and fields.get(_DIGEST) != _digest(json.dumps(said, sort_keys=True), tensors):
        raise CheckpointError(f"{where} is damaged: its digest is of other weights, or of another header")
    return Checkpoint(
        checkpoint_id=_checkpoint_id(found, data),
        architecture=found,
        status=_known_status(fields, where),
        calibration=_calibration(fields, where),
        card=dict(_mapping(fields, "card", where)),
        tensors={key: value.float() if value.dtype == float16 else value for key, value in tensors.items()},
        is_half=any(value.dtype == float16 for value in tensors.values()),
        has_digest=has_digest,
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """Return the model of a checkpoint in eval mode, float32, on the CPU.

    Files that were written before its constants were a part of the weights have those of the architecture.

    Raises:
        CheckpointError: the weights do not fit the architecture.
    """
    model = zoo.build(checkpoint.architecture)
    tensors = _constants(model, BOUND, SENSITIVITY) | checkpoint.tensors
    check_fit(model.state_dict(), tensors, where=checkpoint.checkpoint_id)
    copy_weights(model, tensors)
    return model


def bounded(
    checkpoint: Checkpoint,
    *,
    intra: float | None = None,
    inter: float | None = None,
    level_share: float | None = None,
    quiet: float | None = None,
) -> Checkpoint:
    """Return the same weights with other bounds on what each statistic says, and on what it answers to.

    Args:
        checkpoint: of an architecture whose branches see statistics.
        intra: standard deviations, for fragments; None: as it is.
        inter: the same for motion.
        level_share: of the `Sensitivity` of both branches; None: as it is. Weights want training with it.
        quiet: the same, in 8-bit levels.

    The card says what it was made from, and nothing of what that was found to be worth.

    Raises:
        CheckpointError: the branch that is meant sees no statistics.
        ConfigurationError: a bound is out of range.
    """
    model = build(checkpoint)
    bounds = _constants(model, BOUND)
    for name, branch, value in (("intra", "fragments", intra), ("inter", "inter", inter)):
        if value is None:
            continue
        require_range(name, value, low=0.1, high=1000)
        keys = [key for key in bounds if key.startswith(f"{branch}_backbone.")]
        if not keys:
            raise CheckpointError(f"the {branch} branch of {an(checkpoint.architecture)} sees no statistics")
        bounds |= {key: tensor(float(value)) for key in keys}
    made: dict[str, object] = {"bounds": {"intra": intra, "inter": inter}}
    given = {"level_share": level_share, "quiet": quiet}
    answers = {name: value for name, value in given.items() if value is not None}
    if answers:
        buffers = _constants(model, SENSITIVITY)
        if not buffers:
            raise CheckpointError(f"{an(checkpoint.architecture)} sees no statistics")
        bounds |= {key: replace(Sensitivity.of(was), **answers).buffer() for key, was in buffers.items()}
        made[SENSITIVITY] = answers
    origin = {"checkpoint_id": checkpoint.checkpoint_id} | _description(checkpoint)
    return replace(checkpoint, tensors=model.state_dict() | bounds, card={"bounded_from": origin} | made)


def _constants(model: nn.Module, *names: str) -> dict[str, Tensor]:
    """Return what a model holds under these names, which no training changes, by its keys."""
    return {key: value for key, value in model.state_dict().items() if key.rpartition(".")[2] in names}


def mixed(checkpoint: Checkpoint, other: Checkpoint, *, share: float) -> Checkpoint:
    """Return a checkpoint on the straight line to another of its architecture, calibration and all.

    What one was trained on from the other can be taken in part, as in Wortsman et al., "Robust fine-tuning of
    zero-shot models" (CVPR 2022).

    Args:
        checkpoint: where the line begins, with its status.
        other: where it ends.
        share: how far along, 0..1.

    The card says how both were made, and nothing of what either was found to be worth.

    Raises:
        CheckpointError: they are of two architectures.
        ConfigurationError: `share` is out of range.
    """
    require_range("share", share, low=0, high=1)
    if checkpoint.architecture != other.architecture:
        raise CheckpointError(
            f"checkpoints to mix must be of one architecture, got {an(checkpoint.architecture)} and "
            f"{an(other.architecture)}"
        )
    first, last = (build(one).state_dict() for one in (checkpoint, other))
    begins, ends = (one.calibration.as_dict() for one in (checkpoint, other))
    calibration = {name: (1 - share) * value + share * ends[name] for name, value in begins.items()}
    tensors = {
        key: lerp(last[key], value, 1 - share) if value.is_floating_point() else last[key]
        for key, value in first.items()
    }
    origins = [
        {"checkpoint_id": one.checkpoint_id, "share": part} | _description(one)
        for one, part in ((checkpoint, 1 - share), (other, share))
    ]
    return replace(
        checkpoint, calibration=Calibration(**calibration), tensors=tensors, card={"mixed_from": origins}
    )


def _description(checkpoint: Checkpoint) -> dict[str, object]:
    """Return what a card says of how weights were made, without what they were found to be worth."""
    return {name: value for name, value in checkpoint.card.items() if name not in _FINDINGS}


def moved(checkpoint: Checkpoint, architecture: str) -> Checkpoint:
    """Return the weights as those of another architecture, as one with another guardian map, to train on.

    Raises:
        ConfigurationError: no such architecture.
        CheckpointError: the weights do not fit it.
    """
    other = replace(checkpoint, architecture=architecture)
    build(other)
    return other


def default(architecture: str) -> Checkpoint:
    """Return the trained checkpoint that ships with this package, or untrained weights where none does.

    Raises:
        ConfigurationError: no such architecture.
        CheckpointError: the package is damaged.
    """
    path = shipped(architecture)
    return read(path, architecture=architecture) if path.exists() else seeded(architecture)


def find(name: str | PathLike[str] | None = None, *, architecture: str | None = None) -> Checkpoint:
    """Return the checkpoint that people mean: what ships of a model of that name, or the file of that path.

    Args:
        name: a name of the zoo is that model, even where a file here is called the same; None: the default.
        architecture: refuse a checkpoint of any other one.

    Raises:
        ConfigurationError: it is neither a text nor a path.
        AbsentCheckpointError: nothing is there.
        CheckpointError: the file is damaged.
    """
    path = path_of(zoo.DEFAULT_MODEL if name is None else name)
    try:
        content = read_file(path)
    except CheckpointError as error:
        raise type(error)(f"{error}{likely_meant(str(path))}") from error
    return read(content, architecture=architecture, name=str(path))


def likely_meant(name: str) -> str:
    """Return how a message on a checkpoint that is not there ends: with what ships of almost that name."""
    hint = did_you_mean(name, shipped_names())
    if set(name) & {"/", "."}:  # a file's name
        return hint
    return f"; no model of that name ships{hint}, those that do: {', '.join(shipped_names())}"


def path_of(name: str | PathLike[str]) -> Path:
    """Return where the checkpoint lies that `find` would read.

    Raises:
        ConfigurationError: it is neither a text nor a path.
        AbsentCheckpointError: it is a model's name, and none of that model ships.
    """
    if not isinstance(name, str | PathLike) or not isinstance(fspath(name), str):
        raise ConfigurationError(
            f"checkpoint must be a model's name or the path of a file, got {an(type(name).__name__)}"
        )
    if not isinstance(name, str) or name not in zoo.names():
        return Path(name)
    path = shipped(name)
    if not path.exists():
        raise AbsentCheckpointError(
            f"no checkpoint of {name!r} ships: those of {', '.join(shipped_names())} do, and others are files"
        )
    return path


def shipped_names() -> tuple[str, ...]:
    """Return the models of which a trained checkpoint ships, the default first."""
    return tuple(name for name in zoo.names() if shipped(name).exists())


def shipped(architecture: str) -> Path:
    """Return where the trained checkpoint of an architecture lies in this package, if one ships.

    Raises:
        ConfigurationError: no such architecture.
    """
    zoo.spec(architecture)
    return SHIPPED / f"{architecture}.safetensors"


def seeded(architecture: str, *, seed: int = 0) -> Checkpoint:
    """Return the untrained weights of `zoo.build(architecture, seed=seed)` as a checkpoint.

    Raises:
        ConfigurationError: no such architecture, or `seed` is negative.
    """
    tensors = {
        key: value.detach().clone() for key, value in zoo.build(architecture, seed=seed).state_dict().items()
    }
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode() + b"\0" + tensors[key].numpy().tobytes())
    return Checkpoint(
        checkpoint_id=f"{architecture}-seed{seed}-{digest.hexdigest()[:16]}",
        architecture=architecture,
        status="untrained",
        calibration=zoo.spec(architecture).calibration,
        card={},
        tensors=tensors,
    )


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256 of a header without its digest, and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for key, value in sorted(tensors.items()):
        digest.update(f"\0{key}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def _checkpoint_id(architecture: str, data: bytes) -> str:
    return f"{architecture}-{hashlib.sha256(data).hexdigest()[:16]}"


def _to_json(fields: Mapping[str, object]) -> str:
    try:
        return json.dumps(fields, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"card must hold what JSON can, got {fields['card']!r}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        with whole_file(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error


def _header(metadata: Mapping[str, str], where: str) -> Mapping[str, object]:
    """Return the fields that `save` wrote."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise CheckpointError(f"{where} has no {METADATA_KEY!r} header: import published weights first")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where} has a {METADATA_KEY!r} header that is not JSON: {text[:80]!r}"
        ) from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version not in {WITHOUT_DIGEST, FORMAT_VERSION}:
        raise CheckpointError(
            f"{where} has format_version {version!r}, and known are {WITHOUT_DIGEST} and {FORMAT_VERSION}"
        )
    return cast(Mapping[str, object], fields)


def _known_architecture(fields: Mapping[str, object], where: str) -> str:
    name = fields.get("architecture")
    if not isinstance(name, str) or name not in zoo.names():
        raise CheckpointError(f"{where} has architecture {name!r}, not one of {', '.join(zoo.names())}")
    return name


def _known_status(fields: Mapping[str, object], where: str) -> Status:
    status = fields.get("status")
    if status not in get_args(Status):
        raise CheckpointError(f"{where} has status {status!r}, not one of {', '.join(get_args(Status))}")
    return cast(Status, status)


def _calibration(fields: Mapping[str, object], where: str) -> Calibration:
    try:
        return Calibration.from_dict(_mapping(fields, "calibration", where))
    except ConfigurationError as error:
        raise CheckpointError(f"{where} has a calibration that is not valid: {error}") from error


def _mapping(fields: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise CheckpointError(f"{where} has {name} {value!r}, not an object")
    return value
