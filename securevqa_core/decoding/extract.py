"""Owns the way from an untrusted file to the pixels a model samples, in one pass over the frames it needs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding import decord_backend, pyav_backend
from securevqa_core.decoding.backend import Backend, BackendName, Decoder, FoundFrame, OpenVideo
from securevqa_core.decoding.clock import NO_REPEATS, Clock
from securevqa_core.decoding.collect import (
    MAX_DAMAGED_SHARE,
    Collector,
    DrawSeeds,
    patches_shape,
    wanted_frames,
)
from securevqa_core.decoding.declared import header_warnings
from securevqa_core.decoding.film_index import index_film
from securevqa_core.decoding.frame_index import FrameIndex, index_frames, video_info
from securevqa_core.decoding.probe import check_duration, open_file, open_video
from securevqa_core.decoding.rendered import rendered, whole_segments
from securevqa_core.decoding.repeats import Pictures, RepeatWatch, frames_around, look_closer
from securevqa_core.doubts import DAMAGE_UNKNOWN, FALLBACK, FIELD_CODED, INTERLACED
from securevqa_core.errors import DecodeError
from securevqa_core.rendition import Rendition
from securevqa_core.types import DecodeLimits, SamplingConfig, VideoInfo
from securevqa_core.whole_frames import WholePlan, WholeSink, whole_plan

__all__ = [
    "MAX_DAMAGED_SHARE",
    "DecodeRequest",
    "DecodedSample",
    "DrawSeeds",
    "extract_sample",
    "opened",
    "patches_shape",
]

_MAX_MISSING = 0.02  # of the frames asked for; past it, whether packets are frames is looked at again
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
    takes_glances: bool = False  # for a fingerprint
    rendition: Rendition | None = None  # of the file, that is sampled in its place; None: the file itself
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
    glances: NDArray[np.uint8] | None = None  # (4, 64, 64) luma of each quarter; None: not asked for


def extract_sample(path: str | int, request: DecodeRequest, sink: WholeSink | None = None) -> DecodedSample:
    """Probe a file and read what `request` asks for.

    Args:
        path: of the file, or a descriptor of it that is open for reading.
        request: what to take, and with which backend.
        sink: takes the whole frames, where the sampling asks for any; they are kept nowhere else.

    Raises:
        DecodeError: the file is not allowed, or too little of it can be decoded.
    """
    with opened(path, request.limits, functools.partial(_index, request)) as video:
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


@contextlib.contextmanager
def opened(
    path: str | int,
    limits: DecodeLimits,
    index_of: Callable[[InputContainer, VideoStream, int], FrameIndex],
) -> Iterator[OpenVideo]:
    """Open a file, check it and list its frames: the way of all who read any.

    Args:
        path: of the file, or a descriptor of it that is open for reading.
        limits: pixels a frame may have.
        index_of: lists the frames of container, stream and descriptor; decoding counts them where it cannot.

    Raises:
        DecodeError: the file is not allowed, has no frames, or what a viewer sees is not understood.
    """
    with open_file(path) as descriptor, open_video(descriptor, limits) as (container, stream):
        index = index_of(container, stream, descriptor)
        video = OpenVideo(
            descriptor=descriptor, container=container, stream=stream, index=index, limits=limits
        )
        index_shown = pyav_backend.count_frames if index.pts is None else pyav_backend.without_unshown
        yield replace(video, index=index_shown(video))


def _index(
    request: DecodeRequest,
    container: InputContainer,
    stream: VideoStream,
    descriptor: int,
    pictures: Pictures | None = None,
    *,
    closely: bool = False,
) -> FrameIndex:
    """List the frames; of a film those that are needed.

    Args:
        request: what to take.
        container: of the file.
        stream: of it.
        descriptor: of the file.
        pictures: makes of a film's clock one whose moments are pictures; None: every frame is one.
        closely: frames around those that are wanted are looked at too.
    """

    def choose(clock: Clock) -> NDArray[np.int64]:
        of_pictures = clock if pictures is None else pictures(clock)
        wanted = wanted_frames(of_pictures, request.sampling, request.draws)
        if closely:
            return frames_around(wanted, clock)
        return wanted if request.rendition is None else whole_segments(wanted, clock)

    if request.sampling.has_statistics:  # which look at nearly all frames
        return index_frames(container, stream)
    film = index_film(container, stream, descriptor, choose)
    return film if film is not None else index_frames(container, stream)


def _extract_unchecked(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None, reason: str
) -> DecodedSample:
    sample = _extract(video, request, sink, "decord", decord_backend.read_frames_unchecked)
    unknown = f"{DAMAGE_UNKNOWN} decord does not tell concealed frames"
    fallback = (f"{FALLBACK} pyav failed, {reason}", unknown)
    return replace(sample, warnings=fallback + sample.warnings)


def _extract(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None, name: BackendName, read_frames: Backend
) -> DecodedSample:
    collector, watch = _collect(video, request, sink, read_frames)
    if name == "pyav" and collector.num_missing > _MAX_MISSING * len(collector.wanted):
        counted = pyav_backend.recount_frames(video)
        if counted is not None:
            video = replace(video, index=counted)
            collector, watch = _collect(video, request, sink, read_frames)
    if (pictures := _pictures(video, request, sink, read_frames, watch)) is not None:
        video = _with_pictures(video, request, pictures)
        collector, _ = _collect(video, request, sink, read_frames)
    return _finished(video, collector, name)


def _pictures(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None, read_frames: Backend, watch: RepeatWatch
) -> Pictures | None:
    """Return what makes of the video's clock one whose moments are pictures; None where every frame is one.

    Where they repeat in no rhythm, the frames around those that will be wanted are all looked at.
    """
    fps = video_info(video.stream, video.index).fps
    rhythm = watch.rhythm(fps)
    if rhythm == NO_REPEATS:
        return None
    if rhythm.phase is not None:
        return lambda clock: clock.coarser(rhythm)
    about = _with_pictures(video, request, lambda clock: clock.coarser(rhythm), closely=True)
    looked_at = frames_around(_collector(about, request, sink)[0].wanted, video.index.moments)
    return look_closer(
        read_frames(about, looked_at),
        looked_at,
        num_frames=video.index.num_frames,
        frames_per_second=fps,
    )


def _with_pictures(
    video: OpenVideo, request: DecodeRequest, pictures: Pictures, *, closely: bool = False
) -> OpenVideo:
    """Return the video with a clock whose moments are pictures, however many frames show each."""
    index = video.index
    if index.numbers is not None:  # of a film, other frames have to be known
        index = _index(request, video.container, video.stream, video.descriptor, pictures, closely=closely)
    return replace(video, index=replace(index, clock=pictures(index.moments)))


def _collector(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None
) -> tuple[Collector, WholePlan | None]:
    info, clock = video_info(video.stream, video.index), video.index.moments
    check_duration(info)
    whole = None if sink is None else whole_plan(clock.num_moments, info.fps, request.sampling)
    aspect = video.display.pixel_aspect
    collector = Collector(
        clock,
        request.sampling,
        request.draws,
        request.limits,
        aspect,
        whole=whole,
        takes_glances=request.takes_glances,
    )
    return collector, whole


def _collect(
    video: OpenVideo, request: DecodeRequest, sink: WholeSink | None, read_frames: Backend
) -> tuple[Collector, RepeatWatch]:
    collector, whole = _collector(video, request, sink)
    watch = RepeatWatch(video.index.num_frames)
    if sink is not None and whole is not None:
        info = video_info(video.stream, video.index)
        sink.begin(video.index.moments.num_moments, info.fps)
    wanted = set(collector.wanted.tolist())

    def watched(video: OpenVideo, frames: NDArray[np.int64]) -> Iterator[FoundFrame]:
        return watch.watching(read_frames(video, frames), wanted)  # a rendition has the upload's rhythm

    read = watched if request.rendition is None else rendered(watched, request.rendition)
    for found in read(video, collector.wanted):
        collector.add(found)
        for moment in collector.whole_moments(found.number):
            assert sink is not None
            sink.add(moment, collector.planes(found.picture))
    return collector, watch


def _finished(video: OpenVideo, collector: Collector, name: BackendName) -> DecodedSample:
    warnings = collector.finish()
    assert collector.displayed_size is not None
    height, width = collector.displayed_size
    info = replace(video_info(video.stream, video.index), height=height, width=width)
    declared = header_warnings(video.container, video.stream, video.index, info, descriptor=video.descriptor)
    return DecodedSample(
        info=info,
        patches=collector.patches,
        frames=collector.frames,
        segments=collector.segments,
        decoder=name,
        warnings=(*declared, *(_of_codec(warning, info.codec) for warning in warnings)),
        glances=None if collector.glances is None else collector.glances.mean(),
    )


def _of_codec(warning: str, codec: str) -> str:
    """Say what it means that pictures are interlaced: HEVC marks those so that are single fields."""
    is_field = codec == "hevc" and warning.startswith(INTERLACED)
    return f"{FIELD_CODED}{warning.removeprefix(INTERLACED)} are single fields" if is_field else warning
