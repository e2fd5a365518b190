"""Owns means whose gradients take a pass or two, where torch's own take up to seven."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

__all__ = ["mean", "mean_log", "power"]


def mean(x: Tensor) -> Tensor:
    """Return the mean (k,) of (k, ...)."""
    return x.flatten(1).sum(dim=1) / x[0].numel()


def power(x: Tensor) -> Tensor:
    """Return the mean square (k,) of (k, ...)."""
    made: Tensor = _Power.apply(x)
    return made


def mean_log(size: Tensor) -> Tensor:
    """Return the mean (k,) of log(1 + size), sizes (k, ...) of 0..1020."""
    made: Tensor = _MeanLog.apply(size)
    return made


class _Power(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        norm: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
        return norm.square() / x[0].numel()

    @staticmethod
    def backward(context: Any, slope: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        made: Tensor = x * _beside(slope * (2 / x[0].numel()), x)
        return made


class _MeanLog(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, size: Tensor) -> Tensor:
        factors = 1 + size
        context.save_for_backward(factors)
        factors = factors.flatten(1)
        count = factors.shape[1]
        factors = F.pad(factors, (0, -count % 8), value=1)  # one logarithm of eight factors is fast
        made: Tensor = factors.view(len(factors), 8, -1).prod(dim=1).log().sum(dim=1) / count
        return made

    @staticmethod
    def backward(context: Any, slope: Tensor) -> Tensor:
        (factors,) = context.saved_tensors
        made: Tensor = _beside(slope / factors[0].numel(), factors) / factors
        return made


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """Return (k,) values so that they meet (k, ...)."""
    return values.view(-1, *[1] * (x.ndim - 1))
