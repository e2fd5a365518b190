"""Owns DOVER's aesthetic backbone: ConvNeXt-T with a third axis for time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError

__all__ = ["ConvNext3d", "ConvNext3dConfig"]

_EPSILON = 1e-6  # of every layer norm
_KERNEL_SIDE = 7  # of a block's depthwise convolution, in space
_KERNEL_FRAMES = (1, 3, 1)  # the same in time: one block after the other, starting again in every stage
_LAYER_SCALE = 1e-6  # gamma of an untrained block


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNext3dConfig:
    """The shape of a `ConvNext3d`; defaults are ConvNeXt-T, the aesthetic branch of DOVER.

    Raises:
        ConfigurationError: `depths` and `dims` differ in length.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)  # blocks in each stage
    dims: tuple[int, ...] = (96, 192, 384, 768)  # channels of each stage

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.dims):
            raise ConfigurationError(
                f"dims must have one entry for each of depths {self.depths}, got {self.dims}"
            )

    @property
    def out_dim(self) -> int:
        """Channels of the feature map."""
        return self.dims[-1]


class ConvNext3d(nn.Module):
    """ConvNeXt over clips, (n, 3, t, h, w) normalised float -> (n, out_dim, t / 2, h / 32, w / 32).

    Parameter names are those of published DOVER checkpoints without `aesthetic_backbone.`.
    """

    def __init__(self, config: ConvNext3dConfig) -> None:
        super().__init__()
        self.config = config
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, (depth, dim) in enumerate(zip(config.depths, config.dims, strict=True)):
            self.downsample_layers.append(_stem(dim) if stage == 0 else _halve(config.dims[stage - 1], dim))
            self.stages.append(
                nn.Sequential(*(_Block(dim, _KERNEL_FRAMES[i % len(_KERNEL_FRAMES)]) for i in range(depth)))
            )
        self.norm = _ChannelNorm(config.out_dim, eps=_EPSILON)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map of normalised clips.

        Args:
            x: (n, 3, t, h, w) float, channels RGB, t >= 2, h and w >= 32.

        Returns:
            (n, out_dim, floor(t / 2), floor(h / 32), floor(w / 32)) float.
        """
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
            raise ConfigurationError(f"x must be (n, 3, t, h, w) and not empty, got {tuple(x.shape)}")
        for downsample, blocks in zip(self.downsample_layers, self.stages, strict=True):
            x = blocks(downsample(x))
        features: Tensor = self.norm(x)
        return features


class _ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of (n, c, t, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class _Block(nn.Module):
    """x + gamma MLP(norm(depthwise convolution of x)); (n, c, t, h, w)."""

    def __init__(self, dim: int, kernel_frames: int) -> None:
        super().__init__()
        kernel = (kernel_frames, _KERNEL_SIDE, _KERNEL_SIDE)
        self.dwconv = nn.Conv3d(dim, dim, kernel_size=kernel, padding="same", groups=dim)
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
    """Patches of 2 x 4 x 4: the published weights are inflated from an image model's 4 x 4."""
    patch = (2, 4, 4)
    return nn.Sequential(nn.Conv3d(3, dim, kernel_size=patch, stride=patch), _ChannelNorm(dim, eps=_EPSILON))


def _halve(source: int, target: int) -> nn.Sequential:
    """Merge 2 x 2 positions of every frame."""
    merge = (1, 2, 2)
    return nn.Sequential(
        _ChannelNorm(source, eps=_EPSILON), nn.Conv3d(source, target, kernel_size=merge, stride=merge)
    )


def _initialise(module: nn.Module) -> None:
    """Give layers ConvNeXt's usual start: truncated normal of standard deviation 0.02, biases 0."""
    if isinstance(module, nn.Linear | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
