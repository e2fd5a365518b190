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
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.models.statistics import fragment_pairs, luma_of, mscn, neighbour_products

__all__ = ["MAX_SUPPORT_VECTORS", "NUM_NSS_STATISTICS", "NssSvr", "fit_svr"]

NUM_NSS_STATISTICS = 42
MAX_SUPPORT_VECTORS = 8_192
_SCALES = (1, 2)  # full size, half


class NssSvr(nn.Module):
    """Natural scene statistics and an RBF support vector regression; all it knows is in its buffers."""

    has_inter = False
    mean: Tensor
    sd: Tensor
    support_vectors: Tensor
    dual_coefficients: Tensor
    intercept: Tensor
    gamma: Tensor

    def __init__(self, *, grid_size: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.register_buffer("mean", torch.zeros(NUM_NSS_STATISTICS))
        self.register_buffer("sd", torch.ones(NUM_NSS_STATISTICS))
        self.register_buffer("support_vectors", torch.zeros(MAX_SUPPORT_VECTORS, NUM_NSS_STATISTICS))
        self.register_buffer("dual_coefficients", torch.zeros(MAX_SUPPORT_VECTORS))  # 0: not used
        self.register_buffer("intercept", torch.zeros(1))
        self.register_buffer("gamma", torch.ones(1))

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
        standard = ((f.flatten(1).float() - self.mean) / self.sd).clamp(-5, 5)
        kernel = torch.exp(-self.gamma * torch.cdist(standard, self.support_vectors) ** 2)
        return (kernel @ self.dual_coefficients)[:, None] + self.intercept

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
    try:
        from sklearn.svm import SVR  # noqa: PLC0415 - an extra, needed only to train
    except ImportError as error:
        raise RunError(f"the baseline needs scikit-learn: install securevqa[train] ({error})") from error

    mean, sd = statistics.mean(axis=0), statistics.std(axis=0) + 1e-6
    standard = np.clip((statistics - mean) / sd, -5, 5)
    gamma = 1 / NUM_NSS_STATISTICS
    fitted = SVR(C=c, epsilon=epsilon, gamma=gamma).fit(standard, labels)
    count = len(fitted.support_vectors_)
    if count > MAX_SUPPORT_VECTORS:
        raise ConfigurationError(f"support vectors must be <= {MAX_SUPPORT_VECTORS}, got {count}")
    support = np.zeros((MAX_SUPPORT_VECTORS, NUM_NSS_STATISTICS))
    dual = np.zeros(MAX_SUPPORT_VECTORS)
    support[:count], dual[:count] = fitted.support_vectors_, fitted.dual_coef_[0]
    values = {
        "mean": mean,
        "sd": sd,
        "support_vectors": support,
        "dual_coefficients": dual,
        "intercept": fitted.intercept_,
        "gamma": np.array([gamma]),
    }
    model.load_state_dict({name: torch.from_numpy(np.asarray(v)).float() for name, v in values.items()})


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
