"""Owns published weights: reading the files people have, and putting a model together from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from securevqa_core import zoo
from securevqa_core.calibration import Calibration
from securevqa_core.errors import CheckpointError, an
from securevqa_core.fitting import (
    METADATA_KEY,
    capped,
    check_finite,
    check_fit,
    copy_weights,
    read_file,
    read_safetensors,
    read_torch,
)
from securevqa_core.models.published_keys import HOLDERS, PARTS, module_of, parts_of, route

__all__ = ["Assembled", "PublishedFile", "assemble", "load_published", "read_published"]

# Of batch norms; published files often lack it, and eval mode never reads it.
_COUNTER = "num_batches_tracked"
# NumPy's numbers, which training scripts log beside the weights: read as nothing, by none of its code.
_INERT_NAMES = ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """What a published file holds, and which file it is."""

    name: str  # without its folder
    sha256: str  # of its bytes
    size_bytes: int
    state_dict: Mapping[str, object]  # under published names, wrapped or not


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assembled:
    """A model made from published files, and what a checkpoint of it has to say."""

    model: nn.Module  # eval mode, float32, on the CPU
    status: Literal["imported", "untrained"]  # untrained where a part is still seeded
    calibration: Calibration
    card: dict[str, object]  # which file brought which part
    dropped: Mapping[str, str]  # file -> keys that the model has no use for; the first of them where many


def load_published(
    model: nn.Module, state_dict: Mapping[str, object], *, name: str = "the published state dict"
) -> tuple[str, ...]:
    """Copy published weights into `model`, every key of a part or none of it.

    Takes FAST-VQA's and the released SecureVQA's `fragments_backbone.*` and `vqa_head.*`, DOVER's four
    modules, VSFA's `ann`, `rnn` and `q`, MDTVSFA's and BVQA-2022's names of the same and `nlm`,
    pytorchvideo's `slowfast_r50`, the Video Swin repository's Kinetics `backbone.*`, torchvision's `swin3d_t`
    and `resnet50`, EfficientNet-Lite0's `_blocks.*`, S-CNN's `features.*` and ConvNeXt's `stages.*`, and UVQ
    1.5's three files, two of which only their names tell apart; also one level down, under `state_dict`,
    `model_state` or `model`, and with `module.` before each name.

    Args:
        model: of the zoo.
        state_dict: under published names.
        name: what messages call it: the file's name.

    Returns:
        The parts that were loaded, of `published_keys.PARTS`: "intra", "inter" and "head" of most models.

    Raises:
        CheckpointError: a key is missing, unexpected, of another shape or not finite; the model is unchanged.
    """
    return _load(model, state_dict, name=name)[0]


def _load(
    model: nn.Module, state_dict: Mapping[str, object], *, name: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Do as `load_published`; return the parts, and the keys that were dropped as no part needs them."""
    routed = route(model, state_dict, name=name)
    if hasattr(model, PARTS["distortion_net"]) and any(
        key.startswith("features.") for key in routed.unexpected
    ):
        raise CheckpointError(
            f"{name} is one of two networks that have the same keys: "
            "'content' or 'distortion' must be in the file's name, as in the published ones"
        )
    expected = {key: value for key, value in model.state_dict().items() if not key.endswith(_COUNTER)}
    brought = {module_of(key) for key in routed.tensors}
    parts = tuple(part for part in parts_of(model) if PARTS[part] in brought)
    wanted = {key: value for key, value in expected.items() if module_of(key) in brought}
    check_fit(wanted or expected, routed.tensors, where=name, unexpected=routed.unexpected)
    check_finite(routed.tensors, where=name)
    copy_weights(model, routed.tensors)
    return parts, tuple(routed.unused)


def read_published(path: str | Path) -> PublishedFile:
    """Read a file that `torch.save` or safetensors wrote; nothing in it is run.

    Raises:
        CheckpointError: it is missing or damaged, holds no state dict, needs unpickling or is a checkpoint of
            this project.
    """
    path = Path(path)
    data = read_file(path)
    if path.suffix == ".safetensors":
        content = _safetensors(data, path)
    else:
        content = read_torch(data, where=str(path), allowed=[(_Inert, name) for name in _INERT_NAMES])
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path} must hold a state dict, got {an(type(content).__name__)}")
    return PublishedFile(
        name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        state_dict=content,
    )


def assemble(
    files: Sequence[PublishedFile], *, architecture: str, partial: bool = False, seed: int = 0
) -> Assembled:
    """Make a model from files that bring its parts, each part from one file.

    Args:
        files: in any order.
        architecture: a name of the zoo.
        partial: let parts that no file brings stay seeded; the status is then "untrained".
        seed: of those parts.

    Raises:
        ConfigurationError: no such architecture, or `seed` is negative.
        CheckpointError: a file does not fit, two bring the same part, or a part is missing and not `partial`.
    """
    model, spec = zoo.build(architecture, seed=seed), zoo.spec(architecture)
    records = _load_all(model, files)
    brought = {part for record in records for part in record.parts}
    seeded = [part for part in parts_of(model) if part not in brought]
    dropped = {record.file: record.unused for record in records if record.unused}
    card: dict[str, object] = {"imported_from": [asdict(record) for record in records]}
    if not seeded:
        known = spec.published_calibration is not None
        card["calibration"] = "published" if known else "none was published: refit it on labels"
        calibration = spec.published_calibration or spec.calibration
        return Assembled(model=model, status="imported", calibration=calibration, card=card, dropped=dropped)
    if not partial:
        names, parts = ", ".join(file.name for file in files), ", ".join(sorted(brought))
        verb = "brings" if len(files) == 1 else "bring"
        holders = "; ".join(f"{part}: {HOLDERS[part]}" for part in seeded)
        raise CheckpointError(
            f"{names} {verb} {parts}, and {an(architecture)} also has {', '.join(seeded)}: name the "
            f"files that hold them too ({holders}), or leave them seeded and untrained, with --partial"
        )
    card["seeded"] = {"parts": seeded, "seed": seed}
    return Assembled(
        model=model, status="untrained", calibration=spec.calibration, card=card, dropped=dropped
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What a card says of one file."""

    file: str
    sha256: str
    size_bytes: int
    parts: tuple[str, ...]
    unused: str  # keys that were dropped; the first of them where they are many


def _load_all(model: nn.Module, files: Sequence[PublishedFile]) -> list[_Source]:
    sources: list[_Source] = []
    for file in files:
        parts, unused = _load(model, file.state_dict, name=file.name)
        for earlier in sources:
            twice = sorted(set(parts) & set(earlier.parts))
            if twice:
                raise CheckpointError(f"{earlier.file} and {file.name} both bring {', '.join(twice)}")
        sources.append(
            _Source(
                file=file.name,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                parts=parts,
                unused=capped(unused),
            )
        )
    return sources


class _Inert:
    """Stands for a value that is of no use here, and does nothing, whatever a file hands it."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def _safetensors(data: bytes, path: Path) -> object:
    tensors, metadata = read_safetensors(data, where=str(path))
    if METADATA_KEY in metadata:
        raise CheckpointError(f"{path} is a checkpoint already: it needs no import")
    return tensors
