"""Owns taking what a model samples from frames that are in memory already, as it is taken from a file.

    frames (t, h, w, 3) uint8  --as pictures-->  Collector  -->  the same patches, resized frames, statistics

No decoder has a part in it: whoever has the pixels trusts them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from securevqa_core.decoding.backend import FoundFrame
from securevqa_core.decoding.clock import NO_REPEATS, Clock, Rhythm, constant_clock
from securevqa_core.decoding.collect import Collector, wanted_frames
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest
from securevqa_core.decoding.rendered import encoded, whole_segments
from securevqa_core.decoding.repeats import RepeatWatch, frames_around, look_closer
from securevqa_core.types import VideoInfo
from securevqa_core.whole_frames import WholeSink, whole_plan

__all__ = ["sample_frames"]

NO_DECODER = "none"
NO_CODEC = "rawvideo"


def sample_frames(
    frames: NDArray[np.uint8], fps: float | None, request: DecodeRequest, sink: WholeSink | None = None
) -> DecodedSample:
    """Take from frames what `request` asks for; its backend and its limit of time do not apply.

    Args:
        frames: (t, h, w, 3) uint8, RGB, as a player shows them, t >= 1.
        fps: frames a second; None: not known.
        request: what to take.
        sink: takes the whole frames, where the sampling asks for any.

    Raises:
        DecodeError: too_many_pixels, rendition_failed.
    """
    num_frames, height, width, _ = frames.shape
    seconds = None if fps is None else num_frames / fps
    clock = constant_clock(num_frames, seconds)
    collector, rhythm = _collect(frames, fps, clock, request, sink)
    if rhythm != NO_REPEATS:
        clock = _clock_of_pictures(frames, fps, clock, request, rhythm)
        fps = None if seconds is None else clock.num_moments / seconds
        collector, _ = _collect(frames, fps, clock, request, sink)
    warnings = collector.finish()
    info = VideoInfo(
        width=width,
        height=height,
        fps=fps,
        num_frames=num_frames,
        duration_seconds=seconds,
        codec=NO_CODEC,
    )
    return DecodedSample(
        info=info,
        patches=collector.patches,
        frames=collector.frames,
        segments=collector.segments,
        decoder=NO_DECODER,
        warnings=tuple(warnings),
    )


def _clock_of_pictures(
    frames: NDArray[np.uint8], fps: float | None, clock: Clock, request: DecodeRequest, rhythm: Rhythm
) -> Clock:
    """Return the clock whose moments are pictures, however many frames show each."""
    if rhythm.phase is not None:
        return clock.coarser(rhythm)
    looked_at = np.arange(len(frames))
    if not request.sampling.has_statistics:  # which look at nearly all
        looked_at = frames_around(
            wanted_frames(clock.coarser(rhythm), request.sampling, request.draws), clock
        )
    pictures = look_closer(
        _pictures(frames, looked_at), looked_at, num_frames=len(frames), frames_per_second=fps
    )
    return clock if pictures is None else pictures(clock)


def _collect(
    frames: NDArray[np.uint8],
    fps: float | None,
    clock: Clock,
    request: DecodeRequest,
    sink: WholeSink | None,
) -> tuple[Collector, Rhythm]:
    """Return what was taken, and in which rhythm pictures repeat."""
    whole = None if sink is None else whole_plan(clock.num_moments, fps, request.sampling)
    collector = Collector(clock, request.sampling, request.draws, request.limits, None, whole=whole)
    watch = RepeatWatch(len(frames))
    if sink is not None and whole is not None:
        sink.begin(clock.num_moments, fps)
    for found in _found(frames, collector.wanted, clock, request, watch):
        collector.add(found)
        for moment in collector.whole_moments(found.number):
            assert sink is not None
            sink.add(moment, collector.planes(found.picture))
    return collector, watch.rhythm(fps)


def _found(
    frames: NDArray[np.uint8],
    wanted: NDArray[np.int64],
    clock: Clock,
    request: DecodeRequest,
    watch: RepeatWatch,
) -> Iterator[FoundFrame]:
    looked_at = set(wanted.tolist())
    if request.rendition is None:
        return watch.watching(_pictures(frames, wanted), looked_at)
    pictures = watch.watching(_pictures(frames, whole_segments(wanted, clock)), looked_at)
    return encoded(pictures, request.rendition, clock, wanted=looked_at)


def _pictures(frames: NDArray[np.uint8], numbers: NDArray[np.int64]) -> Iterator[FoundFrame]:
    for number in numbers.tolist():
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frames[number]), format="rgb24")
        yield FoundFrame(number=number, picture=picture, is_damaged=False, is_interlaced=False)
