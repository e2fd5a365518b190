"""Owns filters that look like enhancement and need no model: sharpening, contrast and noise as attacks."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from securevqa_core.attacks.attack import Attack

__all__ = ["contrast", "noise", "sharpen"]

_AMOUNT = 1.0  # of what unsharp masking adds
_GAIN = 1.2  # of contrast about the mean of the frame


def sharpen(attack: Attack) -> tuple[Tensor, list[float]]:
    """Add what a 3 x 3 mean takes away, cut to the ball; the direction is not asked."""
    planes = attack.clean.permute(0, 3, 1, 2)
    blurred = F.avg_pool2d(F.pad(planes, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return attack.inside(_AMOUNT * (planes - blurred).permute(0, 2, 3, 1)), []


def contrast(attack: Attack) -> tuple[Tensor, list[float]]:
    """Spread values about the mean of their frame, cut to the ball."""
    mean = attack.clean.mean(dim=(1, 2, 3), keepdim=True)
    return attack.inside((_GAIN - 1) * (attack.clean - mean)), []


def noise(attack: Attack) -> tuple[Tensor, list[float]]:
    """Add Gaussian noise of standard deviation epsilon, cut to the ball: what any attack has to beat."""
    drawn = torch.randn(attack.clean.shape, generator=attack.rng).to(attack.clean)
    return attack.inside(attack.config.epsilon * drawn), []
