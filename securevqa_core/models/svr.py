"""Owns support vector regression with a radial kernel, as a module whose buffers are all it knows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError, RunError

__all__ = ["SupportVectors", "fit_support_vectors"]


class SupportVectors(nn.Module):
    """An RBF support vector regression of statistics that are shifted, scaled and clamped.

    Args:
        num_statistics: of one input.
        max_support_vectors: that there is room for.
        clamp: farthest that a statistic may be from the middle, after scaling.
    """

    mean: Tensor
    sd: Tensor
    support_vectors: Tensor
    dual_coefficients: Tensor
    intercept: Tensor
    gamma: Tensor

    def __init__(self, num_statistics: int, *, max_support_vectors: int, clamp: float) -> None:
        super().__init__()
        self.clamp = clamp
        self.register_buffer("mean", torch.zeros(num_statistics))
        self.register_buffer("sd", torch.ones(num_statistics))
        self.register_buffer("support_vectors", torch.zeros(max_support_vectors, num_statistics))
        self.register_buffer("dual_coefficients", torch.zeros(max_support_vectors))  # 0: not used
        self.register_buffer("intercept", torch.zeros(1))
        self.register_buffer("gamma", torch.ones(1))

    def regress(self, statistics: Tensor) -> Tensor:
        """Return (n, 1) raw scores of statistics (n, num_statistics)."""
        standard = ((statistics.float() - self.mean) / self.sd).clamp(-self.clamp, self.clamp)
        kernel = torch.exp(-self.gamma * torch.cdist(standard, self.support_vectors) ** 2)
        return (kernel @ self.dual_coefficients)[:, None] + self.intercept


def fit_support_vectors(
    model: SupportVectors,
    statistics: NDArray[np.floating],
    labels: NDArray[np.float64],
    *,
    c: float,
    epsilon: float,
    gamma: float,
) -> None:
    """Fit the regression on (n, num_statistics) and their labels, in place; `mean` and `sd` are set before.

    Args:
        model: to be fitted.
        statistics: of the training videos.
        labels: of the same.
        c: weight of errors, in units of labels.
        epsilon: errors that cost nothing, in units of labels.
        gamma: of the kernel, of scaled statistics.

    Raises:
        RunError: scikit-learn is not installed.
        ConfigurationError: more support vectors than there is room for.
    """
    try:
        from sklearn.svm import SVR  # noqa: PLC0415 - an extra, needed only to train
    except ImportError as error:
        raise RunError(f"a regression needs scikit-learn: install securevqa[train] ({error})") from error

    mean, sd = model.mean.double().numpy(), model.sd.double().numpy()
    standard = np.clip((statistics - mean) / sd, -model.clamp, model.clamp)
    fitted = SVR(C=c, epsilon=epsilon, gamma=gamma).fit(standard, labels)
    count, room = len(fitted.support_vectors_), len(model.support_vectors)
    if count > room:
        raise ConfigurationError(f"support vectors must be <= {room}, got {count}")
    for name, values in (
        ("support_vectors", fitted.support_vectors_),
        ("dual_coefficients", fitted.dual_coef_[0]),
    ):
        buffer = torch.zeros_like(getattr(model, name))
        buffer[:count] = torch.from_numpy(np.asarray(values))
        getattr(model, name).copy_(buffer)
    model.intercept.copy_(torch.from_numpy(np.asarray(fitted.intercept_)))
    model.gamma.fill_(gamma)
