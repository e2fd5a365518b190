"""Owns filters that look like enhancement or do nothing visible, and need no model."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from securevqa_core.attacks.attack import Attack

__all__ = ["FILTERS", "filtered"]

_AMOUNT = 1.0  # of what unsharp masking adds
_GAIN = 1.2  # of contrast about the mean of the frame
_SATURATION = 1.3
_GAMMA = 0.9  # below 1: brighter
_WIDE_SD, _WIDE_SIDE = 10.0, 41  # pixels, of the neighbourhood whose contrast is raised


def filtered(attack: Attack) -> tuple[Tensor, list[float]]:
    """Apply the filter that the attack is named after, cut to the ball; the direction is not asked."""
    return attack.inside(FILTERS[attack.config.attack](attack)), []


def _sharpen(attack: Attack) -> Tensor:
    """Add what a 3 x 3 mean takes away."""
    return _AMOUNT * (attack.clean - _mean3(attack.clean))


def _blur(attack: Attack) -> Tensor:
    """Take the mean of 3 x 3: what a denoiser does at its simplest."""
    return _mean3(attack.clean) - attack.clean


def _contrast(attack: Attack) -> Tensor:
    """Spread values about the mean of their frame."""
    return (_GAIN - 1) * (attack.clean - attack.clean.mean(dim=(1, 2, 3), keepdim=True))


def _local_contrast(attack: Attack) -> Tensor:
    """Spread values about the mean of a wide neighbourhood."""
    planes = attack.clean.permute(0, 3, 1, 2)
    side = min(_WIDE_SIDE, 2 * (min(planes.shape[2:]) // 2) - 1)
    wide: Tensor = _pictures().gaussian_blur(planes, [side, side], [_WIDE_SD, _WIDE_SD])
    return (_GAIN - 1) * (attack.clean - wide.permute(0, 2, 3, 1))


def _saturate(attack: Attack) -> Tensor:
    """Move colours away from grey."""
    planes = attack.clean.permute(0, 3, 1, 2) / 255
    vivid: Tensor = _pictures().adjust_saturation(planes, _SATURATION)
    return vivid.permute(0, 2, 3, 1) * 255 - attack.clean


def _gamma(attack: Attack) -> Tensor:
    """Brighten the middle."""
    return 255 * (attack.clean / 255) ** _GAMMA - attack.clean


def _noise(attack: Attack) -> Tensor:
    """Add Gaussian noise of standard deviation epsilon: what any attack has to beat."""
    drawn = torch.randn(attack.clean.shape, generator=attack.rng).to(attack.clean)
    return attack.config.epsilon * drawn


def _flicker(attack: Attack) -> Tensor:
    """Brighten and darken frames by turns."""
    turns = 1 - 2 * (torch.arange(len(attack.clean), device=attack.clean.device) % 2)
    return (attack.config.epsilon * turns)[:, None, None, None].expand(attack.clean.shape)


def _none(attack: Attack) -> Tensor:
    """Leave the video as it is."""
    return torch.zeros_like(attack.clean)


def _pictures() -> Any:
    from torchvision.transforms.v2 import functional  # noqa: PLC0415 - a second that other commands need not wait for

    return functional


def _mean3(frames: Tensor) -> Tensor:
    planes = F.pad(frames.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(planes, 3, stride=1).permute(0, 2, 3, 1)


FILTERS = {
    "none": _none,
    "noise": _noise,
    "sharpen": _sharpen,
    "blur": _blur,
    "contrast": _contrast,
    "local-contrast": _local_contrast,
    "saturate": _saturate,
    "gamma": _gamma,
    "flicker": _flicker,
}
