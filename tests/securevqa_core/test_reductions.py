"""Means with gradients of their own: those are the gradients of what they return."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from securevqa_core.models.reductions import mean, mean_log, power

X = torch.rand(3, 4, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("reduced", "expected"),
    [
        (mean, lambda x: x.mean(dim=(1, 2, 3))),
        (power, lambda x: (x * x).mean(dim=(1, 2, 3))),
        (mean_log, lambda x: torch.log1p(x).mean(dim=(1, 2, 3))),
    ],
    ids=["mean", "power", "mean_log"],
)
def test_values_and_gradients_are_those_of_the_plain_formula(
    reduced: Callable[[Tensor], Tensor], expected: Callable[[Tensor], Tensor]
) -> None:
    x = X.clone().requires_grad_()
    torch.testing.assert_close(reduced(x), expected(x))
    slope = torch.rand(reduced(x).shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    found, wanted = (torch.autograd.grad(one(x), x, slope)[0] for one in (reduced, expected))
    torch.testing.assert_close(found, wanted)
