"""Owns the presentation clock: equally long moments of a viewer's time, and the frame on screen in each.

    pictures   |a|b|c|d|e|f|g      |h|i|j|         variable rate: g stays on screen
    moments    |.|.|.|.|.|.|.|.|.|.|.|.|.|         a b c d e f g g g g h i j

At constant rate a moment is a frame, whatever its time stamps were rounded to. Elsewhere it is as long as
pictures usually stay, by those that the shortest tenth of the time goes to: a flash of many frames does not
make moments short, and a picture that is held does not make them long.

    pictures   |a |b  |c |d  |e   |f         |     an uneven rate, and a picture that is held
    a run      |a|b|c|d|e|f|f|f|                   motion goes on from picture to picture, as it is seen to

Where a run of moments begins is a matter of time; in it pictures that stay for about a moment follow one
another, as to look at each moment would meet one twice and miss the next. Whether a picture is told once, for
so long, or by as many frames makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_BACK_SECONDS",
    "NO_REPEATS",
    "Clock",
    "Jumps",
    "Rhythm",
    "clock_of",
    "constant_clock",
    "jumps_of",
]

_MAX_STRAY = 0.5  # of a frame's time, to either side of its place at constant rate
_LONG_LAST = 1.5  # times the usual; a last frame that is to stay on screen longer counts for that long
_FLASH_SHARE = 0.1  # of the time; what takes less of it does not set the length of a moment
_ALIKE = 0.25  # of their time; pictures that are shown for lengths so close are of one rate
_MIN_MOMENT_SECONDS = 1 / 120  # of variable rate; screens show few pictures faster
_MIN_FRAME_SECONDS = 1 / 1100  # of constant rate; cameras give a thousand frames a second at most
# A moment shows the picture on screen at one point of its middle: at its edges rounded time stamps would
# double one picture and miss the next.
_FIRST_PHASE, _LAST_PHASE = 0.3, 0.7
# Of how long the fastest pictures stay: those between follow one another in a run, as film does of which
# every fourth picture comes twice. What stays for longer is seen to halt.
_MIN_EVEN, _MAX_EVEN = 0.6, 2.1
_MIN_CONSTANT = 0.5  # of the usual: a shorter picture is not of constant rate
_MAX_MOMENTS = 1 << 53
# Seconds, to either side, that FFmpeg's programs take for a clock that was set anew.
MAX_BACK_SECONDS, _MAX_AHEAD = 0.1, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How many frames show one picture, all along.

    frames     |0 1|2|3 4|5|6 7|8|         three frames for two pictures, phase 0
    pictures   | a |b| c |d| e |f|
    """

    frames_per_picture: Fraction
    phase: int | None = None  # frame 0 is as if so many had gone before it; None: in no rhythm


