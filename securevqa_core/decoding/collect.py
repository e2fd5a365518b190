"""Owns what is kept of each frame as it comes, its patches and its resized self: no full frame stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding.backend import FoundFrame
from securevqa_core.decoding.clock import Clock
from securevqa_core.decoding.geometry import UPRIGHT, Geometry, square_pixels
from securevqa_core.decoding.glances import MOMENTS, Glances
from securevqa_core.decoding.pixels import PictureScaler, PlaneSplitter, Scaler, TileCutter
from securevqa_core.decoding.probe import check_frame_size
from securevqa_core.decoding.tone_mapping import transfer_name
from securevqa_core.doubts import (
    COLOURS_GUESSED,
    DAMAGED_FRAMES,
    HIGH_DYNAMIC_RANGE,
    INTERLACED,
    SIZE_CHANGES,
)
from securevqa_core.errors import DecodeError
from securevqa_core.fragments import crop_patches, grid_corners, sampled_size
from securevqa_core.randomness import generator
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.types import DecodeLimits, SamplingConfig
from securevqa_core.whole_frames import Planes, WholePlan

__all__ = ["MAX_DAMAGED_SHARE", "Collector", "DrawSeeds", "patches_shape", "wanted_frames"]

_SQUARE = Fraction(1)
MAX_DAMAGED_SHARE = 0.1  # of the frames asked for; past it the video is decode_corrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSeeds:
    """The 32-byte seeds that decide where one draw looks."""

    skip_sampling: bytes = field(repr=False)
    grid_sampling: bytes = field(repr=False)


def patches_shape(num_draws: int, config: SamplingConfig) -> tuple[int, ...]:
    """Return the shape of `DecodedSample.patches`."""
    grid, side = config.grid_size, config.patch_side
    return (num_draws, config.num_clips, config.clip_frames, grid, grid, side, side, 3)


def wanted_frames(clock: Clock, config: SamplingConfig, draws: tuple[DrawSeeds, ...]) -> NDArray[np.int64]:
    """Return the frames that a `Collector` wants, (k,) ascending and unique."""
    return np.union1d(_clips(clock, config, draws), _segments(clock, config, draws))


def _clips(clock: Clock, config: SamplingConfig, draws: tuple[DrawSeeds, ...]) -> NDArray[np.int64]:
    """Return the frames of every clip, (draws, clips, d)."""
    num_runs = config.num_clips * config.num_temporal_fragments
    clips = []
    for draw in draws:
        rng = generator(draw.skip_sampling)
        moments = skip_sample(clock.num_moments, config, rng)
        clips.append(clock.runs_at(moments, rng, num_runs=num_runs))
    return np.stack(clips)


def _segments(clock: Clock, config: SamplingConfig, draws: tuple[DrawSeeds, ...]) -> NDArray[np.int64]:
    """Return the frames of every segment, (num_segments, segment_frames); all draws share them."""
    rng = generator(draws[0].skip_sampling)
    moments = continuous_sample(clock.num_moments, config)
    return clock.runs_at(moments, rng, num_runs=config.num_segments)


def _whole_frames(
    clock: Clock, moments: NDArray[np.int64], draws: tuple[DrawSeeds, ...]
) -> NDArray[np.int64]:
    """Return the frames that are looked at whole, (k,) as the moments are."""
    return clock.frames_at(moments, generator(draws[0].skip_sampling), num_runs=1)


def _middles(clock: Clock, draws: tuple[DrawSeeds, ...]) -> NDArray[np.int64]:
    """Return the frames in the middle of as many equal parts of the time as glances are made of."""
    moments = (np.arange(MOMENTS) * 2 + 1) * clock.num_moments // (2 * MOMENTS)
    return clock.frames_at(moments, generator(draws[0].skip_sampling), num_runs=1)


class Collector:
    """Cuts patches out of, and shrinks, each frame as it comes.

    `wanted` holds the frames to give to `add`, in any order; `finish` then fills `patches` and `frames`.
    """

    def __init__(
        self,
        clock: Clock,
        config: SamplingConfig,
        draws: tuple[DrawSeeds, ...],
        limits: DecodeLimits,
        pixel_aspect: Fraction | None,
        *,
        whole: WholePlan | None = None,
        takes_glances: bool = False,
    ) -> None:
        self._config, self._draws, self._limits = config, draws, limits
        self._pixel_aspect = pixel_aspect
        self._clips = _clips(clock, config, draws)
        chosen = _segments(clock, config, draws)
        self._inter, segments = np.unique(chosen, return_inverse=True)
        self.segments = segments.reshape(chosen.shape).astype(np.int64)
        self.wanted = np.union1d(self._clips, self._inter)
        self._whole_moments = np.zeros(0, dtype=np.int64) if whole is None else whole.wanted
        self._whole_frames = _whole_frames(clock, self._whole_moments, draws)
        self.wanted = np.union1d(self.wanted, self._whole_frames)
        self.glances = Glances(_middles(clock, draws), self.wanted) if takes_glances else None
        self.patches = np.zeros(patches_shape(len(draws), config), dtype=np.uint8)
        side = config.segment_side
        self.frames = np.zeros((len(self._inter), side, side, 3), dtype=np.uint8)
        self.displayed_size: tuple[int, int] | None = None  # (height, width) as shown, from the first frame
        self._decoded_size = (0, 0)  # (height, width) that frames are brought to before they are turned
        self._geometry = UPRIGHT
        self._corners = np.zeros(0, dtype=np.int64)
        self._tally = _Tally()
        self._scaler, self._shrinker, self._splitter = Scaler(), Scaler(), PlaneSplitter()
        self._picture_scaler = PictureScaler()
        self._cutter = TileCutter(config.grid_size, config.patch_side)

    def add(self, found: FoundFrame) -> None:
        """Take what is wanted of one frame.

        Raises:
            DecodeError: too_many_pixels.
        """
        picture = found.picture
        check_frame_size(picture.width, picture.height, self._limits)
        if self.displayed_size is None:
            self._choose_places(picture, found.geometry)
        self._tally.add(found)
        if self.glances is not None:
            self.glances.add(found.number, picture, self._geometry)
        at = int(np.searchsorted(self._inter, found.number))
        if at < len(self._inter) and self._inter[at] == found.number:
            side = self._config.segment_side
            self.frames[at] = self._geometry.upright(self._shrinker.shrunk(picture, height=side, width=side))
        places = np.argwhere(self._clips == found.number).tolist()
        if places:
            self._cut(picture, places)

    def _choose_places(self, picture: VideoFrame, geometry: Geometry) -> None:
        """Place the patches on the picture as it is shown, and find them in the picture as it is decoded."""
        max_pixels = self._limits.max_pixels
        decoded = square_pixels(picture.height, picture.width, self._pixel_aspect, max_pixels=max_pixels)
        self._geometry = geometry
        self.displayed_size = geometry.swapped(*decoded)
        height, width = sampled_size(*self.displayed_size, self._config)
        self._decoded_size = geometry.swapped(height, width)
        shown = np.stack(
            [grid_corners(height, width, self._config, generator(draw.grid_sampling)) for draw in self._draws]
        )
        self._corners = geometry.decoded_corners(shown, self._config.patch_side, size=self._decoded_size)

    def _cut(self, picture: VideoFrame, places: list[list[int]]) -> None:
        side = self._config.patch_side
        is_native = (picture.height, picture.width) == self._decoded_size
        can_cut = is_native and self._cutter.can_cut(picture)
        height, width = self._decoded_size
        pixels = None if can_cut else self._scaler.rgb(picture, height=height, width=width)
        for draw, clip, position in places:
            group = position * self._config.num_offset_groups // self._config.clip_frames
            corners = self._corners[draw, clip, group]
            if pixels is None:
                cut = self._cutter.patches(picture, corners)
            else:
                cut = crop_patches(pixels, corners, side)
            self.patches[draw, clip, position] = self._geometry.upright(cut)

    @property
    def num_missing(self) -> int:
        """How many frames of `wanted` were not given."""
        return len(self.wanted) - len(self._tally.found)

    def whole_moments(self, frame: int) -> list[int]:
        """Return the moments of the plan that a frame is on screen in."""
        moments: list[int] = self._whole_moments[self._whole_frames == frame].tolist()
        return moments

    def planes(self, picture: VideoFrame) -> Planes:
        """Return the planes of a whole picture that was added before, as it is shown.

        Where the sampling has pictures, all are of its size, and those higher than wide lie on their side:
        turned anticlockwise, as UVQ's authors do.
        """
        config, turn = self._config, 0
        if config.picture_rate:
            assert self.displayed_size is not None
            turn = int(self.displayed_size[0] > self.displayed_size[1])
            size = (config.picture_height, config.picture_width)
            height, width = self._geometry.swapped(*size[:: -1 if turn else 1])
            split = self._picture_scaler.planes(picture, height=height, width=width)
        else:
            height, width = self._decoded_size
            split = self._splitter.planes(picture, height=height, width=width)
        first, second, third = (
            np.rot90(self._geometry.upright(plane[..., None])[..., 0], turn) for plane in split
        )
        return first, second, third

    def finish(self) -> list[str]:
        """Fill the few missing frames from their neighbours, and say what was odd.

        Raises:
            DecodeError: no_frames; decode_corrupt, past `MAX_DAMAGED_SHARE`.
        """
        num_wanted, found = len(self.wanted), self._tally.found
        num_missing = self.num_missing
        if not found:
            raise DecodeError("no_frames", f"none of the {num_wanted} sampled frames could be decoded")
        num_damaged = num_missing + self._tally.num_damaged
        if num_damaged > MAX_DAMAGED_SHARE * num_wanted:
            raise DecodeError(
                "decode_corrupt",
                f"{num_missing} missing and {self._tally.num_damaged} damaged of {num_wanted} sampled frames",
            )
        if num_missing:
            self._repeat_neighbours(np.array(sorted(found)))
        damaged = [f"{DAMAGED_FRAMES} {num_damaged} of {num_wanted} sampled frames"] if num_damaged else []
        return damaged + self._tally.warnings(num_wanted)

    def _repeat_neighbours(self, found: NDArray[np.int64]) -> None:
        _copy_nearest(self.frames, np.isin(self._inter, found))
        for draw, clip in np.ndindex(*self._clips.shape[:2]):
            _copy_nearest(self.patches[draw, clip], np.isin(self._clips[draw, clip], found))


class _Tally:
    """Counts what was seen."""

    def __init__(self) -> None:
        self.found: set[int] = set()
        self.num_damaged = 0
        self._num_interlaced = 0
        self._sizes: set[tuple[int, int, Fraction]] = set()
        self._transfers: set[str] = set()
        self._guesses: set[str] = set()

    def add(self, found: FoundFrame) -> None:
        picture = found.picture
        self.found.add(found.number)
        self.num_damaged += found.is_damaged
        self._num_interlaced += found.is_interlaced
        self._sizes.add((picture.width, picture.height, found.pixel_aspect or _SQUARE))
        name = transfer_name(picture)
        if name is not None:
            self._transfers.add(name)
        if found.guessed is not None:
            self._guesses.add(found.guessed)

    def warnings(self, num_wanted: int) -> list[str]:
        """Return what is odd, but no damage."""
        warnings = []
        if len(self._sizes) > 1:
            sizes = sorted({f"{width}x{height}" for width, height, _ in self._sizes})
            if len(sizes) == 1:
                shapes = sorted(f"{aspect.numerator}:{aspect.denominator}" for _, _, aspect in self._sizes)
                sizes = [f"{sizes[0]} in pixels of {shape}" for shape in shapes]
            warnings.append(f"{SIZE_CHANGES} frames of {', '.join(sizes[:4])}, all scaled to one size")
        if self._num_interlaced:
            warnings.append(f"{INTERLACED} {self._num_interlaced} of {num_wanted} sampled frames")
        if self._transfers:
            names = " and ".join(sorted(self._transfers))
            warnings.append(f"{HIGH_DYNAMIC_RANGE} {names}, tone-mapped to standard range")
        warnings += [f"{COLOURS_GUESSED} {guess}" for guess in sorted(self._guesses)]
        return warnings


def _copy_nearest(rows: NDArray[np.uint8], present: NDArray[np.bool_]) -> None:
    """Overwrite every absent row with the nearest present one."""
    sources = np.flatnonzero(present)
    if len(rows) and not len(sources):
        raise DecodeError("decode_corrupt", f"a whole clip of {len(rows)} frames could not be decoded")
    for row in np.flatnonzero(~present):
        rows[row] = rows[sources[np.argmin(np.abs(sources - row))]]
