"""Owns EfficientNet-Lite0, up to the map that its classifier pools.

EfficientNet: Tan and Le (ICML, 2019). Lite0 is B0 without squeeze-and-excitation and with ReLU6 in place of
swish. Published weights (Apache-2.0) come from TensorFlow, whose padding, at stride 2, is more behind than in
front: of 376 photographs of as many ImageNet classes, which may have been trained on, they name 89.6% right
(97.3% in five guesses), and 81.7% with as much in front as behind. Shorter sides were resized to 256 pixels,
bicubic, and the middle 224 x 224 classified.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD

__all__ = ["STAGES", "EfficientNetLite", "SameConv", "Stage"]

_LEVEL_MEAN, _LEVEL_SD = 127.0, 128.0  # of 0..255, as the published weights expect pixels
_EPSILON, _MOMENTUM = 1e-3, 0.01  # of every batch norm
_STEM_DIM, _OUT_DIM = 32, 1280


class Stage(NamedTuple):
    """Blocks of one width."""

    expansion: int  # channels inside a block / channels into it
    dim: int  # channels out of a block
    depth: int  # blocks
    stride: int  # of the first block
    side: int  # of the depthwise kernel, places


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)


class EfficientNetLite(nn.Module):
    """Normalised pictures (k, 3, h, w) float -> maps (k, 1280, ceil(h / 32), ceil(w / 32)), all >= 0.

    Names of parameters are those of the published PyTorch weights, whose classifier is left out.
    """

    out_dim = _OUT_DIM

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, _STEM_DIM, 3, stride=2), _norm(_STEM_DIM)
        self._blocks = nn.Sequential()
        dim = _STEM_DIM
        for stage in STAGES:
            for number in range(stage.depth):
                self._blocks.append(_Block(dim, stage, stride=1 if number else stage.stride))
                dim = stage.dim
        self._conv_head, self._bn1 = SameConv(dim, _OUT_DIM, 1), _norm(_OUT_DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of each picture.

        Args:
            x: (k, 3, h, w) float, normalised as `scoring.normalise` does.
        """
        mean, sd = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_SD))
        x = x * (sd / _LEVEL_SD) + (mean - _LEVEL_MEAN) / _LEVEL_SD
        x = x.contiguous(memory_format=torch.channels_last)  # twice as fast under bfloat16
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        return F.relu6(self._bn1(self._conv_head(x)))


class SameConv(nn.Conv2d):
    """A convolution without bias to ceil(h / stride) x ceil(w / stride); odd padding is longer behind.

    Args:
        source: channels in.
        target: channels out.
        side: of the kernel, places.
        stride: of it.
        groups: of channels.
        gain: untrained, output / input in standard deviations: sqrt(2) where half is cut off after it.
    """

    def __init__(
        self, source: int, target: int, side: int, *, stride: int = 1, groups: int = 1, gain: float = 2**0.5
    ) -> None:
        super().__init__(source, target, side, stride=stride, groups=groups, bias=False)
        nn.init.normal_(self.weight, std=gain / self.weight[0].numel() ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return (k, target, ceil(h / stride), ceil(w / stride)) of (k, source, h, w)."""
        down, across = (self._missing(size, axis) for axis, size in enumerate(x.shape[2:]))
        return super().forward(F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))

    def _missing(self, size: int, axis: int) -> int:
        """Return the places that padding adds to `size` of them."""
        stride, side = self.stride[axis], self.kernel_size[axis]
        return max((-(-size // stride) - 1) * stride + side - size, 0)


class _Block(nn.Module):
    """(k, c, h, w) -> (k, d, h / stride, w / stride): expand, convolve each channel alone, project."""

    def __init__(self, source: int, stage: Stage, *, stride: int) -> None:
        super().__init__()
        inner = stage.expansion * source
        self._has_expansion = stage.expansion > 1
        if self._has_expansion:
            self._expand_conv, self._bn0 = SameConv(source, inner, 1), _norm(inner)
        self._depthwise_conv = SameConv(inner, inner, stage.side, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv, self._bn2 = SameConv(inner, stage.dim, 1, gain=1.0), _norm(stage.dim)
        self._is_residual = stride == 1 and source == stage.dim

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self._has_expansion else x
        made = F.relu6(self._bn1(self._depthwise_conv(made)))
        made = self._bn2(self._project_conv(made))
        return x + made if self._is_residual else made


def _norm(dim: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(dim, eps=_EPSILON, momentum=_MOMENTUM)
