"""Owns the way from an untrusted file to the pixels a model samples, in one pass over the frames it needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding import decord_backend, pyav_backend
from securevqa_core.decoding.backend import FALLBACK, Backend, BackendName, Decoder, OpenVideo
from securevqa_core.decoding.collect import (
    MAX_DAMAGED_SHARE,
    Collector,
    DrawSeeds,
    patches_shape,
    wanted_frames,
)
from securevqa_core.decoding.film_index import index_film
from securevqa_core.decoding.probe import (
    FrameIndex,
    check_duration,
    check_stream,
    header_warnings,
    index_frames,
    open_container,
    open_file,
    video_info,
)
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, SamplingConfig, VideoInfo
from securevqa_core.whole_frames import WholeSink, whole_plan

__all__ = [
    "MAX_DAMAGED_SHARE",
    "DecodeRequest",
    "DecodedSample",
    "DrawSeeds",
    "extract_sample",
    "patches_shape",
]

_BACKENDS: dict[BackendName, Backend] = {
    "pyav": pyav_backend.read_frames,
    "decord": decord_backend.read_frames,
}
# Failures of a backend, not of the file: another may do better. Damage is none of them, as decord hides it.
_BACKEND_FAILURES = frozenset({"decode_failed", "no_frames"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """What to take from one file."""

    sampling: SamplingConfig
    draws: tuple[DrawSeeds, ...]
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    decoder: Decoder = "auto"
    has_crashed_pyav: bool = False  # then `auto` leaves PyAV's decoder alone


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSample:
    """The pixels of one video that the model will see, before the guardian map."""

    info: VideoInfo
    patches: NDArray[np.uint8]  # (draws, clips, d, G, G, S, S, 3) RGB
    frames: NDArray[np.uint8]  # (k, side, side, 3) RGB, whole frames resized; each frame once
    segments: NDArray[np.int64]  # (num_segments, segment_frames) indices into `frames`
    decoder: str
    warnings: tuple[str, ...]


def extract_sample(path: str | int, request: DecodeRequest, sink: WholeSink | None = None) -> DecodedSample:
    """Probe a file and read what `request` asks for.

    Args:
        path: of the file, or a descriptor of it that is open for reading.
        request: what to take, and with which backend.
        sink: takes the whole frames, where the sampling asks for any; they are kept nowhere else.

    Raises:
        DecodeError: the file is not allowed, or too little of it can be decoded.
    """
    with open_file(path) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, request.limits)
        index = _index(container, stream, descriptor, request)
        if index.pts is None:
            index = pyav_backend.count_frames(container, stream, index)
        video = OpenVideo(descriptor=descriptor, container=container, stream=stream, index=index)
        if request.decoder != "auto":
            return _extract(video, request, sink, request.decoder, _BACKENDS[request.decoder])
        if request.has_crashed_pyav:
            return _extract_unchecked(video, request, sink, "it crashed")
        try:
            return _extract(video, request, sink, "pyav", _BACKENDS["pyav"])
        except DecodeError as error:
            if error.code not in _BACKEND_FAILURES:
                raise
            try:
                return _extract_unchecked(video, request, sink, str(error))
            except DecodeError:
                raise error from None


def _index(
    container: InputContainer, stream: VideoStream, descriptor: int, request: DecodeRequest
) -> FrameIndex:
    def choose(num_frames: int) -> NDArray[np.int64]:
        return wanted_frames(num_frames, request.sampling, request.draws)

    if request.sampling.has_statistics:  # which look at nearly all frames
        return index_frames(container, stream)
    film = index_film(container, stream, descriptor, choose)
    return film if film is not None else index_frames(container, stream)


def _extract_unchecked(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None, reason: str
) -> DecodedSample:
    sample = _extract(video, request, sink, "decord", decord_backend.read_frames_unchecked)
    fallback = (f"{FALLBACK} pyav failed, {reason}", "damage_unknown: decord does not tell concealed frames")
    return replace(sample, warnings=fallback + sample.warnings)


def _extract(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None, name: BackendName, read_frames: Backend
) -> DecodedSample:
    stream, index = video.stream, video.index
    info = video_info(stream, index)
    check_duration(info)
    whole = None if sink is None else whole_plan(info.num_frames, info.fps, request.sampling)
    collector = Collector(
        info.num_frames,
        request.sampling,
        request.draws,
        request.limits,
        stream.sample_aspect_ratio,
        whole=whole,
    )
    if sink is not None and whole is not None:
        sink.begin(info.num_frames, info.fps)
    given_whole = frozenset() if whole is None else frozenset(whole.wanted.tolist())
    for found in read_frames(video, collector.wanted):
        collector.add(found)
        if sink is not None and found.number in given_whole:
            sink.add(found.number, collector.planes(found.picture))
    warnings = collector.finish()
    assert collector.displayed_size is not None
    height, width = collector.displayed_size
    return DecodedSample(
        info=replace(info, height=height, width=width),
        patches=collector.patches,
        frames=collector.frames,
        segments=collector.segments,
        decoder=name,
        warnings=(*header_warnings(video.container, stream, index, info), *warnings),
    )
