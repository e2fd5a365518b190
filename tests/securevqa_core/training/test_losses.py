"""Losses against brute-force projections, finite differences, SciPy's correlations and the published code."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.training.losses import (
    pair_loss,
    plcc_loss,
    released_plcc_loss,
    released_rank_loss,
    soft_rank,
    srcc_loss,
)

ALL = [plcc_loss, srcc_loss, released_plcc_loss, released_rank_loss]
PUBLISHED = json.loads((Path(__file__).parents[1] / "reference" / "losses_seed0.json").read_text())


def random_pair(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy(rng.standard_normal(n)) for _ in range(2))  # type: ignore[return-value]


def projected_by_brute_force(z: np.ndarray) -> np.ndarray:
    """The mixture of all orders of 1..n that is nearest to z, by a general solver."""
    n = len(z)
    corners = np.array(list(itertools.permutations(range(1, n + 1))), dtype=float)
    # Non-negative least squares; the heavy last row makes the weights of the mixture sum to 1.
    heavy = 1e4
    weights, _ = optimize.nnls(
        np.vstack([corners.T, heavy * np.ones(len(corners))]), np.append(z, heavy), maxiter=100_000
    )
    return corners.T @ (weights / weights.sum())


@pytest.mark.parametrize("regularization", [0.05, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_soft_ranks_are_the_projection_onto_all_orders(n: int, regularization: float) -> None:
    values, _ = random_pair(n, seed=n)
    found = soft_rank(values, regularization=regularization).numpy()
    np.testing.assert_allclose(
        found, projected_by_brute_force(values.numpy() / regularization), atol=2e-5, rtol=0
    )


def test_soft_ranks_of_distant_values_are_their_ranks() -> None:
    values, _ = random_pair(50)
    gap = float(np.diff(np.sort(values.numpy())).min())
    ranks = soft_rank(values, regularization=gap / 2)
    np.testing.assert_allclose(ranks.numpy(), stats.rankdata(values.numpy()), atol=1e-9)


def test_equal_values_share_their_mean_rank() -> None:
    ranks = soft_rank(torch.tensor([3.0, 1.0, 3.0, 7.0]), regularization=0.1)
    torch.testing.assert_close(ranks, torch.tensor([2.5, 1.0, 2.5, 4.0]))


@pytest.mark.parametrize("regularization", [0.1, 0.5, 3.0])
def test_gradients_of_soft_ranks_agree_with_finite_differences(regularization: float) -> None:
    values = random_pair(9)[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_rank(x, regularization=regularization), values)


@pytest.mark.parametrize("loss", ALL)
def test_gradients_of_losses_agree_with_finite_differences(loss: Callable[..., Tensor]) -> None:
    predictions, labels = random_pair()
    assert torch.autograd.gradcheck(lambda p: loss(p, labels), predictions.requires_grad_())


def test_soft_ranks_of_a_hundred_thousand_values_take_under_a_second() -> None:
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    started = time.perf_counter()
    soft_rank(values, regularization=0.01).square().sum().backward()
    assert time.perf_counter() - started < 1


def test_linear_loss_is_one_minus_scipy_s_plcc() -> None:
    predictions, labels = random_pair()
    expected = 1 - stats.pearsonr(predictions.numpy(), labels.numpy()).statistic
    assert plcc_loss(predictions, labels).item() == pytest.approx(expected, abs=1e-12)


def test_rank_loss_tends_to_one_minus_scipy_s_srcc_as_ranks_harden() -> None:
    predictions, labels = random_pair()
    labels[3] = labels[5]  # ties
    expected = 1 - stats.spearmanr(predictions.numpy(), labels.numpy()).statistic
    assert srcc_loss(predictions, labels, softness=1e-6).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("loss", [plcc_loss, srcc_loss, released_plcc_loss])
def test_scale_and_offset_of_predictions_do_not_matter(loss: Callable[..., Tensor]) -> None:
    predictions, labels = random_pair()
    torch.testing.assert_close(loss(predictions, labels), loss(0.01 * predictions + 5, labels))


@pytest.mark.parametrize("loss", ALL)
def test_descending_the_loss_orders_predictions_as_their_labels(loss: Callable[..., Tensor]) -> None:
    start, labels = random_pair()
    predictions = (0.1 * start).requires_grad_()
    before = stats.spearmanr(start, labels).statistic
    optimiser = torch.optim.Adam([predictions], lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        loss(predictions, labels).backward()
        optimiser.step()
    assert stats.spearmanr(predictions.detach(), labels).statistic > max(0.9, before)


@pytest.mark.parametrize(
    ("loss", "name"), [(released_plcc_loss, "plcc_loss"), (released_rank_loss, "rank_loss")]
)
def test_released_losses_are_the_published_ones(
    loss: Callable[..., Tensor], name: str, reference: Any
) -> None:
    predictions, labels = (reference.unit_input(of, (12, 1)).flatten() for of in ("pred", "mos"))
    assert loss(predictions, labels).item() == pytest.approx(PUBLISHED[name], rel=1e-6)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"both be \(n,\), got \(2,\) and \(3,\)"),
        ([1.0], [1.0], "n >= 2 values, got 1"),
        ([1.0, float("nan")], [1.0, 2.0], r"predictions must be finite, got \[1.0, nan\]"),
        ([1.0, 2.0], [float("inf"), 2.0], r"labels must be finite, got \[inf, 2.0\]"),
        ([1.0, 2.0, 3.0], [7.5, 7.5, 7.5], "labels must not be all equal, got 3 times 7.5"),
    ],
)
def test_undefined_losses_are_refused(
    loss: Callable[..., Tensor], predictions: list[float], labels: list[float], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        loss(torch.tensor(predictions), torch.tensor(labels))


@pytest.mark.parametrize("loss", [plcc_loss, srcc_loss, released_plcc_loss])
def test_equal_predictions_have_no_correlation(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(ConfigurationError, match=r"predictions must not be all equal, got 3 times 0\.25"):
        loss(torch.full((3,), 0.25), torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("values", "regularization", "message"),
    [
        ([[1.0]], 1.0, r"values must be \(n,\) with n >= 1, got \(1, 1\)"),
        ([], 1.0, r"values must be \(n,\) with n >= 1, got \(0,\)"),
        ([1.0, float("inf")], 1.0, r"values must be finite, got \[1.0, inf\]"),
        ([1.0], 0.0, "regularization must be > 0, got 0"),
    ],
)
def test_what_has_no_ranks_is_refused(values: list[float], regularization: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        soft_rank(torch.tensor(values), regularization=regularization)


def test_a_softness_of_zero_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="softness must be > 0, got 0"):
        srcc_loss(*random_pair(), softness=0)


def test_pairs_are_clips_of_one_content_with_two_labels() -> None:
    predictions = torch.tensor([0.0, 1.0, 5.0, 0.3, 0.3], requires_grad=True)
    labels, contents = torch.tensor([10.0, 90.0, 40.0, 20.0, 20.0]), torch.tensor([0, 0, 1, 2, 2])
    loss = pair_loss(predictions, labels, contents, spread=0.5)
    assert loss.item() == pytest.approx(0.5 * np.log1p(np.exp(-2)), rel=1e-6)
    (slope,) = torch.autograd.grad(loss, predictions)
    assert slope[0] == -slope[1] > 0
    assert slope[2:].tolist() == [0, 0, 0]
    swapped = pair_loss(predictions, 100 - labels, contents, spread=0.5)
    assert swapped.item() == pytest.approx(0.5 * np.log1p(np.exp(2)), rel=1e-6)


def test_without_pairs_there_is_nothing_to_order() -> None:
    predictions = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = pair_loss(predictions, torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))
    (slope,) = torch.autograd.grad(loss, predictions)
    assert loss.item() == 0
    assert slope.tolist() == [0, 0]


def test_pairs_that_cannot_be_made_are_refused() -> None:
    two, three = torch.zeros(2), torch.zeros(3)
    with pytest.raises(ConfigurationError, match=r"must all be \(n,\), got \(2,\), \(2,\), \(3,\)"):
        pair_loss(two, two, three)
    with pytest.raises(ConfigurationError, match="spread must be > 0, got 0"):
        pair_loss(two, two, two, spread=0)
