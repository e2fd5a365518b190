"""Owns the key names of published checkpoints and the names this project has for the same parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from torch import Tensor, nn, strided

__all__ = ["HOLDERS", "PARTS", "RoutedKeys", "module_of", "parts_of", "published_name", "route"]

# What a file may bring on its own -> the module it fills. Under their own names: four of DOVER, two of VSFA,
# one more of MDTVSFA, of HVS-5M and of VSFA with motion, whose pathway no file brings yet, and three of UVQ.
# S-CNN lies inside an intra branch whose other weights are files of their own.
PARTS = {
    "intra": "fragments_backbone",
    "distortions": "fragments_backbone.patch_embed.distortions",
    "inter": "inter_backbone",
    "head": "vqa_head",
} | {
    name: name
    for name in (
        *("technical_backbone", "technical_head", "aesthetic_backbone", "aesthetic_head"),
        *("frame_backbone", "frame_head", "score_mapping", "content_backbone", "motion_pathway"),
        *("content_net", "distortion_net", "aggregation_net"),
    )
}

# Which files hold a part, for people who have the others.
HOLDERS = {
    "intra": "a Video Swin-T, torchvision's swin3d_t or of the Video Swin repository",
    "distortions": "S-CNN of DB-CNN",
    "inter": "pytorchvideo's slowfast_r50",
    "frame_backbone": "ImageNet's of that network, torchvision's resnet50 or EfficientNet-Lite0, or S-CNN",
    "content_backbone": "a ConvNeXt of ImageNet",
    "motion_pathway": "none yet",
    **dict.fromkeys(
        ("head", "technical_backbone", "technical_head", "aesthetic_backbone", "aesthetic_head"),
        "the model's own",
    ),
    **dict.fromkeys(("frame_head", "score_mapping"), "the model's own"),
    **{f"{net}_net": f"UVQ's {net}_net.pth" for net in ("content", "distortion", "aggregation")},
}

_WRAPPERS = ("state_dict", "model_state", "model")
_FRAGMENT_TABLE, _RELATIVE_TABLE = "fragment_position_bias_table", "relative_position_bias_table"

# Computed from the architecture, not trained: files may hold them or not.
_NOT_TRAINED = re.compile(r"(^|\.)(relative_position_index|num_batches_tracked)$")

# FAST-VQA and SecureVQA, the Video Swin repository's Kinetics weights, DOVER, pytorchvideo's slowfast_r50,
# torchvision's resnet50, EfficientNet-Lite0, S-CNN, VSFA, MDTVSFA and BVQA-2022 (the spelling is theirs),
# ConvNeXt.
_PUBLISHED_RULES = (
    (re.compile(r"^(?:fragments_backbone|backbone)\."), "fragments_backbone."),
    (re.compile(r"^vqa_head\."), "vqa_head."),
    (re.compile(r"^(technical|aesthetic)_(backbone|head)\."), r"\1_\2."),
    (re.compile(r"^blocks\.([0-4])\.multipathway_blocks\.1\."), r"inter_backbone.blocks.\1."),
    (re.compile(r"^(conv1|bn1|layer[1-4])\."), r"frame_backbone.\1."),
    (re.compile(r"^_(conv_stem|bn[01]|blocks|conv_head)\."), r"frame_backbone._\1."),
    (re.compile(r"^features\."), "frame_backbone.features."),
    (re.compile(r"^(ann|rnn|q)\."), r"frame_head.\1."),
    (re.compile(r"^dimemsion_reduction\."), "frame_head.ann.fc0."),
    (re.compile(r"^feature_aggregation\."), "frame_head.rnn."),
    (re.compile(r"^regression\."), "frame_head.q."),
    (re.compile(r"^nlm\."), "score_mapping."),
    (re.compile(r"^(downsample_layers|stages)\."), r"content_backbone.\1."),
)
_PUBLISHED_UNUSED = re.compile(
    r"^(cls_head|_?fc|ann\.fc|lm|norm|head|projection|classifier|blocks\.[56]|"
    r"blocks\.[0-4]\.(multipathway_blocks\.0|multipathway_fusion))\."
)
# UVQ 1.5: a file for each network, whose keys do not say which of two it is, or all of them in one.
_UVQ_WHOLE = re.compile(r"^(?:uvq1p5_core\.)?(content|distortion|aggregation)_net\.(?:model\.)?")
_UVQ_AGGREGATION = re.compile(r"^(?=(?:conv1|ln1|linear1)\.)")
_UVQ_EITHER = "features."
_UVQ_NETS = ("content", "distortion")
_TORCHVISION_SWIN = re.compile(r"^features\.\d+\.\d+\.")
_TORCHVISION_MLP = {"mlp.0.": "mlp.fc1.", "mlp.3.": "mlp.fc2."}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedKeys:
    """A published state dict under this project's names."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)  # keys as they stand in the file
    unused: list[str] = field(default_factory=list)  # the same, of weights that the model has no use for


