"""Makes seeded weights under the names and with the shapes of the published EfficientNet-Lite0 file."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LITE_BLOCKS", "lite_weights"]

# Of each of the 16 blocks: channels in, inside and out, side of the depthwise kernel, stride.
LITE_BLOCKS = (
    (32, 32, 16, 3, 1),
    (16, 96, 24, 3, 2),
    (24, 144, 24, 3, 1),
    (24, 144, 40, 5, 2),
    (40, 240, 40, 5, 1),
    (40, 240, 80, 3, 2),
    (80, 480, 80, 3, 1),
    (80, 480, 80, 3, 1),
    (80, 480, 112, 5, 1),
    (112, 672, 112, 5, 1),
    (112, 672, 112, 5, 1),
    (112, 672, 192, 5, 2),
    (192, 1152, 192, 5, 1),
    (192, 1152, 192, 5, 1),
    (192, 1152, 192, 5, 1),
    (192, 1152, 320, 3, 1),
)


def lite_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return the 296 entries, a classifier among them, so scaled that signals neither grow nor fade."""
    rng = torch.Generator().manual_seed(seed)
    return {name: _value(name, shape, rng) for name, shape in _shapes().items()}


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes = _layer("_conv_stem", (32, 3, 3, 3), "_bn0")
    for number, (source, inner, target, side, _) in enumerate(LITE_BLOCKS):
        block = f"_blocks.{number}."
        if number:  # the first block expands nothing
            shapes |= _layer(f"{block}_expand_conv", (inner, source, 1, 1), f"{block}_bn0")
        shapes |= _layer(f"{block}_depthwise_conv", (inner, 1, side, side), f"{block}_bn1")
        shapes |= _layer(f"{block}_project_conv", (target, inner, 1, 1), f"{block}_bn2")
    shapes |= _layer("_conv_head", (1280, 320, 1, 1), "_bn1")
    return shapes | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def _layer(convolution: str, shape: tuple[int, ...], norm: str) -> dict[str, tuple[int, ...]]:
    """Return a convolution without bias and the batch norm behind it."""
    names = ("weight", "bias", "running_mean", "running_var")
    found = {f"{convolution}.weight": shape} | {f"{norm}.{name}": shape[:1] for name in names}
    return found | {f"{norm}.num_batches_tracked": ()}


def _value(name: str, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    if not shape:
        return torch.tensor(0)
    value = torch.randn(shape, generator=rng)
    if len(shape) > 1:
        return value * (2 / value[0].numel()) ** 0.5
    return 1 + 0.1 * value.abs() if name.endswith(("running_var", ".weight")) else 0.1 * value
