"""Owns the inter backbone: SlowFast R50's fast pathway alone, frozen, Eq. 10 of the paper."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Self, cast

import torch
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError

__all__ = ["FAST_PATHWAY_DIM", "FastPathway"]

FAST_PATHWAY_DIM = 256  # channels after block 4
_FAST = 1  # index of the fast pathway in pytorchvideo's blocks; 0 is the slow one
_NUM_FEATURE_BLOCKS = 5  # the stem and four residual stages; blocks 5 and 6 pool and classify


class FastPathway(nn.Module):
    """Normalised (n, 3, t, h, w) float -> (n, 256): the fast pathway's block-4 output, averaged over t, h, w.

    SlowFast's lateral connections run fast -> slow, so the features are those of the two-pathway network to
    the last bit. Parameters take no gradient and the module stays in eval mode; gradients still reach the
    input. Keys are pytorchvideo's without `multipathway_blocks.1.`.
    """

    def __init__(self) -> None:
        super().__init__()
        device = torch.empty(0).device
        # The slow pathway is 34 M parameters that nobody will use: on the meta device they cost nothing.
        with torch.device("meta"):
            slowfast = _slowfast_builder()()
        blocks = cast(nn.ModuleList, slowfast.blocks)
        self.blocks = nn.ModuleList(_fast_block(block) for block in blocks[:_NUM_FEATURE_BLOCKS])
        self.blocks.to_empty(device=device)
        for module in self.blocks.modules():
            if isinstance(module, nn.Conv3d | nn.BatchNorm3d):
                module.reset_parameters()
        self.requires_grad_(requires_grad=False)
        self.train(mode=False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - nn.Module's signature
        """Stay in eval mode: frozen features must not follow the batch they are computed in."""
        return super().train(mode=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return one feature vector for each segment.

        Args:
            x: (n, 3, t, h, w) float, normalised RGB.
        """
        return self.maps(x).mean(dim=(2, 3, 4))

    def maps(self, x: Tensor) -> Tensor:
        """Return block 4's output (n, 256, t, h / 32, w / 32) of segments (n, 3, t, h, w)."""
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
            raise ConfigurationError(f"x must be (n, 3, t, h, w) and not empty, got {tuple(x.shape)}")
        if torch.is_autocast_enabled(x.device.type):  # with channels side by side in two thirds of the time
            x = x.contiguous(memory_format=torch.channels_last_3d)
        for block in self.blocks:
            x = block(x)
        return x


def _fast_block(block: nn.Module) -> nn.Module:
    return cast(nn.ModuleList, block.multipathway_blocks)[_FAST]


def _slowfast_builder() -> Callable[[], nn.Module]:
    """Import pytorchvideo's builder of SlowFast R50 8x8."""
    with warnings.catch_warnings():
        # fvcore, which pytorchvideo imports, scripts a loss at import; new versions of torch warn about it.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.script` is deprecated")
        from pytorchvideo.models.slowfast import create_slowfast  # noqa: PLC0415 - the filter has to be around it
    return cast(Callable[[], nn.Module], create_slowfast)
