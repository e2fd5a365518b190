"""What a statistic says ends at the bound."""

from __future__ import annotations

import torch

from securevqa_core.models.saturation import BOUND, SaturatedNorm


def test_statistics_are_standardised_and_cut() -> None:
    norm = SaturatedNorm(2, bound=1.5).eval()
    norm.running_mean, norm.running_var = torch.tensor([10.0, 0.0]), torch.tensor([4.0, 1.0])
    x = torch.tensor([[[10.0, 12.0, 99.0], [-9.0, -1.0, 0.5]]])
    expected = torch.tensor([[[0.0, 1.0, 1.5], [-1.5, -1.0, 0.5]]])
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-4)


def test_training_keeps_the_bound() -> None:
    norm = SaturatedNorm(3, bound=2.0).train()
    norm(torch.randn(4, 3, 5))
    assert norm.state_dict()[BOUND] == 2.0
    assert not list(norm.parameters())
