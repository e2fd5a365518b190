"""Owns VIDEVAL's four statistics from BRISQUE (Mittal, Moorthy and Bovik, 2012): products of neighbours.

Its 5th and 9th, 23rd and 29th: how far products with the neighbour to the right and below go below 0 at full
size and, to the right, at half; the shape of products with the diagonal neighbour at half size.
"""

from __future__ import annotations

from torch import Tensor

from securevqa_core.models.videval.planes import Local, asymmetric_shape, left_variance, rolled

__all__ = ["brisque"]


def brisque(full: Local, half: Local) -> list[Tensor]:
    """Return 4 statistics (k,) of luma at full and at half size."""
    whole, small = full.normalised, half.normalised
    return [
        left_variance(whole * rolled(whole, 0, 1)),
        left_variance(whole * rolled(whole, 1, 0)),
        left_variance(small * rolled(small, 0, 1)),
        asymmetric_shape(small * rolled(small, 1, 1))[0],
    ]
