"""Owns what a rendition tells of an upload's score: whether it looks attacked, and how high it may be.

    score of the upload - score of its rendition = drop --beside those of clean videos--> suspicion
    score of its rendition + a drop that few clean videos exceed = cap of the upload's score

What an attack puts into pixels is mostly lost in an encoder, and with it what the score gained; a clean video
loses little. How much is usual is fitted to clean videos, and belongs to the weights: their card keeps it. It
is looked up by the rendition's score, which an attacker moves least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from securevqa_core.errors import CheckpointError, ConfigurationError, DecodeError, UndefinedError
from securevqa_core.rendition import Rendition
from securevqa_core.types import require_range

__all__ = [
    "CARD_KEY",
    "MIN_CLEAN",
    "NOT_ASKED",
    "CleanDrops",
    "Noticed",
    "card_note",
    "clean_drops",
    "compared_rendition",
    "fit_clean_drops",
    "no_rendition",
]

CARD_KEY = "suspicion"  # of a card: the text of a rendition -> the fields of `CleanDrops`
MIN_CLEAN = 100  # videos: of fewer nothing can be told that one in a hundred is
_PER_BIN = 50  # videos with renditions of like scores, of which the usual drop and its spread are taken
_MAX_BINS = 8
_LEAST_SPREAD = 0.25  # points
# Of clean videos, that fall further than a limit; as far as there are videos to tell.
_SHARES = (0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_SHOWN_SHARE = 0.01
_HELD_SHARE = 0.1  # of clean videos, whose scores a cap lowers


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """What a rendition tells of an upload."""

    suspicion: float | None  # 0..1; None: there is no rendition to tell it
    suspicion_reasons: tuple[str, ...] | None  # in words; None: nobody asked
    rendition_score: float | None  # 0..100
    upload_score: float | None = None  # 0..100, before a cap; None: nobody asked for one


NOT_ASKED = Noticed(suspicion=None, suspicion_reasons=None, rendition_score=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanDrops:
    """How far scores of clean videos fall when these are encoded, by the score that is left.

    Raises:
        ConfigurationError: the numbers are not finite, of different lengths or out of order.
    """

    rendition: str
    num_draws: int  # that scores were the mean of
    num_videos: int
    rendition_scores: tuple[float, ...]  # ascending; between two of them what is usual changes evenly
    usual: tuple[float, ...]  # points that half of the clean videos with such a rendition fall by, or more
    spread: tuple[float, ...]  # points, > 0: from the usual drop to what a sixth of them exceed
    shares: tuple[float, ...]  # descending, of clean videos
    limits: tuple[float, ...]  # ascending, spreads above the usual drop: what each share exceeds

    def __post_init__(self) -> None:
        Rendition.parse(self.rendition, name="rendition")
        require_range("num_draws", self.num_draws, low=1, high=1 << 20)
        require_range("num_videos", self.num_videos, low=1, high=1 << 50)
        for names in (("rendition_scores", "usual", "spread"), ("shares", "limits")):
            columns = [getattr(self, name) for name in names]
            if not columns[0] or len({len(one) for one in columns}) != 1:
                lengths = [len(one) for one in columns]
                raise ConfigurationError(f"{', '.join(names)} must be of one length, got {lengths}")
            for name, values in zip(names, columns, strict=True):
                if not all(math.isfinite(one) for one in values):
                    raise ConfigurationError(f"{name} must be finite, got {values}")
        for name, sign in (("rendition_scores", 1), ("shares", -1), ("limits", 1)):
            values = getattr(self, name)
            if any(sign * (after - before) < 0 for before, after in pairwise(values)):
                raise ConfigurationError(f"{name} must be in order, got {values}")
        if min(self.spread) <= 0 or not 0 < self.shares[-1] <= self.shares[0] < 1:
            raise ConfigurationError(
                f"spread must be > 0 and shares in 0..1, exclusive, got {self.spread} and {self.shares}"
            )

    def limit(self, rendition_score: float, share: float = _SHOWN_SHARE) -> float:
        """Return by how many points no more than `share` of clean videos fall, to such a rendition."""
        usual, spread = self._at(rendition_score)
        return usual + spread * float(np.interp(-share, [-one for one in self.shares], self.limits))

    def cap(self, rendition_score: float) -> float:
        """Return what nine in ten clean videos with a rendition of this score do not exceed, 0..100."""
        return min(max(rendition_score + self.limit(rendition_score, _HELD_SHARE), 0.0), 100.0)

    def judged(self, score: float, rendition_score: float, *, caps: bool = False) -> Noticed:
        """Return the suspicion that an upload of this score is attacked, and why.

        Args:
            score: of the upload, 0..100.
            rendition_score: of its rendition, with the same draws.
            caps: whether its score is held to `cap`.

        Returns:
            A suspicion of 1 less the share of clean videos that fall as far, which rises with the drop, and
            is never closer to 0 or 1 than the clean videos can tell.
        """
        drop = score - rendition_score
        usual, spread = self._at(rendition_score)
        share = float(np.interp((drop - usual) / spread, self.limits, self.shares))
        moved = f"falls by {drop:.1f}" if drop >= 0 else f"rises by {-drop:.1f}"
        reasons = [
            f"{moved} points when it is encoded as {self.rendition}; of clean videos with such a rendition "
            f"1 in 100 falls by more than {self.limit(rendition_score):.1f}"
        ]
        if caps and score > (cap := self.cap(rendition_score)):
            reasons.append(
                f"scores {score:.1f} and is held to {cap:.1f}, which 1 in 10 clean videos with such a "
                "rendition exceeds"
            )
        return Noticed(
            suspicion=1 - share,
            suspicion_reasons=tuple(reasons),
            rendition_score=rendition_score,
            upload_score=score if caps else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return {name: list(one) if isinstance(one, tuple) else one for name, one in asdict(self).items()}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> CleanDrops:
        """Return what `as_dict` wrote.

        Raises:
            ConfigurationError: a field is missing, unknown, or not what it has to be.
        """
        names = {one.name for one in fields(cls)}
        if given.keys() != names:
            raise ConfigurationError(f"fields must be {', '.join(sorted(names))}, got {sorted(given)}")
        try:
            values: dict[str, Any] = {
                name: tuple(map(float, value)) if isinstance(value, list) else value
                for name, value in given.items()
            }
            return cls(**values)
        except ConfigurationError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"fields must be numbers and lists of them: {error}") from error

    def _at(self, rendition_score: float) -> tuple[float, float]:
        """Return the usual drop and its spread."""
        usual, spread = (
            float(np.interp(rendition_score, self.rendition_scores, values))
            for values in (self.usual, self.spread)
        )
        return usual, spread


def fit_clean_drops(
    scores: ArrayLike, drops: ArrayLike, *, rendition: Rendition, num_draws: int
) -> CleanDrops:
    """Fit how far scores of clean videos fall.

    A share of (k + 1) / (n + 1) falls further than the value that k of n clean videos exceed: whoever is like
    them is beyond the limit of a share at most so often.

    Args:
        scores: (n,) of clean videos, 0..100.
        drops: (n,) points by which those of their renditions are lower.
        rendition: how those are encoded.
        num_draws: that each score is the mean of.

    Raises:
        UndefinedError: there are fewer than `MIN_CLEAN`, or one is not finite.
    """
    of_uploads, falls = (np.asarray(one, dtype=np.float64).ravel() for one in (scores, drops))
    if len(of_uploads) != len(falls) or len(falls) < MIN_CLEAN:
        raise UndefinedError(f"suspicion needs at least {MIN_CLEAN} clean videos, got {len(of_uploads)}")
    if not np.isfinite(of_uploads + falls).all():
        raise UndefinedError(f"scores and drops must be finite, got {(of_uploads + falls).sum()}")
    at = of_uploads - falls
    order = np.argsort(at, kind="stable")
    bins = np.array_split(order, min(_MAX_BINS, len(at) // _PER_BIN))
    centres = [float(np.median(at[one])) for one in bins]
    usual = [float(np.median(falls[one])) for one in bins]
    spread = [
        max(float(np.quantile(falls[one], 5 / 6)) - middle, _LEAST_SPREAD)
        for one, middle in zip(bins, usual, strict=True)
    ]
    excess = np.sort((falls - np.interp(at, centres, usual)) / np.interp(at, centres, spread))[::-1]
    counts = [int(share * (len(at) + 1)) for share in _SHARES]
    counts = [*(one for one in counts if one > 1), 1]
    return CleanDrops(
        rendition=str(rendition),
        num_draws=num_draws,
        num_videos=len(at),
        rendition_scores=tuple(centres),
        usual=tuple(usual),
        spread=tuple(spread),
        shares=tuple(one / (len(at) + 1) for one in counts),
        limits=tuple(float(excess[one - 1]) for one in counts),
    )


def card_note(card: Mapping[str, object], clean: CleanDrops) -> dict[str, object]:
    """Return what a card has to hold for `clean_drops` to find these, besides those of other renditions."""
    others = card.get(CARD_KEY)
    return {CARD_KEY: (others if isinstance(others, dict) else {}) | {clean.rendition: clean.as_dict()}}


def clean_drops(
    card: Mapping[str, object], rendition: Rendition, *, num_draws: int | None, name: str, use: str = "notice"
) -> CleanDrops:
    """Return what a card knows of clean videos in a rendition.

    Args:
        card: of a checkpoint.
        rendition: that uploads are compared with.
        num_draws: of the scores that will be judged; None: any.
        name: what messages call the checkpoint.
        use: what messages say that it is for, `notice` or `cap`.

    Raises:
        CheckpointError: what it knows is not valid.
        ConfigurationError: it knows none, or there are fewer draws than the clean videos had: their scores
            would scatter more.
    """
    known = card.get(CARD_KEY)
    found = known.get(str(rendition)) if isinstance(known, dict) else None
    if not isinstance(found, dict):
        others = f"only of {', '.join(known)}" if isinstance(known, dict) and known else "of none"
        raise ConfigurationError(
            f"{use} needs a checkpoint that was fitted to it: {name} does not know how far clean videos "
            f"fall as {rendition}, {others}; `securevqa weights suspicion` fits it to some"
        )
    try:
        clean = CleanDrops.from_dict(found)
    except ConfigurationError as error:
        raise CheckpointError(
            f"{name} has a suspicion that is not valid: {error}; `securevqa weights suspicion` fits it anew"
        ) from error
    if num_draws is not None and num_draws < clean.num_draws:
        raise ConfigurationError(
            f"{use} needs at least {clean.num_draws} draws, as {name} was fitted with, got {num_draws}"
        )
    return clean


def no_rendition(error: DecodeError) -> Noticed:
    """Return what is known where no rendition could be made."""
    reason = f"there is no rendition to compare with, {error.code}: {error}"
    return Noticed(suspicion=None, suspicion_reasons=(reason,), rendition_score=None)


def compared_rendition(*, notice: str | None, cap: str | None, as_delivered: str | None) -> Rendition | None:
    """Return what an upload is compared with, or None; of three uses of a rendition at most one is asked for.

    Raises:
        ConfigurationError: two of them were, or what was is no rendition.
    """
    given = {"notice": notice, "cap": cap, "as_delivered": as_delivered}
    asked = {name: text for name, text in given.items() if text is not None}
    if len(asked) > 1:
        (first, one), (second, other), *_ = asked.items()
        raise ConfigurationError(
            f"{first} and {second} exclude each other, as one rendition is compared with the upload or "
            f"judged in its place, and a cap notices too, got {one!r} and {other!r}"
        )
    asked.pop("as_delivered", None)
    return next((Rendition.parse(text, name=name) for name, text in asked.items()), None)