NO_REPEATS = Rhythm(frames_per_picture=Fraction(1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clock:
    """The time for which a video is shown, in moments.

    With frames 0 and 1 on screen for one and three moments, and phases of 0.5:

        frames_at([0, 1, 2, 3]) == [0, 1, 1, 1]
    """

    num_moments: int
    num_frames: int
    seconds: float | None = None  # shown, the last frame's time included; None where time stamps do not tell
    starts: NDArray[np.float64] | None = None  # (num_frames,) ascending, moments; None: moment k is frame k
    paces: NDArray[np.float64] | None = None  # (num_frames,) moments of a run that each takes; None: by time

    def frames_at(
        self, moments: NDArray[np.int64], rng: np.random.Generator, *, num_runs: int
    ) -> NDArray[np.int64]:
        """Return the frames on screen in some moments.

        Args:
            moments: (..., d) in 0..num_moments - 1.
            rng: decides at which point of their moments; nobody can know where to put a picture for it.
            num_runs: rows of moments that lie side by side, (..., d) cut into so many; one point for each.

        Returns:
            (..., d) frame numbers; at constant rate the moments themselves.
        """
        if self.starts is None:
            return moments
        runs = moments.reshape(num_runs, -1) if moments.size else moments
        phases = rng.uniform(_FIRST_PHASE, _LAST_PHASE, size=(num_runs, 1)) if moments.size else 0.0
        return self.on_screen(runs + phases).reshape(moments.shape)

    def on_screen(self, times: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return the frames on screen, (...), at times (...): moments from the start, below `num_moments`."""
        frames = times if self.starts is None else np.searchsorted(self.starts, times, side="right") - 1
        return np.floor(frames).astype(np.int64).clip(0, self.num_frames - 1)

    def runs_at(
        self, moments: NDArray[np.int64], rng: np.random.Generator, *, num_runs: int
    ) -> NDArray[np.int64]:
        """Return the frames of runs, in which pictures of an uneven rate follow one another.

        A run that would go on after the last picture begins earlier.

        Args:
            moments: as for `frames_at`.
            rng: likewise.
            num_runs: likewise.

        Returns:
            (..., d) frame numbers; where the rate is not uneven, those of `frames_at`.
        """
        if self.starts is None or self.paces is None or not moments.size:
            return self.frames_at(moments, rng, num_runs=num_runs)
        phases = rng.uniform(_FIRST_PHASE, _LAST_PHASE, size=(num_runs, 1))
        runs = moments.reshape(num_runs, -1)
        steps = runs - runs[:, :1]
        ends = np.append(0.0, np.cumsum(self.paces))
        begin = np.interp(runs[:, :1] + phases, np.append(self.starts, self.num_moments), ends)
        begin = np.minimum(begin, ends[-1] - 1 + phases - steps.max(axis=1, keepdims=True))
        frames: NDArray[np.int64] = np.searchsorted(ends, begin + steps, side="right") - 1
        return frames.clip(0, self.num_frames - 1).reshape(moments.shape)

    def without_first(self, num_frames: int) -> Clock:
        """Return the clock that begins as the frame after so many comes on screen."""
        left = self.num_frames - num_frames
        if self.starts is None:
            seconds = None if self.seconds is None else self.seconds * left / self.num_frames
            return constant_clock(left, seconds)
        gone = float(self.starts[num_frames])
        share = gone / max(self.num_moments, 1)
        return Clock(
            num_moments=max(1, round(self.num_moments - gone)),
            num_frames=left,
            seconds=None if self.seconds is None else self.seconds * (1 - share),
            starts=self.starts[num_frames:] - gone,
            paces=None if self.paces is None else self.paces[num_frames:],
        )

    def coarser(self, rhythm: Rhythm) -> Clock:
        """Return a clock of which a moment is a picture, however many moments of this one show it."""
        size = rhythm.frames_per_picture
        if size == 1:
            return self
        if self.starts is None and rhythm.phase is not None:
            starts = _places_in_pictures(np.arange(self.num_frames) + rhythm.phase, size)
        else:
            frames = np.arange(self.num_frames, dtype=np.float64)
            starts = (frames if self.starts is None else self.starts) / float(size)
        return replace(self, num_moments=max(1, round(self.num_moments / size)), starts=starts, paces=None)

    def without_repeats(self, looked_at: NDArray[np.int64], repeated: NDArray[np.int64]) -> Clock:
        """Return a clock that has frames of one picture for one, as if the file had told it once.

        Args:
            looked_at: (k,) frames of which it is known, ascending; the others are taken as they are told.
            repeated: (m,) those of them that show the picture before them, ascending.
        """
        told = np.arange(self.num_frames, dtype=np.float64) if self.starts is None else self.starts
        stays = np.diff(np.append(told, self.num_moments))
        is_first = np.ones(self.num_frames, dtype=np.bool_)
        is_first[repeated[repeated > 0]] = False
        firsts = np.flatnonzero(is_first)
        is_known = np.isin(firsts, looked_at)
        together = np.add.reduceat(stays, firsts)
        if not together[is_known].any():
            return self
        rate = _rate_of(together[is_known])
        paces = np.where(is_known, rate.paces(together), together / rate.moment)
        shares = np.repeat(
            paces / np.where(together > 0, together, 1.0), np.diff(np.append(firsts, len(stays)))
        )
        return replace(
            self,
            num_moments=max(1, round(self.num_moments / rate.moment)),
            starts=told / rate.moment,
            paces=stays * shares,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate:
    """For how long pictures usually stay, in units of the durations it was taken from."""

    shortest: float  # the fastest of them, that take a tenth of the time or more
    moment: float  # their mean

    def paces(self, durations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for how many moments of a run pictures stay, as the durations."""
        return np.where(_is_even(durations, self.shortest), 1.0, durations / self.moment)


def _places_in_pictures(frames: NDArray[np.int64], size: Fraction) -> NDArray[np.float64]:
    """Return when frames begin, in pictures: k to k + 1 for all that show picture k, the first of them 0.

    Within a picture those after its first begin where moments are looked at, evenly: each is as likely to be
    seen, so that nobody can put another picture where none is.
    """
    pictures = frames * size.denominator // size.numerator
    first = -(-pictures * size.numerator // size.denominator)
    end = -(-(pictures + 1) * size.numerator // size.denominator)
    within = _FIRST_PHASE + (_LAST_PHASE - _FIRST_PHASE) * (frames - first) / (end - first)
    starts: NDArray[np.float64] = pictures - pictures[0] + np.where(frames > first, within, 0.0)
    return starts


def constant_clock(num_frames: int, seconds: float | None = None) -> Clock:
    """Return the clock of a video of constant rate, or of one that tells no time."""
    return Clock(num_moments=num_frames, num_frames=num_frames, seconds=seconds)


def clock_of(times: NDArray[np.int64], *, time_base: float, last_duration: int | None = None) -> Clock:
    """Return the clock of frames by when they are shown.

    Args:
        times: (num_frames,) ascending, where two frames share a time stamp equal, in units of `time_base`.
        time_base: seconds.
        last_duration: for which the last frame is to stay, likewise; None or 0 where nothing says.
    """
    shown = times.astype(np.float64)  # absurd time stamps would overflow integers
    shown -= shown[0]
    if shown[-1] <= 0:  # all but the last are gone at once
        seconds = float(last_duration or 0) * time_base or None
        return replace(constant_clock(len(shown), seconds), num_moments=1, starts=shown)
    durations = np.append(np.diff(shown), np.median(np.diff(shown)))
    if last_duration is not None and last_duration > _LONG_LAST * durations[-1]:
        durations[-1] = last_duration
    total = float(shown[-1] + durations[-1])
    is_visible = total * time_base >= _MIN_FRAME_SECONDS * len(shown)
    if is_visible and _is_constant(shown, durations[-1]):
        return constant_clock(len(shown), total * time_base)
    rate = _rate_of(durations, shortest=_MIN_MOMENT_SECONDS / time_base, rounded=1)
    return Clock(
        num_moments=max(1, round(min(total / rate.moment, _MAX_MOMENTS))),
        num_frames=len(shown),
        seconds=total * time_base,
        starts=shown / rate.moment,
        paces=rate.paces(durations),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jumps:
    """Where a clock was set anew, as between recordings that were put together."""

    joined: NDArray[np.int64]  # (num_frames,) time stamps as if it had gone on
    seconds_ahead: float  # that it jumped ahead in all; some players hold a picture for as long


def jumps_of(times: NDArray[np.int64], *, time_base: float) -> Jumps | None:
    """Return where a clock jumps; None where it does not, or does nothing else.

    Args:
        times: (num_frames,) time stamps in the order of decoding, or of display, in units of `time_base`.
        time_base: seconds.
    """
    steps = np.diff(times)
    is_ahead = steps > _MAX_AHEAD / time_base
    is_jump = is_ahead | (steps < -MAX_BACK_SECONDS / time_base)
    usual = steps[~is_jump & (steps > 0)]
    if not is_jump.any() or not len(usual):
        return None
    ahead = float(steps[is_ahead].sum()) * time_base
    steps[is_jump] = np.median(usual)
    return Jumps(joined=np.cumsum(np.append(times[:1], steps)), seconds_ahead=ahead)


def _is_constant(shown: NDArray[np.float64], last: float) -> bool:
    """Tell whether frames stray from constant rate by no more than rounding and jitter make them."""
    usual = shown[-1] / (len(shown) - 1)
    strays = shown - np.arange(len(shown)) * usual
    is_even = np.diff(shown).min() >= _MIN_CONSTANT * usual
    return bool(is_even and np.ptp(strays) <= 2 * _MAX_STRAY * usual and last <= _LONG_LAST * usual)


def _rate_of(durations: NDArray[np.float64], *, shortest: float = 0.0, rounded: float = 0.0) -> _Rate:
    """Return how long pictures are shown where they change as fast as they usually do.

    Args:
        durations: (k,) of pictures, the sum > 0.
        shortest: of what can be seen, as the durations.
        rounded: unit that they are rounded to.
    """
    ascending = np.sort(durations)
    so_far = np.cumsum(ascending)
    fastest = ascending[np.searchsorted(so_far, _FLASH_SHARE * so_far[-1])]
    alike = (np.abs(durations - fastest) <= _ALIKE * fastest + rounded) & (durations > 0)
    least = max(float(durations[alike].mean()), shortest)
    usual = durations[_is_even(durations, least)]
    return _Rate(shortest=least, moment=max(float(usual.mean()), shortest) if len(usual) else least)


def _is_even(durations: NDArray[np.float64], shortest: float) -> NDArray[np.bool_]:
    return (durations > _MIN_EVEN * shortest) & (durations < _MAX_EVEN * shortest)
