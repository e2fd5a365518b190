"""Owns noticing that a video shows every picture several times over, as 30 frames a second in 120 do.

    differences   0 0 0 5 0 0 0 6 0 0 0 5    four frames a picture
    differences   0 5 0 0 6 0 5 0 0 5 0 6    five frames for two pictures: film at 60 frames a second
    differences   0 5 6 0 5 7 0 6 5 0 5 6    three frames for two pictures: every third frame repeats

Only what repeats all along and in one rhythm counts. A picture that is held in moving content is a freeze to
whoever watches, and stays one; so does content that was drawn at an uneven rate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding.backend import FoundFrame
from securevqa_core.decoding.clock import NO_REPEATS, Rhythm

__all__ = ["RepeatWatch"]

# Frames a picture: multiples, film of 24 or 25 pictures a second in 60 or 120, and every third or fourth
# frame a repeated one. Rarer ones, as in film at 30 frames a second, are stumbles of real footage.
_RHYTHMS = tuple(map(Fraction, ("4/3", "3/2", "2", "12/5", "5/2", "3", "4", "24/5", "5", "6", "8", "10")))
_MAX_STEP = 4  # frames from one that was looked at to the next
_NUM_ROWS = 16  # of a picture that are compared
# A repeated frame is coded anew: it may differ from the last by this share of what the next picture does.
_LIKE = 0.25
_MIN_SHARE = 0.97  # of the frames that the rhythm calls repeated
_MIN_REPEATED = 0.2  # of the pairs that were compared are of one picture: fewer prove no rhythm
_MIN_CHANGES = 6  # that stand out,
_MIN_MOVING = 0.5  # of the changes that the rhythm asks for, and
_MIN_CHANGED = 0.6  # grey levels, their mean: less is how encoders refresh what does not move
# Of all differences, where any rhythm has a repeated picture, and where it has the next one: looked at first.
_QUANTILES = (0.2, 0.95)
# Of what was drawn at an uneven rate.
_MIN_UNEVEN_FPS = 40.0  # below, a picture that stays for a frame more is seen to
_UNEVEN_REACH = 8  # frames
_MAX_UNEVEN = 4  # frames that a picture stays; more is a picture that is held
_MIN_STAY = 1.4  # frames, on average
_MIN_CLEAR = 0.9  # of the frames are a repeated or another picture, and nothing between
_NOTHING = np.zeros((0, 0), dtype=np.uint8)


class RepeatWatch:
    """Compares each frame with the one before, as they come."""

    def __init__(self) -> None:
        self._number, self._luma = -1, _NOTHING
        self._pairs: list[tuple[int, int, float]] = []

    def add(self, number: int, picture: VideoFrame) -> None:
        """Look at frame `number`; others are best given in ascending order."""
        luma, before = _sparse_luma(picture), self._luma
        if 0 < number - self._number <= _MAX_STEP and before.shape == luma.shape:
            difference = np.maximum(before, luma) - np.minimum(before, luma)
            self._pairs.append((self._number, number, int(difference.sum(dtype=np.uint32)) / difference.size))
        self._number, self._luma = number, luma

    def watching(self, frames: Iterator[FoundFrame], wanted: Collection[int]) -> Iterator[FoundFrame]:
        """Yield frames as they are, looking at those of `wanted`."""
        for found in frames:
            if found.number in wanted:
                self.add(found.number, found.picture)
            yield found

    def rhythm(self, frames_per_second: float | None) -> Rhythm:
        """Return how many frames show one picture, all along; `NO_REPEATS` where they do not repeat."""
        rhythm = self._even()
        if rhythm == NO_REPEATS and frames_per_second is not None and frames_per_second >= _MIN_UNEVEN_FPS:
            return self._uneven()
        return rhythm

    def _uneven(self) -> Rhythm:
        """Return the mean number of frames a picture, of what was drawn at an uneven rate and made constant.

        At such rates nobody sees for how many frames a picture stays. One that stays for long is held.
        """
        pairs = [(place, difference) for place, after, difference in self._pairs if after == place + 1]
        if len(pairs) < 2 * _MIN_CHANGES:
            return NO_REPEATS
        places, differences = (np.array(column) for column in zip(*pairs, strict=True))
        near = np.abs(places[:, None] - places) <= _UNEVEN_REACH
        levels = np.where(near, differences, 0.0).max(axis=1)
        is_clear = (differences <= _LIKE / 2 * levels) | (differences >= 2 * _LIKE * levels)
        changed = places[(differences >= 2 * _LIKE * levels) & (levels >= _MIN_CHANGED)]
        stays = np.diff(changed)
        stays = stays[stays <= _MAX_UNEVEN]
        if is_clear.mean() < _MIN_CLEAR or len(stays) < _MIN_CHANGES or stays.mean() < _MIN_STAY:
            return NO_REPEATS
        return Rhythm(frames_per_picture=Fraction(float(stays.mean())).limit_denominator(100))

    def _even(self) -> Rhythm:
        if len(self._pairs) < _MIN_CHANGES:
            return NO_REPEATS
        before, after, differences = (np.array(column) for column in zip(*sorted(self._pairs), strict=True))
        low, high = np.quantile(differences, _QUANTILES)
        best, most = NO_REPEATS, 0.0
        if low > _LIKE * high:
            return best
        for size in _RHYTHMS:
            for phase in range(size.numerator):
                is_next = _picture(before + phase, size) != _picture(after + phase, size)
                share = _share_kept(before, differences, is_next, reach=int(2 * size) + _MAX_STEP)
                if share > most:  # of two rhythms the evidence cannot tell apart, the one that looks at more
                    best, most = Rhythm(frames_per_picture=size, phase=phase), share
        return best


def _picture(frames: NDArray[np.int64], size: Fraction) -> NDArray[np.int64]:
    pictures: NDArray[np.int64] = frames * size.denominator // size.numerator
    return pictures


def _share_kept(
    places: NDArray[np.int64],
    differences: NDArray[np.float64],
    is_next: NDArray[np.bool_],
    *,
    reach: int,
) -> float:
    """Return of how many of the changes that a rhythm asks for there is one; 0 where there are others.

    Args:
        places: (k,) numbers of the frames that were compared with a later one, ascending.
        differences: (k,) grey levels.
        is_next: (k,) the rhythm has another picture there.
        reach: frames within which a difference is held against that to the next picture.
    """
    repeated = np.flatnonzero(~is_next)
    if len(repeated) < _MIN_REPEATED * len(places) or not is_next.any():
        return 0.0
    changes = differences[is_next]
    levels = _highest_near(places[repeated], places[is_next], changes, reach=reach)
    alike = differences[repeated] <= _LIKE * levels
    is_still = np.maximum(differences[repeated], levels) < _LIKE * _MIN_CHANGED
    if (alike | is_still).mean() < _MIN_SHARE:
        return 0.0
    noise = _highest_near(places[is_next], places[repeated], differences[repeated], reach=reach)
    standing = changes[(changes * _LIKE >= noise) & (changes > 0)]
    if len(standing) < max(_MIN_CHANGES, _MIN_MOVING * len(changes)) or standing.mean() < _MIN_CHANGED:
        return 0.0
    return len(standing) / len(changes)


def _highest_near(
    places: NDArray[np.int64], others: NDArray[np.int64], values: NDArray[np.float64], *, reach: int
) -> NDArray[np.float64]:
    """Return, (k,), the highest of `values` within `reach` of each of `places`; 0 where there is none.

    Args:
        places: (k,).
        others: (m,) where `values` lie, ascending.
        values: (m,), none below 0.
        reach: frames.
    """
    first = np.searchsorted(others, places - reach)
    end = np.searchsorted(others, places + reach, side="right")
    highest = np.maximum.reduceat(np.append(values, 0.0), np.stack([first, end], axis=-1).ravel())[::2]
    return np.where(first < end, highest, 0.0)


def _sparse_luma(picture: VideoFrame) -> NDArray[np.uint8]:
    """Return some rows of the first plane, (rows, columns), 0..255; of packed or deep pictures, parts."""
    plane = picture.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(cast(Any, plane), dtype=np.uint8).reshape(
        plane.height, plane.line_size
    )
    sparse = rows[:: max(1, plane.height // _NUM_ROWS), : plane.width].copy()
    excess = picture.format.components[0].bits - 8
    if excess <= 0:
        return sparse
    return (sparse[:, : plane.width // 2 * 2].view("<u2") >> excess).astype(np.uint8)
