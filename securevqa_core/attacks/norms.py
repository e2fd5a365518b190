"""Owns the norms that bound a perturbation: all in which an L2 and an Linf attack differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from securevqa_core.errors import ConfigurationError

__all__ = ["NORMS", "Norm", "NormName", "norm_named"]

NormName = Literal["l2", "linf"]

_BISECTIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """What a loop has to know of a norm; sizes are in 8-bit levels whatever the number of values.

    An L2 size is the root mean square over all values, so that one epsilon serves videos of every size.
    """

    name: NormName
    size: Callable[[Tensor], float]  # of a perturbation
    project: Callable[[Tensor, float], Tensor]  # onto the ball of a radius
    steepest: Callable[[Tensor], Tensor]  # the perturbation of size 1 that a gradient rises most along

    def start(self, like: Tensor, epsilon: float, rng: torch.Generator) -> Tensor:
        """Return a random perturbation inside the ball, of the shape of `like`."""
        noise = torch.rand(like.shape, generator=rng).to(like.device) * 2 - 1
        return self.project(noise * epsilon, epsilon)

    def whole_levels(self, perturbation: Tensor, epsilon: float) -> Tensor:
        """Return the perturbation rounded to whole levels, as a video holds, and no larger than epsilon."""
        rounded = perturbation.round()
        if self.size(rounded) <= epsilon:
            return rounded
        if self.name == "linf":
            return rounded.clamp(-int(epsilon), int(epsilon))
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            scale = (low + high) / 2
            fits = self.size((perturbation * scale).round()) <= epsilon
            low, high = (scale, high) if fits else (low, scale)
        return (perturbation * low).round()


def norm_named(name: str) -> Norm:
    """Return a norm.

    Raises:
        ConfigurationError: no such norm.
    """
    if name not in NORMS:
        raise ConfigurationError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")
    return NORMS[name]


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _largest(values: Tensor) -> float:
    low, high = torch.aminmax(values)
    return max(-float(low), float(high))


def _onto_sphere(values: Tensor, epsilon: float) -> Tensor:
    size = _rms(values)
    return values * (epsilon / size) if size > epsilon else values


def _onto_cube(values: Tensor, epsilon: float) -> Tensor:
    return values.clamp(-epsilon, epsilon)


def _unit(slope: Tensor) -> Tensor:
    size = _rms(slope)
    return slope / size if size else torch.zeros_like(slope)


NORMS: dict[str, Norm] = {
    "l2": Norm(name="l2", size=_rms, project=_onto_sphere, steepest=_unit),
    "linf": Norm(name="linf", size=_largest, project=_onto_cube, steepest=torch.sign),
}
