"""Owns the way from an untrusted file to the pixels a model samples, in one pass over the frames it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from securevqa_core.decoding.probe import (
    check_frame_size,
    check_stream,
    header_warnings,
    index_frames,
    open_container,
    video_info,
)
from securevqa_core.decoding.pyav_backend import FoundFrame, count_frames, read_frames
from securevqa_core.errors import DecodeError
from securevqa_core.fragments import crop_patches, grid_corners, sampled_size
from securevqa_core.randomness import generator
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.types import DecodeLimits, SamplingConfig, VideoInfo

__all__ = [
    "MAX_DAMAGED_SHARE",
    "DecodeRequest",
    "DecodedSample",
    "DrawSeeds",
    "extract_sample",
    "patches_shape",
]

MAX_DAMAGED_SHARE = 0.1  # of the frames asked for; past it the video is decode_corrupt
SCALER = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSeeds:
    """The 32-byte seeds that decide where one draw looks."""

    skip_sampling: bytes = field(repr=False)
    grid_sampling: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """What to take from one file."""

    sampling: SamplingConfig
    draws: tuple[DrawSeeds, ...]
    limits: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSample:
    """The pixels of one video that the model will see, before the guardian map."""

    info: VideoInfo
    patches: NDArray[np.uint8]  # (draws, clips, d, G, G, S, S, 3) RGB
    frames: NDArray[np.uint8]  # (k, side, side, 3) RGB, whole frames resized; each frame once
    segments: NDArray[np.int64]  # (num_segments, segment_frames) indices into `frames`
    decoder: str
    warnings: tuple[str, ...]


def extract_sample(path: str, request: DecodeRequest) -> DecodedSample:
    """Probe `path` and read what `request` asks for.

    Raises:
        DecodeError: the file is not allowed, or too little of it can be decoded.
    """
    with open_container(path) as container:
        stream = check_stream(container, request.limits)
        index = index_frames(container, stream)
        if index.pts is None:
            index = count_frames(container, stream, index)
        info = video_info(stream, index)
        warnings = header_warnings(container, stream, index, info)
        collector = _Collector(info, request)
        for found in read_frames(container, stream, index, collector.wanted):
            collector.add(found)
    warnings += collector.finish()
    return DecodedSample(
        info=info,
        patches=collector.patches,
        frames=collector.frames,
        segments=collector.segments,
        decoder="pyav",
        warnings=tuple(warnings),
    )


def patches_shape(num_draws: int, config: SamplingConfig) -> tuple[int, ...]:
    """Return the shape of `DecodedSample.patches`."""
    grid, side = config.grid_size, config.patch_side
    return (num_draws, config.num_clips, config.clip_frames, grid, grid, side, side, 3)


class _Collector:
    """Cuts patches out of, and shrinks, each frame as it comes, so that no full frame is kept."""

    def __init__(self, info: VideoInfo, request: DecodeRequest) -> None:
        config = request.sampling
        self._config, self._limits = config, request.limits
        self._height, self._width = sampled_size(info.height, info.width, config)
        clips = [
            skip_sample(info.num_frames, config, generator(draw.skip_sampling)) for draw in request.draws
        ]
        self._clips = np.stack(clips)  # (draws, clips, d)
        self._corners = np.stack(
            [
                grid_corners(self._height, self._width, config, generator(draw.grid_sampling))
                for draw in request.draws
            ]
        )
        chosen = continuous_sample(info.num_frames, config)
        self._inter, segments = np.unique(chosen, return_inverse=True)
        self.segments = segments.reshape(chosen.shape).astype(np.int64)
        self.wanted = np.union1d(self._clips, self._inter)
        self.patches = np.zeros(patches_shape(len(request.draws), config), dtype=np.uint8)
        side = config.segment_side
        self.frames = np.zeros((len(self._inter), side, side, 3), dtype=np.uint8)
        self._found: set[int] = set()
        self._num_damaged = 0
        self._sizes: set[tuple[int, int]] = set()
        self._sampled_size, self._segment_size = _Converter(), _Converter()

    def add(self, found: FoundFrame) -> None:
        check_frame_size(found.picture.width, found.picture.height, self._limits)
        self._found.add(found.number)
        self._num_damaged += found.is_damaged
        self._sizes.add((found.picture.width, found.picture.height))
        at = int(np.searchsorted(self._inter, found.number))
        if at < len(self._inter) and self._inter[at] == found.number:
            side = self._config.segment_side
            self.frames[at] = self._segment_size.rgb(found.picture, height=side, width=side)
        places = np.argwhere(self._clips == found.number)
        if len(places):
            pixels = self._sampled_size.rgb(found.picture, height=self._height, width=self._width)
            for draw, clip, position in places:
                group = position * self._config.num_offset_groups // self._config.clip_frames
                corners = self._corners[draw, clip, group]
                self.patches[draw, clip, position] = crop_patches(pixels, corners, self._config.patch_side)

    def finish(self) -> list[str]:
        """Fill the few missing frames from their neighbours, or refuse the video."""
        num_missing = len(self.wanted) - len(self._found)
        if not self._found:
            raise DecodeError("no_frames", f"none of the {len(self.wanted)} sampled frames could be decoded")
        damaged = num_missing + self._num_damaged
        if damaged > MAX_DAMAGED_SHARE * len(self.wanted):
            raise DecodeError(
                "decode_corrupt",
                f"{num_missing} missing and {self._num_damaged} damaged of {len(self.wanted)} sampled frames",
            )
        if num_missing:
            self._repeat_neighbours()
        warnings = [f"damaged_frames: {damaged} of {len(self.wanted)} sampled frames"] if damaged else []
        if len(self._sizes) > 1:
            sizes = sorted(f"{width}x{height}" for width, height in self._sizes)
            warnings.append(f"size_changes: frames of {', '.join(sizes[:4])}, all scaled to one size")
        return warnings

    def _repeat_neighbours(self) -> None:
        found = np.array(sorted(self._found))
        _copy_nearest(self.frames, np.isin(self._inter, found))
        for draw, clip in np.ndindex(*self._clips.shape[:2]):
            _copy_nearest(self.patches[draw, clip], np.isin(self._clips[draw, clip], found))


def _copy_nearest(rows: NDArray[np.uint8], present: NDArray[np.bool_]) -> None:
    """Overwrite every absent row with the nearest present one."""
    sources = np.flatnonzero(present)
    if len(rows) and not len(sources):
        raise DecodeError("decode_corrupt", f"a whole clip of {len(rows)} frames could not be decoded")
    for row in np.flatnonzero(~present):
        rows[row] = rows[sources[np.argmin(np.abs(sources - row))]]


class _Converter:
    """Turns decoded frames into RGB of one size; FFmpeg's scaler is set up once, not once a frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, picture: VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) RGB, antialiased bilinear where the size changes (Eq. 8)."""
        converted = self._reformatter.reformat(
            picture, width=width, height=height, format="rgb24", interpolation=SCALER, threads=1
        )
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)
