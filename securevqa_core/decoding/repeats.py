"""Owns noticing that a video shows every picture several times over, as 30 frames a second in 120 do.

    differences   0 0 0 5 0 0 0 6 0 0 0 5    four frames a picture
    differences   0 5 0 0 6 0 5 0 0 5 0 6    five frames for two pictures: film at 60 frames a second
    differences   0 5 6 0 5 7 0 6 5 0 5 6    three frames for two pictures: every third frame repeats
    differences   6 5 0 7 6 6 5 0 0 6 5 7    in no rhythm: each repeated frame is looked for

Frames of one picture are one picture, for as long as they stay together: the clock says whether it is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding.backend import FoundFrame
from securevqa_core.decoding.clock import NO_REPEATS, Clock, Rhythm

__all__ = ["Pictures", "RepeatWatch", "frames_around", "look_closer"]

# Frames a picture: multiples, film of 24 or 25 pictures a second in 60 or 120, and every third or fourth
# frame a repeated one. Rarer ones, as in film at 30 frames a second, are looked for frame by frame.
_RHYTHMS = tuple(map(Fraction, ("4/3", "3/2", "2", "12/5", "5/2", "3", "4", "24/5", "5", "6", "8", "10")))
_MAX_STEP = 4  # frames from one that was looked at to the next
_NUM_ROWS = 16  # of a picture that are compared
# A repeated frame is coded anew: it may differ from the last by this share of what the next picture does.
_LIKE = 0.25
_LIKE_IN_MEAN = 0.4  # the same of all frames together that a rhythm calls repeated
_MIN_REPEATED = 0.2  # of the pairs that were compared are of one picture: fewer prove no rhythm
_MIN_CHANGES = 6  # that stand out
# Changes where a rhythm has none, and those that do not come, / those that it asks for: more prove another.
_MAX_MISPLACED = 0.15
_STILL = 0.15  # grey levels, of differences: where there are no larger ones, nothing speaks for or against
# Of all differences, where any rhythm has a repeated picture, and where it has the next one: looked at first.
_QUANTILES = (0.2, 0.95)
# Of what repeats in no rhythm.
_MAX_STAY_SECONDS = 2 / 15  # within which another picture has to come, or nothing moves
_MIN_REACH = 4  # frames to either side, among which another picture has to come
_MIN_MOVING_LEVEL = 0.3  # grey levels
_MIN_REPEATS, _MIN_SHARE_REPEATED = 5, 0.04  # of the pairs in moving content: fewer are stumbles, or chance
_OF_PEAK, _PEAK_PIXELS = 0.5, 16  # of a row, that a place is as wide as
_LIKE_KNOWN = 0.35  # as `_LIKE`, of a file of which it is known that it repeats
_MIN_MARGIN = 8  # frames that are looked at around one that is wanted
_NOTHING = np.zeros((0, 0), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """What a rhythm has to show."""

    like: float  # as `_LIKE`
    min_share: float  # of the frames that the rhythm calls repeated are alike
    min_moving: float  # of the changes that the rhythm asks for stand out
    min_changed: float  # grey levels, their mean: less is how encoders refresh what does not move


_PROOF = _Proof(like=_LIKE, min_share=0.97, min_moving=0.5, min_changed=0.6)
# Where half of all frames repeat, or more, so many lie where they should that encoders may change each by
# more, as they do at low bit rates.
_PROOF_OF_HALF = _Proof(like=0.5, min_share=0.9, min_moving=0.4, min_changed=0.4)

Pictures = Callable[[Clock], Clock]  # -> the clock whose moments are pictures, however many frames show each


class RepeatWatch:
    """Compares each frame with the one before, as they come."""

    def __init__(self, num_frames: int) -> None:
        self._num_frames = num_frames  # of the video
        self._number, self._luma = -1, _NOTHING
        self._pairs: list[tuple[int, int, float, float]] = []  # of frames: by how much they differ, at most

    def add(self, number: int, picture: VideoFrame) -> None:
        """Look at frame `number`; others are best given in ascending order."""
        luma, before = _sparse_luma(picture), self._luma
        if 0 < number - self._number <= _MAX_STEP and before.shape == luma.shape:
            difference = np.maximum(before, luma) - np.minimum(before, luma)
            mean = int(difference.sum(dtype=np.uint32)) / difference.size
            self._pairs.append((self._number, number, mean, _peak(difference)))
        self._number, self._luma = number, luma

    def watching(self, frames: Iterator[FoundFrame], wanted: Collection[int]) -> Iterator[FoundFrame]:
        """Yield frames as they are, looking at those of `wanted`."""
        for found in frames:
            if found.number in wanted:
                self.add(found.number, found.picture)
            yield found

    def rhythm(self, frames_per_second: float | None) -> Rhythm:
        """Return how many frames show one picture, all along; `NO_REPEATS` where they do not repeat.

        One without a phase is to be proved by `uneven`, of more frames.
        """
        rhythm = self._even()
        return self.uneven(frames_per_second, is_proof=False) if rhythm == NO_REPEATS else rhythm

    def repeated(self, frames_per_second: float | None) -> NDArray[np.int64]:
        """Return the frames, (k,) ascending, that show the picture before them once more."""
        places, shares, _ = self._shares(frames_per_second, is_partial=False)
        repeated: NDArray[np.int64] = places[shares <= _LIKE_KNOWN] + 1
        return repeated

    def uneven(self, frames_per_second: float | None, *, is_proof: bool = True) -> Rhythm:
        """Return the mean number of frames a picture, where many are repeated in no rhythm.

        Motion that falters has as many differences between the two kinds as small ones.

        Args:
            frames_per_second: of the file.
            is_proof: no side of a frame that was not looked at speaks for it, however far it goes.
        """
        is_partial = is_proof or _max_stay(frames_per_second) <= _MIN_MARGIN
        _, shares, moves = self._shares(frames_per_second, is_partial=is_partial)
        shares = shares[moves]
        num_repeated = int((shares <= _LIKE).sum())
        num_unclear = int((shares <= 2 * _LIKE).sum()) - num_repeated
        is_some = num_repeated >= max(_MIN_REPEATS, _MIN_SHARE_REPEATED * len(shares), num_unclear)
        if not is_some or num_repeated == len(shares):  # then none of the changes lies in moving content
            return NO_REPEATS
        return Rhythm(frames_per_picture=Fraction(len(shares), len(shares) - num_repeated))

    def _shares(
        self, frames_per_second: float | None, *, is_partial: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return the frames, (k,) ascending, by how much the next one differs, and whether they move.

        It differs by a share, (k,), of what others near differ by: of the most to one side, or to the other
        where it is less, so that neither a cut nor a picture that is held sets it. Where what moves is small,
        as lips before a still room, half the share of the place that differs most counts, if it is more.
        """
        pairs = sorted(pair for pair in self._pairs if pair[1] == pair[0] + 1)
        max_stay = _max_stay(frames_per_second)
        if not pairs or max_stay < 2:
            return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.bool_)
        places, _, differences, peaks = (np.array(column) for column in zip(*pairs, strict=True))
        reach = max(_MIN_REACH, max_stay)
        is_known = self._are_sides_known(places, reach, is_partial=is_partial)
        levels, highest = (_of_sides(places, values, is_known, reach) for values in (differences, peaks))
        moves = levels >= _MIN_MOVING_LEVEL
        shares = np.where(differences < _MIN_MOVING_LEVEL, 0.0, np.inf)  # in what stands still
        shares[moves] = np.maximum(
            differences[moves] / levels[moves], _OF_PEAK * peaks[moves] / highest[moves]
        )
        return places, shares, moves

    def _are_sides_known(
        self, places: NDArray[np.int64], reach: int, *, is_partial: bool
    ) -> NDArray[np.bool_]:
        """Tell, (2, k), which sides of frames count: those that do not go beyond the video.

        Args:
            places: (k,) ascending.
            reach: frames to either side.
            is_partial: those count too of which not all was looked at; they then speak against repeats.
                At high rates windows of frames have no others.
        """
        sides = []
        for first, last in ((-reach, -1), (1, reach)):
            ends = (places + first >= 0) & (places + last < self._num_frames - 1)
            begin = np.searchsorted(places, places + first)
            num_seen = np.searchsorted(places, places + last, side="right") - begin
            sides.append(ends if is_partial else ends & (num_seen == reach))
        return np.stack(sides)

    def _even(self) -> Rhythm:
        if len(self._pairs) < _MIN_CHANGES:
            return NO_REPEATS
        columns = zip(*sorted(self._pairs), strict=True)
        before, after, differences, peaks = (np.array(column) for column in columns)
        low, high = np.quantile(differences, _QUANTILES)
        best, most = NO_REPEATS, 0.0
        if low > _PROOF_OF_HALF.like * high:
            return best
        for size in _RHYTHMS:
            proof = _PROOF if size < 2 else _PROOF_OF_HALF
            for phase in range(size.numerator):
                is_next = _picture(before + phase, size) != _picture(after + phase, size)
                reach = int(2 * size) + _MAX_STEP
                share = _share_kept(before, differences, peaks, is_next, reach=reach, proof=proof)
                # Of two rhythms the evidence cannot tell apart, the one that looks at more.
                if share > most and not self._are_missing(before, differences, is_next, reach):
                    best, most = Rhythm(frames_per_picture=size, phase=phase), share
        return best

    def _are_missing(
        self,
        places: NDArray[np.int64],
        differences: NDArray[np.float64],
        is_next: NDArray[np.bool_],
        reach: int,
    ) -> bool:
        """Tell whether changes that a rhythm asks for do not come where all around them moves.

        Args:
            places: (k,) as for `_share_kept`.
            differences: likewise.
            is_next: likewise.
            reach: likewise.
        """
        is_known = self._are_sides_known(places, reach, is_partial=False)
        around = _of_sides(places, differences, is_known, reach)[is_next]
        is_missing = (around >= _MIN_MOVING_LEVEL) & (differences[is_next] <= _LIKE * around)
        return bool(is_missing.sum() > _MAX_MISPLACED * len(is_missing))


