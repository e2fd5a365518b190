"""Owns what every attack is given, what it may spend, and what it returns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.attacks.names import ATTACKS, AttackName, Direction
from securevqa_core.attacks.norms import Norm, norm_named
from securevqa_core.decoding.glances import glances_of
from securevqa_core.errors import ConfigurationError, did_you_mean
from securevqa_core.fingerprints import TURNS, are_near, fingerprint, words
from securevqa_core.randomness import Key, VideoDraw, fresh_draws, keyed_draws
from securevqa_core.types import require_range

__all__ = [
    "ATTACKS",
    "Attack",
    "AttackConfig",
    "AttackName",
    "Attacked",
    "Direction",
    "Loop",
    "Victim",
    "eight_bit",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackConfig:
    """How hard an attacker tries.

    Raises:
        ConfigurationError: a field is out of range.
    """

    attack: AttackName = "pgd"
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 3.0  # 8-bit levels; of L2, root mean square over values
    direction: Direction = "inflate"  # boundary: to a score that is given for each video
    steps: int = 10  # of gradients
    eot_draws: int = 1  # k: draws a gradient is averaged over
    queries: int = 100  # scores a black box may ask for
    repeats: int = 1  # queries an estimate of a black box is averaged over
    remeasures: bool = (
        True  # whether what is kept is measured anew beside each rival, where answers are random
    )
    patch_share: float = 0.05  # of the area of a frame that `patch` may change
    held_from: int = 0  # the upload of nearly one video that first gets no answer; 0: all get one

    def __post_init__(self) -> None:
        for name, kind in (("attack", AttackName), ("direction", Direction)):
            if getattr(self, name) not in get_args(kind):
                got, known = str(getattr(self, name)), get_args(kind)
                hint = did_you_mean(got, known)
                raise ConfigurationError(f"{name} must be one of {', '.join(known)}, got {got!r}{hint}")
        norm_named(self.norm)
        require_range("epsilon", self.epsilon, low=0, high=255)
        require_range("steps", self.steps, low=1, high=10_000)
        require_range("eot_draws", self.eot_draws, low=1, high=1024)
        require_range("queries", self.queries, low=0, high=1_000_000)
        require_range("repeats", self.repeats, low=1, high=1024)
        require_range("patch_share", self.patch_share, low=0.001, high=1)
        require_range("held_from", self.held_from, low=0, high=1_000_000)


class Victim:
    """A scorer as an attacker meets it; it counts.

    Its draws are known, or follow from a file's content under a secret key as in scoring, or are fresh ones
    for each answer.

    Args:
        scorer: the whole way from frames to raw scores.
        known_draws: those that the attacked video will be scored with; None: they are not known.
        num_draws: draws that the victim pools for one answer where they are not known.
        rng: where fresh draws come from.
        key: the victim's secret, from which the same frames get the same draws again; None: fresh draws.
        held_from: an upload with so many near copies, itself and other bytes before it, is held; 0: none is.
    """

    def __init__(
        self,
        scorer: FrameScorer,
        *,
        known_draws: Sequence[VideoDraw] | None,
        num_draws: int,
        rng: np.random.Generator,
        key: Key | None = None,
        held_from: int = 0,
    ) -> None:
        require_range("num_draws", num_draws, low=1, high=1024)
        self.scorer = scorer
        self.known_draws = None if known_draws is None else tuple(known_draws)
        self.num_draws = num_draws
        self.num_gradients = 0  # backward passes, one a draw
        self.num_queries = 0  # scores asked for
        self._rng = rng
        self._key = key
        self._held_from = held_from
        self._prints: list[str] = []  # fingerprints of uploads
        self._uploads: dict[str, int] = {}  # by content, what `_num_copies` said of it

    @property
    def has_random_gradients(self) -> bool:
        """Whether the gradient at the same frames may be another one."""
        return self.known_draws is None and self.scorer.is_random

    @property
    def has_random_answers(self) -> bool:
        """Whether the same frames may get another score."""
        return self.has_random_gradients and self._key is None

    def draws_of(self, frames: NDArray[np.uint8]) -> tuple[VideoDraw, ...]:
        """Return the draws that a file of these frames is scored with."""
        if self.known_draws is not None:
            return self.known_draws
        if self._key is not None:
            return keyed_draws(self._key, hashlib.sha256(frames.tobytes()).hexdigest(), self.num_draws)
        return fresh_draws(self._rng, self.num_draws)

    def gradient(self, frames: Tensor, *, eot_draws: int) -> tuple[float, Tensor]:
        """Return the mean raw score and its gradient over known draws, or over `eot_draws` fresh ones."""
        draws = fresh_draws(self._rng, eot_draws) if self.known_draws is None else self.known_draws
        self.num_gradients += len(draws)
        return self.scorer.gradient(frames, draws)

    def query(self, frames: Tensor) -> float:
        """Return the raw score of frames, rounded to 8 bits as an upload is; NaN where the upload is held."""
        pixels = eight_bit(frames)
        self.num_queries += 1
        if self._held_from and self._num_copies(pixels) >= self._held_from:
            return math.nan
        return self.scorer.pool(self.scorer.measure(pixels, self.draws_of(pixels)).mean(axis=1))

    def _num_copies(self, pixels: NDArray[np.uint8]) -> int:
        """Return how many uploads of other bytes were near copies of this one, and one for itself."""
        content = hashlib.sha256(pixels.tobytes()).hexdigest()
        if content not in self._uploads:
            own, earlier = fingerprint(glances_of(pixels)), words(self._prints)
            count = 0
            if own is not None:
                near = np.any([are_near(earlier ^ turn, words([own])) for turn in TURNS], axis=0)
                self._prints.append(own)
                count = 1 + int(near.sum())
            self._uploads[content] = count
        return self._uploads[content]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """An attacked video and what it cost."""

    frames: NDArray[np.uint8]  # (t, h, w, 3); edits in time may change t
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
    goal: float | None = None  # the raw score that is wanted, of direction boundary
    tile: Tensor | None = None  # (side, side, 3), of the universal perturbation
    mask: Tensor | None = None  # 1 where values may change, of the shape of a frame; None: everywhere

    def gain(self, score: float) -> float:
        """Return what the attacker wants most of."""
        if self.goal is not None:
            return -abs(score - self.goal)
        return score if self.config.direction == "inflate" else -score

    def sign_at(self, score: float) -> int:
        """Return 1 where the attacker wants more than `score`, -1 where less."""
        wants_more = self.config.direction == "inflate" if self.goal is None else score < self.goal
        return 1 if wants_more else -1

    @property
    def norm(self) -> Norm:
        """The norm of the ball."""
        return norm_named(self.config.norm)

    def inside(self, perturbation: Tensor) -> Tensor:
        """Return the nearest perturbation in the ball that keeps every value in 0..255."""
        allowed = perturbation if self.mask is None else perturbation * self.mask
        bounded = self.norm.project(allowed, self.config.epsilon)
        return (self.clean + bounded).clamp_(0, 255).sub_(self.clean)

    def finished(self, perturbation: Tensor, trace: list[float]) -> Attacked:
        """Return the attack's result, rounded to 8 bits, still inside the ball."""
        whole = self.norm.whole_levels(self.inside(perturbation), self.config.epsilon)
        return self.counted(self.clean + whole, trace)

    def counted(self, frames: Tensor, trace: list[float]) -> Attacked:
        """Return frames of whole levels with what was spent on them."""
        return Attacked(
            frames=eight_bit(frames),
            num_gradients=self.victim.num_gradients,
            num_queries=self.victim.num_queries,
            trace=trace,
        )


Loop = Callable[[Attack], tuple[Tensor, list[float]]]


def eight_bit(frames: Tensor) -> NDArray[np.uint8]:
    """Return frames as a file holds them."""
    return frames.detach().round().clamp_(0, 255).to(torch.uint8).cpu().numpy()