def route(model: nn.Module, state_dict: Mapping[str, object], *, name: str = "") -> RoutedKeys:
    """Rename what a published file holds to the keys of `model.state_dict()`.

    Args:
        model: of the zoo.
        state_dict: under published names.
        name: of the file, which tells UVQ's content network from its distortion network.

    Keys of the slow pathway, of lateral connections, of classifiers and their norms, of MDTVSFA's mappings to
    the scales of its data sets, and of a layer that VSFA's authors keep and never call are `unused`; keys of
    a part the model does not have, and keys of no known layout, are `unexpected`. Weights of a classifier
    have no fragment position bias: it starts as a copy of the relative position bias.
    """
    entries = {key.removeprefix("module."): value for key, value in _unwrap(state_dict).items()}
    if hasattr(model, PARTS["distortion_net"]):
        return _route_uvq(entries, name)
    is_torchvision = any(_TORCHVISION_SWIN.match(key) for key in entries)
    parts, routed = parts_of(model), RoutedKeys()
    for key, value in entries.items():
        if _NOT_TRAINED.search(key):
            continue
        if _is_unused(key, is_torchvision=is_torchvision):
            routed.unused.append(key)
            continue
        ours = _torchvision_name(key) if is_torchvision else _name(key)
        if ours is not None and hasattr(model, PARTS["technical_backbone"]):  # DOVER's name of the same Swin
            ours = ours.replace(f"{PARTS['intra']}.", f"{PARTS['technical_backbone']}.")
        if ours is not None and "distortions" in parts:  # S-CNN's place
            ours = ours.replace("frame_backbone.", f"{PARTS['distortions']}.scnn.")
        if ours is None or not hasattr(model, ours.partition(".")[0]) or not _is_plain(value):
            routed.unexpected.append(key)
        else:
            routed.tensors[ours] = value
    if is_torchvision or any(key.startswith("backbone.") for key in entries):
        _copy_fragment_bias(routed.tensors, model.state_dict().keys())
    return routed


def _route_uvq(entries: Mapping[str, object], name: str) -> RoutedKeys:
    routed = RoutedKeys()
    named = [net for net in _UVQ_NETS if net in name.lower()]
    for key, value in entries.items():
        if _NOT_TRAINED.search(key):
            continue
        ours = _UVQ_WHOLE.sub(r"\1_net.", _UVQ_AGGREGATION.sub("aggregation_net.", key))
        if key.startswith(_UVQ_EITHER) and len(named) == 1:
            ours = f"{named[0]}_net.{key}"
        if ours.partition(".")[0] in PARTS and _is_plain(value):
            routed.tensors[ours] = value
        else:
            routed.unexpected.append(key)
    return routed


def parts_of(model: nn.Module) -> tuple[str, ...]:
    """Return those of `PARTS` that a model has."""
    modules = {name for name, _ in model.named_modules()}
    return tuple(part for part, module in PARTS.items() if module in modules)


def module_of(key: str) -> str | None:
    """Return the module of `PARTS`, the innermost, that a key of ours belongs to."""
    around = (module for module in PARTS.values() if key.startswith(f"{module}."))
    return max(around, key=len, default=None)


def published_name(key: str) -> str:
    """Return the name that a published file has for a key of ours, for messages."""
    name = re.sub(
        r"^(frame_(backbone|head)|content_backbone|(content|distortion|aggregation)_net)\.", "", key
    )
    name = re.sub(r"^score_mapping\.", "nlm.", name)
    return re.sub(r"^inter_backbone\.blocks\.(\d+)\.", r"blocks.\1.multipathway_blocks.1.", name)


def _unwrap(state_dict: Mapping[str, object]) -> Mapping[str, object]:
    for wrapper in _WRAPPERS:
        inner = state_dict.get(wrapper)
        if isinstance(inner, Mapping):
            return inner
    return state_dict


def _is_plain(value: object) -> TypeGuard[Tensor]:
    """Tell whether a value holds real numbers, one for each entry of its shape."""
    return (
        isinstance(value, Tensor)
        and value.layout == strided
        and not (value.is_complex() or value.is_quantized or value.is_meta)
    )


def _is_unused(key: str, *, is_torchvision: bool) -> bool:
    return key.startswith("head.") if is_torchvision else bool(_PUBLISHED_UNUSED.match(key))


def _name(key: str) -> str | None:
    for pattern, replacement in _PUBLISHED_RULES:
        if pattern.match(key):
            return pattern.sub(replacement, key)
    return None


def _torchvision_name(key: str) -> str | None:
    """Rename a key of torchvision's swin3d_t, which counts stages and merges in one list."""
    if key.startswith(("patch_embed.", "norm.")):
        return f"fragments_backbone.{key}"
    match = re.match(r"^features\.(\d+)\.(.+)$", key)
    if match is None:
        return None
    stage, is_merge = divmod(int(match[1]), 2)
    if is_merge:
        return f"fragments_backbone.layers.{stage}.downsample.{match[2]}"
    block, _, rest = match[2].partition(".")
    for theirs, ours in _TORCHVISION_MLP.items():
        rest = ours + rest.removeprefix(theirs) if rest.startswith(theirs) else rest
    return f"fragments_backbone.layers.{stage}.blocks.{block}.{rest}"


def _copy_fragment_bias(tensors: dict[str, Tensor], wanted: Iterable[str]) -> None:
    for key in wanted:
        source = key.replace(_FRAGMENT_TABLE, _RELATIVE_TABLE)
        if key.endswith(_FRAGMENT_TABLE) and key not in tensors and source in tensors:
            tensors[key] = tensors[source]