def frames_around(frames: NDArray[np.int64], clock: Clock) -> NDArray[np.int64]:
    """Return frames, (k,) ascending, with those around them and between those that are near one another."""
    margin = max(_MIN_MARGIN, 1 + 2 * _max_stay(clock.num_moments / clock.seconds if clock.seconds else None))
    gaps = np.flatnonzero(np.diff(frames) > 2 * margin)
    firsts, lasts = frames[np.append(0, gaps + 1)] - margin, frames[np.append(gaps, -1)] + margin
    stretches = [np.arange(first, last + 1) for first, last in zip(firsts, lasts, strict=True)]
    around = np.unique(np.concatenate(stretches))
    return around[(around >= 0) & (around < clock.num_frames)]


def look_closer(
    found: Iterator[FoundFrame],
    looked_at: NDArray[np.int64],
    *,
    num_frames: int,
    frames_per_second: float | None,
) -> Pictures | None:
    """Return what makes a clock one whose moments are pictures, where they repeat in no rhythm; else None.

    Args:
        found: the frames that are looked at.
        looked_at: (k,) their numbers, ascending.
        num_frames: of the video.
        frames_per_second: of the file.
    """
    watch = RepeatWatch(num_frames)
    for frame in found:
        watch.add(frame.number, frame.picture)
    if watch.uneven(frames_per_second) == NO_REPEATS:
        return None
    repeated = watch.repeated(frames_per_second)
    return lambda clock: clock.without_repeats(looked_at, repeated)


