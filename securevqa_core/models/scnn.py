"""Owns S-CNN, a small network that knows which distortion of an image it sees.

Zhang, Ma, Yan, Deng and Wang, "Blind image quality assessment using a deep bilinear convolutional neural
network" (IEEE TCSVT, 2020): trained on types and levels of distortion of a great many images.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Scnn"]

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

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of each picture."""
        maps: Tensor = self.features(x)
        return maps
