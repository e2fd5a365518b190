"""Owns the way from an untrusted file to the pixels a model samples, in one pass over the frames it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from securevqa_core.decoding.probe import check_stream, index_frames, open_container, video_info
from securevqa_core.decoding.pyav_backend import read_frames
from securevqa_core.errors import DecodeError
from securevqa_core.fragments import crop_patches, grid_corners, sampled_size
from securevqa_core.randomness import generator
from securevqa_core.sampling import continuous_sample, skip_sample
from securevqa_core.types import DecodeLimits, SamplingConfig, VideoInfo

__all__ = ["MAX_DAMAGED_SHARE", "DecodeRequest", "DecodedSample", "DrawSeeds", "extract_sample"]

MAX_DAMAGED_SHARE = 0.1  # of the frames asked for; past it the video is decode_corrupt
SCALER = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT


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
        info = video_info(stream, index)
        collector = _Collector(info, request)
        declared = stream.frames
        for number, frame in read_frames(container, stream, index, collector.wanted):
            collector.add(number, frame)
    warnings = collector.finish()
    if declared > index.num_frames:
        warnings.append(f"stream_short: {index.num_frames} of {declared} declared frames are present")
    return DecodedSample(
        info=info,
        patches=collector.patches,
        frames=collector.frames,
        segments=collector.segments,
        decoder="pyav",
        warnings=tuple(warnings),
    )


class _Collector:
    """Cuts patches out of, and shrinks, each frame as it comes, so that no full frame is kept."""

    def __init__(self, info: VideoInfo, request: DecodeRequest) -> None:
        config = request.sampling
        self._config = config
        self._height, self._width = sampled_size(info.height, info.width, config)
        clips = [skip_sample(info.num_frames, config, generator(draw.skip_sampling)) for draw in request.draws]
        self._clips = np.stack(clips)  # (draws, clips, d)
        self._corners = np.stack([
            grid_corners(self._height, self._width, config, generator(draw.grid_sampling))
            for draw in request.draws
        ])
        chosen = continuous_sample(info.num_frames, config)
        self._inter, segments = np.unique(chosen, return_inverse=True)
        self.segments = segments.reshape(chosen.shape).astype(np.int64)
        self.wanted = np.union1d(self._clips, self._inter)
        grid, side = config.grid_size, config.patch_side
        self.patches = np.zeros((*self._clips.shape, grid, grid, side, side, 3), dtype=np.uint8)
        self.frames = np.zeros((len(self._inter), config.segment_side, config.segment_side, 3), dtype=np.uint8)
        self._found: set[int] = set()
        self._num_corrupt = 0

    def add(self, number: int, frame: VideoFrame) -> None:
        self._found.add(number)
        self._num_corrupt += bool(frame.is_corrupt)
        at = int(np.searchsorted(self._inter, number))
        if at < len(self._inter) and self._inter[at] == number:
            side = self._config.segment_side
            self.frames[at] = _rgb(frame, height=side, width=side)
        places = np.argwhere(self._clips == number)
        if len(places):
            pixels = _rgb(frame, height=self._height, width=self._width)
            for draw, clip, position in places:
                group = position * self._config.num_offset_groups // self._config.clip_frames
                corners = self._corners[draw, clip, group]
                self.patches[draw, clip, position] = crop_patches(pixels, corners, self._config.patch_side)

    def finish(self) -> list[str]:
        """Fill the few missing frames from their neighbours, or refuse the video."""
        num_missing = len(self.wanted) - len(self._found)
        if not self._found:
            raise DecodeError("no_frames", f"none of the {len(self.wanted)} sampled frames could be decoded")
        damaged = num_missing + self._num_corrupt
        if damaged > MAX_DAMAGED_SHARE * len(self.wanted):
            raise DecodeError(
                "decode_corrupt",
                f"{num_missing} missing and {self._num_corrupt} corrupt of {len(self.wanted)} sampled frames",
            )
        if num_missing:
            self._repeat_neighbours()
        return [f"damaged_frames: {damaged} of {len(self.wanted)} sampled frames"] if damaged else []

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


def _rgb(frame: VideoFrame, *, height: int, width: int) -> NDArray[np.uint8]:
    """Convert a frame to (height, width, 3) RGB, antialiased bilinear where the size changes (Eq. 8)."""
    return frame.reformat(width=width, height=height, format="rgb24", interpolation=SCALER).to_ndarray()