def _picture(frames: NDArray[np.int64], size: Fraction) -> NDArray[np.int64]:
    pictures: NDArray[np.int64] = frames * size.denominator // size.numerator
    return pictures


def _share_kept(
    places: NDArray[np.int64],
    differences: NDArray[np.float64],
    peaks: NDArray[np.float64],
    is_next: NDArray[np.bool_],
    *,
    reach: int,
    proof: _Proof,
) -> float:
    """Return of how many of the changes that a rhythm asks for there is one; 0 where there are others.

    Args:
        places: (k,) numbers of the frames that were compared with a later one, ascending.
        differences: (k,) grey levels.
        peaks: (k,) of the place that differs most.
        is_next: (k,) the rhythm has another picture there.
        reach: frames within which a difference is held against that to the next picture.
        proof: that the rhythm has to show.
    """
    repeated = np.flatnonzero(~is_next)
    if len(repeated) < _MIN_REPEATED * len(places) or not is_next.any():
        return 0.0
    changes = differences[is_next]
    if differences[repeated].mean() > _LIKE_IN_MEAN * changes.mean():
        return 0.0
    levels = _highest_near(places[repeated], places[is_next], changes, first=-reach, last=reach)
    highest = _highest_near(places[repeated], places[is_next], peaks[is_next], first=-reach, last=reach)
    alike = (differences[repeated] <= proof.like * levels) & (_OF_PEAK * peaks[repeated] <= _LIKE * highest)
    is_still = np.maximum(differences[repeated], levels) < _STILL
    is_right = alike | is_still
    if is_right.mean() < proof.min_share or (~is_right).sum() > _MAX_MISPLACED * len(changes):
        return 0.0
    noise = _highest_near(places[is_next], places[repeated], differences[repeated], first=-reach, last=reach)
    standing = changes[(changes * proof.like >= noise) & (changes > 0)]
    min_standing = max(_MIN_CHANGES, proof.min_moving * len(changes))
    if len(standing) < min_standing or standing.mean() < proof.min_changed:
        return 0.0
    return len(standing) / len(changes)


