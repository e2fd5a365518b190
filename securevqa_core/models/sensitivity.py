"""Owns which changes from frame to frame statistics answer to.

    size |              /
         |            /         A change of either sign counts by its size, sqrt(change^2 + quiet^2) - quiet:
         |         .'           below `quiet` levels, which nobody sees, for little; far above them in full,
       0 |_____..-'______       less `quiet`. Without `quiet` the size is |change|.
         0    quiet      |change|, 8-bit levels

A place that becomes brighter as a whole flickers or fades, which is no motion: `level_share` of it is left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from securevqa_core.types import require_range

__all__ = ["SENSITIVITY", "TO_ALL", "Sensitivity"]

SENSITIVITY = "sensitivity"  # the buffer, (2,), of a module whose weights hold one


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How statistics of change answer; as it is made, to every change alike."""

    level_share: float = 0.0  # 0..1, of the mean change of a place
    quiet: float = 0.0  # 8-bit levels

    def __post_init__(self) -> None:
        require_range("level_share", self.level_share, low=0, high=1)
        require_range("quiet", self.quiet, low=0, high=64)

    @classmethod
    def of(cls, buffer: Tensor) -> Sensitivity:
        """Return what a buffer (2,) holds."""
        level_share, quiet = buffer.tolist()
        return cls(level_share=level_share, quiet=quiet)

    def buffer(self) -> Tensor:
        """Return (2,) float32, to be kept among the weights."""
        return torch.tensor([self.level_share, self.quiet])

    def without_level(self, change: Tensor, level_of: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `change` less what of it is one of level: its mean by place, as `level_of` returns it."""
        return change - self.level_share * level_of(change) if self.level_share else change

    def size(self, change: Tensor) -> Tensor:
        """Return how much each change counts, of its shape and at least 0."""
        if not self.quiet:
            return change.abs()
        return (change * change + self.quiet**2).sqrt() - self.quiet

    def floor(self, levels: float) -> float:
        """Return what is added before a logarithm, so that it grows no steeper where less counts."""
        return levels + self.quiet / 2


TO_ALL = Sensitivity()
