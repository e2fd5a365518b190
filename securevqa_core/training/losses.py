"""Owns the training losses: the paper's (PLCC and differentiable SRCC), its published code's, RankNet's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata
from torch import Tensor

from securevqa_core.errors import ConfigurationError

__all__ = ["pair_loss", "plcc_loss", "released_plcc_loss", "released_rank_loss", "soft_rank", "srcc_loss"]


def plcc_loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - PLCC of a batch, 0 (best) to 2.

    Args:
        predictions: (n,) float, n >= 2, not all equal.
        labels: (n,) float, likewise; no gradient.

    Raises:
        ConfigurationError: the correlation is not defined, or the shapes differ.
    """
    return 1 - _pearson(*_checked(predictions, labels))


def srcc_loss(predictions: Tensor, labels: Tensor, *, softness: float = 1.0) -> Tensor:
    """Return 1 - SRCC of a batch, with soft ranks of the predictions: differentiable, 0 (best) to 2.

    Invariant to the scale and offset of the predictions: they are standardised first.

    Args:
        predictions: (n,) float, n >= 2, not all equal.
        labels: (n,) float, likewise; equal labels share their mean rank.
        softness: > 0; towards 0 the ranks become exact and the gradient vanishes, far above 1 the loss
            is that of PLCC with the labels' ranks. At 1 the values to rank spread as widely as the ranks.

    Raises:
        ConfigurationError: the correlation is not defined, the shapes differ, or `softness` is not > 0.
    """
    predictions, labels = _checked(predictions, labels)
    if not softness > 0:
        raise ConfigurationError(f"softness must be > 0, got {softness}")
    spread = math.sqrt(12) / len(labels)  # 1 / standard deviation of the ranks 1..n, but for a small constant
    ranks = soft_rank(_standardised(predictions), regularization=softness * spread)
    target = torch.from_numpy(rankdata(labels.cpu().numpy())).to(ranks)
    return 1 - _pearson(ranks, target)


def soft_rank(values: Tensor, *, regularization: float) -> Tensor:
    """Return soft ascending ranks: 1 for the smallest, n for the largest, in between where values are close.

    The Euclidean projection of values / regularization onto the permutahedron, the convex hull of all orders
    of 1..n; O(n log n). From Blondel et al., "Fast differentiable sorting and ranking", ICML 2020, Eq. 6 and
    Propositions 3 and 4 with quadratic regularisation.

    Args:
        values: (n,) float, n >= 1.
        regularization: > 0, in units of `values`; gaps above it leave the ranks exact.

    Raises:
        ConfigurationError: `values` is not (n,) or not finite, or `regularization` is not > 0.
    """
    if values.ndim != 1 or len(values) < 1:
        raise ConfigurationError(f"values must be (n,) with n >= 1, got {tuple(values.shape)}")
    if not regularization > 0:
        raise ConfigurationError(f"regularization must be > 0, got {regularization}")
    if not bool(torch.isfinite(values).all()):
        raise ConfigurationError(f"values must be finite, got {values.tolist()}")
    ranks: Tensor = _PermutahedronProjection.apply(values / regularization)
    return ranks