def _highest_near(
    places: NDArray[np.int64],
    others: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    first: int,
    last: int,
) -> NDArray[np.float64]:
    """Return, (k,), the highest of `values` from `first` to `last` of each place; 0 where there is none.

    Args:
        places: (k,).
        others: (m,) where `values` lie, ascending.
        values: (m,), none below 0.
        first: frames, to be added to a place.
        last: likewise.
    """
    begin = np.searchsorted(others, places + first)
    end = np.searchsorted(others, places + last, side="right")
    highest = np.maximum.reduceat(np.append(values, 0.0), np.stack([begin, end], axis=-1).ravel())[::2]
    return np.where(begin < end, highest, 0.0)


def _of_sides(
    places: NDArray[np.int64], values: NDArray[np.float64], is_known: NDArray[np.bool_], reach: int
) -> NDArray[np.float64]:
    """Return, (k,), the highest of `values` to the one side of places, or to the other, where it is less.

    Args:
        places: (k,) ascending.
        values: (k,) >= 0.
        is_known: (2, k) of both sides; where neither is, the higher counts.
        reach: places to either side.
    """
    sides = np.stack(
        [_highest_near(places, places, values, first=first, last=first + reach - 1) for first in (-reach, 1)]
    )
    lower: NDArray[np.float64] = np.where(is_known, sides, np.inf).min(axis=0)
    return np.where(np.isfinite(lower), lower, sides.max(axis=0))


def _max_stay(frames_per_second: float | None) -> int:
    """Return for how many frames a picture may stay that is not held."""
    return int((frames_per_second or 0.0) * _MAX_STAY_SECONDS + 0.1)


def _peak(difference: NDArray[np.uint8]) -> float:
    """Return the mean of the place of a row, of (rows, columns), where it is highest."""
    width = min(_PEAK_PIXELS, difference.shape[1])
    whole = difference[:, : difference.shape[1] // width * width]
    return float(whole.reshape(-1, width).mean(axis=1).max())


def _sparse_luma(picture: VideoFrame) -> NDArray[np.uint8]:
    """Return some rows of the first plane, (rows, columns), 0..255; of deep pictures, parts."""
    plane, described = picture.planes[0], picture.format
    is_packed = described.is_rgb and not described.is_planar
    width = plane.width * (described.padded_bits_per_pixel // 8 if is_packed else 1)
    rows: NDArray[np.uint8] = np.frombuffer(cast(Any, plane), dtype=np.uint8).reshape(
        plane.height, plane.line_size
    )
    sparse = rows[:: max(1, plane.height // _NUM_ROWS), :width].copy()
    excess = described.components[0].bits - 8
    if excess <= 0:
        return sparse
    return (sparse[:, : width // 2 * 2].view("<u2") >> excess).astype(np.uint8)
