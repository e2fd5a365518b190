"""Owns how far one statistic can pull a score: standardised, and saturated beyond a bound.

    out
     b |         _______
       |        /
     0 |-------/--------   standard deviations from the mean of the training clips
       |      /
    -b |_____/
           -b  0  b

What lies far outside of what was trained on says that it is far, and no longer how far. Without it a picture
unlike those of training, as a drawing, is judged by the few statistics in which it is least like them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BOUND", "SaturatedNorm"]

BOUND = "bound"  # the buffer, of a module whose weights hold one


class SaturatedNorm(nn.BatchNorm1d):
    """(n, s, positions) -> the same: batch normalisation without scale or offset, cut to -bound..bound.

    The bound, in standard deviations, is a part of the weights, and training leaves it as it is.
    """

    bound: Tensor

    def __init__(self, num_statistics: int, *, bound: float) -> None:
        super().__init__(num_statistics, affine=False)
        self.register_buffer(BOUND, torch.tensor(bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return standardised statistics."""
        return super().forward(x).clamp(-self.bound, self.bound)
