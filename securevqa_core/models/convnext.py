"""Owns ConvNeXt for pictures, up to the map that its classifier pools (Liu et al., CVPR, 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError

__all__ = ["XLARGE_DEPTHS", "XLARGE_DIMS", "ConvNext"]

XLARGE_DEPTHS, XLARGE_DIMS = (3, 3, 27, 3), (256, 512, 1024, 2048)

_EPSILON = 1e-6  # of every layer norm
_LAYER_SCALE = 1e-6  # gamma of an untrained block


class ConvNext(nn.Module):
    """Normalised pictures (k, 3, h, w) float -> maps (k, dims[-1], h / 32, w / 32).

    Parameter names are those of published ConvNeXt checkpoints, whose last norm and classifier are left out.

    Args:
        depths: blocks in each stage.
        dims: channels of each stage.

    Raises:
        ConfigurationError: `depths` and `dims` differ in length.
    """

    def __init__(
        self, *, depths: tuple[int, ...] = XLARGE_DEPTHS, dims: tuple[int, ...] = XLARGE_DIMS
    ) -> None:
        super().__init__()
        if len(depths) != len(dims):
            raise ConfigurationError(f"dims must have one entry for each of depths {depths}, got {dims}")
        self.out_dim = dims[-1]
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
            self.downsample_layers.append(_stem(dim) if stage == 0 else _halve(dims[stage - 1], dim))
            self.stages.append(nn.Sequential(*(_Block(dim) for _ in range(depth))))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of each picture.

        Args:
            x: (k, 3, h, w) float, normalised, h and w >= 32.
        """
        for downsample, blocks in zip(self.downsample_layers, self.stages, strict=True):
            x = blocks(downsample(x))
        return x


class _ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of (k, c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class _Block(nn.Module):
    """x + gamma MLP(norm(depthwise convolution of x)); (k, c, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm(self.dwconv(x).movedim(1, -1))
        branch = self.gamma * self.pwconv2(F.gelu(self.pwconv1(branch)))
        out: Tensor = x + branch.movedim(-1, 1)
        return out


def _stem(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, dim, kernel_size=4, stride=4), _ChannelNorm(dim, eps=_EPSILON))


def _halve(source: int, target: int) -> nn.Sequential:
    """Merge 2 x 2 places."""
    return nn.Sequential(
        _ChannelNorm(source, eps=_EPSILON), nn.Conv2d(source, target, kernel_size=2, stride=2)
    )
