"""Owns what every attack is given, what it may spend, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.attacks.differentiable import FrameScorer, VideoDraw, fresh_draws
from securevqa_core.attacks.norms import Norm, norm_named
from securevqa_core.errors import ConfigurationError
from securevqa_core.types import require_range

__all__ = ["ATTACKS", "Attack", "AttackConfig", "AttackName", "Attacked", "Direction", "Victim"]

AttackName = Literal["pgd", "apgd", "square", "nes", "sharpen", "contrast", "noise"]
Direction = Literal["inflate", "deflate"]
ATTACKS: tuple[AttackName, ...] = get_args(AttackName)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackConfig:
    """How hard an attacker tries.

    Raises:
        ConfigurationError: a field is out of range.
    """

    attack: AttackName = "pgd"
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 3.0  # 8-bit levels; of L2, root mean square over values
    direction: Direction = "inflate"
    steps: int = 10  # of PGD and APGD
    eot_draws: int = 1  # k: draws a gradient is averaged over
    queries: int = 100  # scores a black box may ask for
    repeats: int = 1  # queries an estimate of a black box is averaged over

    def __post_init__(self) -> None:
        for name, kind in (("attack", AttackName), ("direction", Direction)):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ConfigurationError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        norm_named(self.norm)
        require_range("epsilon", self.epsilon, low=0, high=255)
        require_range("steps", self.steps, low=1, high=10_000)
        require_range("eot_draws", self.eot_draws, low=1, high=1024)
        require_range("queries", self.queries, low=0, high=1_000_000)
        require_range("repeats", self.repeats, low=1, high=1024)

    @property
    def sign(self) -> int:
        """1 to raise the score, -1 to lower it."""
        return 1 if self.direction == "inflate" else -1


class Victim:
    """A scorer as an attacker meets it: with draws that are known, or with fresh ones each time; it counts.

    Args:
        scorer: the whole way from frames to raw scores.
        known_draws: those that the attacked video will be scored with; None: each answer takes fresh ones, as
            a file whose bytes have changed does.
        num_draws: draws that the victim averages for one answer where they are not known.
        rng: where fresh draws come from.
    """

    def __init__(
        self,
        scorer: FrameScorer,
        *,
        known_draws: Sequence[VideoDraw] | None,
        num_draws: int,
        rng: np.random.Generator,
    ) -> None:
        require_range("num_draws", num_draws, low=1, high=1024)
        self.scorer = scorer
        self.known_draws = None if known_draws is None else tuple(known_draws)
        self.num_draws = num_draws
        self.num_gradients = 0  # backward passes, one a draw
        self.num_queries = 0  # scores asked for
        self._rng = rng

    @property
    def is_random(self) -> bool:
        """Whether the same frames may get another answer."""
        return self.known_draws is None

    def gradient(self, frames: Tensor, *, eot_draws: int) -> tuple[float, Tensor]:
        """Return the mean raw score and its gradient over known draws, or over `eot_draws` fresh ones."""
        draws = fresh_draws(self._rng, eot_draws) if self.known_draws is None else self.known_draws
        self.num_gradients += len(draws)
        return self.scorer.gradient(frames, draws)

    def query(self, frames: Tensor) -> float:
        """Return the raw score of frames, rounded to 8 bits as an upload is."""
        draws = fresh_draws(self._rng, self.num_draws) if self.known_draws is None else self.known_draws
        self.num_queries += 1
        return float(self.scorer.measure(eight_bit(frames), draws).mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """An attacked video and what it cost."""

    frames: NDArray[np.uint8]  # (t, h, w, 3)
    num_gradients: int
    num_queries: int
    trace: list[float]  # raw scores as the attacker saw them, step after step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attack:
    """What the loops share: the video, the ball around it and the arithmetic of staying inside."""

    clean: Tensor  # (t, h, w, 3) float, whole levels
    victim: Victim
    config: AttackConfig
    rng: torch.Generator

    @property
    def norm(self) -> Norm:
        """The norm of the ball."""
        return norm_named(self.config.norm)

    def inside(self, perturbation: Tensor) -> Tensor:
        """Return the nearest perturbation in the ball that keeps every value in 0..255."""
        bounded = self.norm.project(perturbation, self.config.epsilon)
        return (self.clean + bounded).clamp(0, 255) - self.clean

    def finished(self, perturbation: Tensor, trace: list[float]) -> Attacked:
        """Return the attack's result, rounded to 8 bits, still inside the ball."""
        whole = self.norm.whole_levels(self.inside(perturbation), self.config.epsilon)
        return Attacked(
            frames=eight_bit(self.clean + whole),
            num_gradients=self.victim.num_gradients,
            num_queries=self.victim.num_queries,
            trace=trace,
        )


Loop = Callable[[Attack], tuple[Tensor, list[float]]]


def eight_bit(frames: Tensor) -> NDArray[np.uint8]:
    """Return frames as a file holds them."""
    return frames.detach().round().clamp(0, 255).to(torch.uint8).cpu().numpy()
