"""Owns the baseline: 42 natural scene statistics and support vector regression, no network at all.

The statistics are of BRISQUE's family (Mittal, Moorthy and Bovik, 2012): moments of the mean-subtracted,
contrast-normalised (MSCN) luminance and of its products with its neighbours, at two scales, and the
difference between frames.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.statistics import fragment_pairs, luma_of, mscn, neighbour_products
from securevqa_core.models.svr import SupportVectors, fit_support_vectors

__all__ = ["MAX_SUPPORT_VECTORS", "NUM_NSS_STATISTICS", "NssSvr", "fit_svr"]

NUM_NSS_STATISTICS = 42
MAX_SUPPORT_VECTORS = 8_192
_SCALES = (1, 2)  # full size, half
_FARTHEST = 5.0  # standard deviations that a statistic may be from the mean


class NssSvr(SupportVectors):
    """Natural scene statistics and an RBF support vector regression; all it knows is in its buffers."""

    has_inter = False

    def __init__(self, *, grid_size: int) -> None:
        super().__init__(NUM_NSS_STATISTICS, max_support_vectors=MAX_SUPPORT_VECTORS, clamp=_FARTHEST)
        self.grid_size = grid_size

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, 42, 1, 1, 1) statistics of normalised fragments (n, 3, t, h, w), t even."""
        luma = luma_of(fragment_pairs(x, grid_size=self.grid_size))  # (n, t / 2, g, g, 2, s, s)
        n, _, _, _, _, s, _ = luma.shape
        first = luma[:, :, :, :, 0].reshape(-1, 1, s, s)
        statistics = [part for scale in _SCALES for part in _texture(F.avg_pool2d(first, scale), n)]
        change = (luma[:, :, :, :, 1] - luma[:, :, :, :, 0]).flatten(1).abs()
        return torch.stack([*statistics, change.mean(dim=1), change.std(dim=1)], dim=1)[..., None, None, None]

    def head(self, f: Tensor, e: Tensor | None = None) -> Tensor:
        """Return (n, 1) raw scores of statistics (n, 42, 1, 1, 1); there is no inter branch."""
        if e is not None:
            raise ConfigurationError(f"e must be None for a model without inter branch, got {tuple(e.shape)}")
        return self.regress(f.flatten(1))

    def forward(self, fragments: Tensor) -> Tensor:
        """Return (n, 1) raw scores from normalised fragments (n, 3, t, h, w)."""
        return self.head(self.intra(fragments))


def fit_svr(
    model: NssSvr, statistics: NDArray[np.float32], labels: NDArray[np.float64], *, c: float, epsilon: float
) -> None:
    """Fit the regression on (n, 42) statistics and their labels, in place.

    Args:
        model: to be fitted.
        statistics: of the training videos.
        labels: of the same.
        c: weight of errors, in units of labels.
        epsilon: errors that cost nothing, in units of labels.

    Raises:
        RunError: scikit-learn is not installed.
        ConfigurationError: more support vectors than `MAX_SUPPORT_VECTORS`.
    """
    model.mean.copy_(torch.from_numpy(statistics.mean(axis=0)))
    model.sd.copy_(torch.from_numpy(statistics.std(axis=0) + 1e-6))
    fit_support_vectors(model, statistics, labels, c=c, epsilon=epsilon, gamma=1 / NUM_NSS_STATISTICS)


def _texture(luma: Tensor, num_clips: int) -> list[Tensor]:
    """Return 20 statistics (n,) of luma (n k, 1, s, s)."""
    m = mscn(luma)[0]
    return [
        moment for image in (m, *neighbour_products(m)) for moment in _moments(image.reshape(num_clips, -1))
    ]


def _moments(x: Tensor) -> list[Tensor]:
    """Return mean, standard deviation, skewness and kurtosis (n,) of (n, k)."""
    mean = x.mean(dim=1)
    centred = x - mean[:, None]
    square = centred * centred
    variance = square.mean(dim=1).clamp_min(1e-6)
    skewness = (square * centred).mean(dim=1) / variance**1.5
    kurtosis = (square * square).mean(dim=1) / variance**2
    return [mean, variance.sqrt(), skewness.clamp(-20, 20), kurtosis.clamp(0, 50)]