class _PermutahedronProjection(torch.autograd.Function):
    """z (n,) -> the point nearest to it whose coordinates are a mixture of orders of 1..n."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        """Subtract from z, sorted from the largest, the isotonic regression of its excess over n..1."""
        order = torch.argsort(z, descending=True, stable=True)
        ladder = torch.arange(len(z), 0, -1, device=z.device, dtype=torch.float64)
        excess = z[order].double() - ladder
        fit = isotonic_regression(excess.cpu().numpy(), increasing=False)
        level = torch.empty_like(excess)
        level[order] = torch.from_numpy(fit.x.copy()).to(z.device)  # a reversed view, which torch refuses
        sizes = torch.from_numpy(np.diff(fit.blocks)).to(z.device)
        block = torch.empty_like(order)
        block[order] = torch.repeat_interleave(torch.arange(len(sizes), device=z.device), sizes)
        ctx.save_for_backward(block, sizes)
        return (z.double() - level).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """Subtract from each gradient the mean over its block: the projection is affine around z."""
        (grad,), (block, sizes) = grad_outputs, ctx.saved_tensors
        sums = torch.zeros(len(sizes), dtype=grad.dtype, device=grad.device).index_add_(0, block, grad)
        result: Tensor = grad - (sums / sizes)[block]
        return result


def released_plcc_loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return the published code's linear loss: how far standardised predictions are from standardised labels.

    The mean of mse(p, y) / 4 and mse(rho p, y) / 4, rho = mean(p y). Arguments and errors as `plcc_loss`.
    """
    p, y = map(_standardised, _checked(predictions, labels))
    rho = (p * y).mean()
    return ((p - y).square().mean() + (rho * p - y).square().mean()) / 8


def released_rank_loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return the published code's rank loss: the mean hinge over misordered pairs, / (1 + the largest).

    Arguments and errors as `plcc_loss`, but predictions may be all equal.
    """
    p, y = _checked(predictions, labels, may_be_constant=True)
    hinge = torch.relu((p[:, None] - p[None, :]) * torch.sign(y[None, :] - y[:, None]))
    return hinge.sum() / (len(p) * (len(p) - 1)) / (1 + hinge.max())


def pair_loss(predictions: Tensor, labels: Tensor, contents: Tensor, *, spread: float = 0.2) -> Tensor:
    """Return how surely pairs of clips of one content are misordered; 0 where no pair has two labels.

    The logistic loss of Burges et al., "Learning to rank using gradient descent" (RankNet, ICML 2005), mean
    over pairs, in units of the predictions. What a content looks like cancels out of it.

    Args:
        predictions: (n,) float.
        labels: (n,) float; no gradient.
        contents: (n,) integers, equal for clips of one content.
        spread: > 0, difference of predictions that leaves an order at odds of e to 1.

    Raises:
        ConfigurationError: the shapes differ, or `spread` is not > 0.
    """
    if not spread > 0:
        raise ConfigurationError(f"spread must be > 0, got {spread}")
    if not predictions.shape == labels.shape == contents.shape == (len(predictions),):
        shapes = ", ".join(str(tuple(one.shape)) for one in (predictions, labels, contents))
        raise ConfigurationError(f"predictions, labels and contents must all be (n,), got {shapes}")
    is_better = (contents[:, None] == contents[None, :]) & (labels[:, None] > labels[None, :])
    lead = (predictions[:, None] - predictions[None, :])[is_better]
    return spread * F.softplus(-lead / spread).sum() / max(len(lead), 1)


def _checked(predictions: Tensor, labels: Tensor, *, may_be_constant: bool = False) -> tuple[Tensor, Tensor]:
    """Return both in one type of float at least float32, once their correlation is known to be defined."""
    if predictions.ndim != 1 or predictions.shape != labels.shape:
        raise ConfigurationError(
            f"predictions and labels must both be (n,), got {tuple(predictions.shape)} "
            f"and {tuple(labels.shape)}"
        )
    if len(labels) < 2:
        raise ConfigurationError(f"a correlation needs n >= 2 values, got {len(labels)}")
    dtype = torch.promote_types(predictions.dtype, torch.float32)
    checked = predictions.to(dtype), labels.detach().to(dtype)
    for name, values in zip(("predictions", "labels"), checked, strict=True):
        if not bool(torch.isfinite(values).all()):
            raise ConfigurationError(f"{name} must be finite, got {values.tolist()}")
        if bool((values == values[0]).all()) and not (may_be_constant and name == "predictions"):
            raise ConfigurationError(f"{name} must not be all equal, got {len(values)} times {values[0]:g}")
    return checked


def _standardised(values: Tensor) -> Tensor:
    centred = values - values.mean()
    return centred / centred.square().mean().sqrt()


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    return (_standardised(a) * _standardised(b)).mean()
