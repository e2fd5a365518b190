"""Owns S-CNN, a small network that knows which distortion of an image it sees.

Zhang, Ma, Yan, Deng and Wang, "Blind image quality assessment using a deep bilinear convolutional neural
network" (IEEE TCSVT, 2020): trained on types and levels of distortion of a great many images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.models.statistics import split_pairs

__all__ = ["Distortions", "Scnn"]

_TINY = 1e-6  # of a variance
# channels, stride of each 3 x 3 convolution
_LAYERS = ((48, 1), (48, 2), (64, 1), (64, 2), (64, 1), (64, 2), (128, 1), (128, 1), (128, 2))


class Scnn(nn.Module):
    """Normalised pictures (k, 3, h, w) float -> maps (k, 128, ceil(h / 16), ceil(w / 16)), all >= 0.

    Names of parameters are those of the published weights, whose projection and classifier are left out.
    """

    out_dim = _LAYERS[-1][0]

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        dim = 3
        for width, stride in _LAYERS:
            layers += [nn.Conv2d(dim, width, 3, stride=stride, padding=1), nn.ReLU()]
            dim = width
        self.features = nn.Sequential(*layers)
        self.to(memory_format=torch.channels_last)  # twice as fast on a processor

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of each picture."""
        maps: Tensor = self.features(x.contiguous(memory_format=torch.channels_last))
        return maps


class Distortions(nn.Module):
    """What S-CNN makes of every fragment: (n, 3, t, g s, g s) normalised -> (n, 256, t / 2, g, g).

    Each fragment of every second frame is a picture of its own, padded with the mean colour, so that nothing
    is seen across a seam; of its map the mean and the standard deviation over places are kept. It is smoothed
    first: S-CNN takes a guardian map for noise, and so the finest detail that an attacker adds reaches it
    weakened too.
    """

    out_dim = 2 * Scnn.out_dim

    def __init__(self, *, grid_size: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.scnn = Scnn()

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean and standard deviation of each channel for every fragment.

        Raises:
            ConfigurationError: t is odd, or the sides are not g times the same s.
        """
        first = split_pairs(x, grid_size=self.grid_size)[:, :, :, :, 0]
        n, d, g, _, _, s, _ = first.shape
        maps = self.scnn(_smooth(first.reshape(-1, 3, s, s))).float().flatten(2)
        mean = maps.mean(dim=-1)
        # The root of zero has no finite gradient.
        sd = (maps - mean[..., None]).square().mean(dim=-1).add(_TINY).sqrt()
        return torch.cat([mean, sd], dim=1).view(n, d, g, g, -1).permute(0, 4, 1, 2, 3)


def _smooth(x: Tensor) -> Tensor:
    """Convolve (k, c, h, w) with the binomial 1 2 1 along both sides, the border reflected."""
    for axis in (2, 3):
        padded = F.pad(x, (0, 0, 1, 1) if axis == 2 else (1, 1, 0, 0), mode="reflect")
        ends = (padded.narrow(axis, start, x.shape[axis]) for start in (0, 2))
        x = x / 2 + sum(ends) / 4
    return x
