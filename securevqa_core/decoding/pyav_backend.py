"""Owns reading chosen frames with PyAV: seek to the keyframe before each window, decode on, skip the rest."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.codec import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.backend import FoundFrame, OpenVideo
from securevqa_core.decoding.clock import Clock, clock_of
from securevqa_core.decoding.damage import DamageMark, overheard
from securevqa_core.decoding.frame_index import FrameIndex, jumps_in
from securevqa_core.decoding.harmless import touch_no_pixel
from securevqa_core.decoding.header import not_understood
from securevqa_core.decoding.layers import check_layers
from securevqa_core.decoding.probe import demuxed
from securevqa_core.errors import DecodeError

__all__ = ["count_frames", "read_frames", "recount_frames", "without_unshown"]

# Containers in which a frame has the same time stamp however it is reached. In MPEG streams FFmpeg
# interpolates stamps from where it began to read.
_SEEKABLE = frozenset({"mov", "matroska", "avi"})
_MIN_SKIP_FRAMES = 16  # decoding on is cheaper than a seek over fewer
# Codecs of which FFmpeg leaves out frames that no other frame is predicted from, if told to, and no more.
_WITH_DISPOSABLE_FRAMES = frozenset({"h264"})
# Decoders that notice damage which FFmpeg's own pass over in silence, by the codec. They give the same
# pixels, but not how to turn them, so they only check; as PyAV ships them, streams of eight bits.
# libvpx refuses half a keyframe of VP8 where it is the first that it gets, and repairs it in silence later.
_STRICTER_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_STRICTER_BITS = 8
_VP8_INTER = 0x01  # RFC 6386, section 9.1: bit 0 of a frame's first byte
_NUM_CHECKED = 16  # packets in which layers are looked for wherever reading begins, as flags may be missing
_MAX_UNSHOWN = 1000  # frames before a keyframe
_FORGETS_NOTHING = "mmco: unref short failure"  # H.264: told to forget a frame that it does not hold
# What decoders say of pictures whose headers, or that which they are predicted from, lie before a cut.
_OF_WHAT_WAS_CUT = (
    _FORGETS_NOTHING,
    "co located POCs unavailable",
    "number of reference frames (",
    "Missing reference picture",
    "reference picture missing during reorder",
    "Frame num gap",
    "non-existing PPS",
    "decode_slice_header error",
    "no frame!",
    "Could not find ref with POC",
    "Error constructing the frame RPS",
    "PPS id out of range",
    "Not all references are available",
)


@dataclass(frozen=True, slots=True)
class _Decoded:
    picture: VideoFrame
    is_damaged: bool
    pixel_aspect: Fraction | None  # by the headers of the codec that were read last


def count_frames(video: OpenVideo) -> FrameIndex:
    """Return an index with as many frames as decoding yields, for streams whose packets do not tell.

    Raises:
        DecodeError: no_frames.
    """
    counted = _counted(video).index
    if not counted.num_frames:
        raise DecodeError("no_frames", f"none of the {video.index.num_frames} packets could be decoded")
    return counted


def without_unshown(video: OpenVideo) -> FrameIndex:
    """Return the index without frames at the start that nobody can show, for what they need was cut off.

    Recordings and trims that begin between keyframes, or at one of an open group, have some.
    """
    index, keyframes = video.index, np.flatnonzero(video.index.is_keyframe)
    if index.pts is None or not len(keyframes) or not 0 < keyframes[0] <= _MAX_UNSHOWN:
        return index
    if index.numbers is not None and index.numbers[keyframes[0]] != keyframes[0]:
        return index
    entry_time = int(index.pts[keyframes[0]])
    with video.reopened() as again:
        first = next(_packets(again.container, again.stream), None)
    shown: list[int] = []
    mark, is_complete, time = DamageMark(), False, None
    with video.reopened() as again:
        for decoded in _decode(again.container, again.stream, mark=mark, pardoned=_OF_WHAT_WAS_CUT):
            time = decoded.picture.pts
            is_complete = time is None or time >= entry_time
            if time is None or is_complete:
                break
            shown.append(time)
    # Ahead of the first keyframe in the file, a picture may be damaged if more is complained of than a cut.
    is_cut = first is not None and (first.is_keyframe or not mark.num_strikes)
    if not is_complete or not is_cut:
        return index
    # Where pictures are refreshed a part at a time, none is shown until all parts were.
    may_wait = index.numbers is None and not mark.num_strikes
    begins = min([*shown, entry_time if time is None or not may_wait else time])
    return index.without_first(
        int(np.searchsorted(index.pts, begins)), seconds=_seconds(begins - int(index.pts[0]), video)
    )


def recount_frames(video: OpenVideo) -> FrameIndex | None:
    """Return an index of what the decoder gives where fields of pictures have packets of their own.

    None where more packets have no frame than there are pictures that two may have made: those are lost.
    """
    counted = _counted(video)
    num_without = video.index.num_frames - counted.index.num_frames
    is_paired = 0 < num_without <= counted.num_interlaced
    return counted.index if is_paired and not counted.num_complaints else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    index: FrameIndex
    num_interlaced: int
    num_complaints: int


def _counted(video: OpenVideo) -> _Counted:
    """Decode everything, and return what came out."""
    mark, times, num_interlaced = DamageMark(), [], 0
    with video.reopened() as again:
        for decoded in _decode(again.container, again.stream, mark=mark):
            times.append(decoded.picture.pts)
            num_interlaced += decoded.picture.interlaced_frame
    index = replace(
        video.index,
        pts=None,
        num_frames=len(times),
        clock=_counted_clock(times, video),
        numbers=None,
        positions=None,
        unshown_seconds=_seconds_before(times, video),
    )
    return _Counted(index=index, num_interlaced=num_interlaced, num_complaints=mark.num_strikes)


def _seconds_before(times: list[int | None], video: OpenVideo) -> float:
    """Return how long a file goes on before its first picture, where it begins between keyframes."""
    order = video.index.order
    if order is None or video.index.is_keyframe[0] or not times or times[0] is None:
        return 0.0
    return _seconds(times[0] - int(order[0]), video)


def _seconds(ticks: int, video: OpenVideo) -> float:
    return ticks * float(video.stream.time_base or 0)


def _counted_clock(times: list[int | None], video: OpenVideo) -> Clock | None:
    """Return the clock by the pictures' own time stamps; by the packets' where those are out of order."""
    known = np.array([time for time in times if time is not None], dtype=np.int64)
    if (jumps := jumps_in(video.container, video.stream, known)) is not None:
        known = jumps.joined
    if len(known) < len(times) or (known[1:] < known[:-1]).any():
        known = np.zeros(0, dtype=np.int64) if video.index.order is None else video.index.order
    if not len(times) or len(known) != len(times) or video.stream.time_base is None:
        return None
    return clock_of(known, time_base=float(video.stream.time_base), last_duration=video.index.last_duration)


def read_frames(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Yield the frames of `wanted`, (k,) ascending and unique, that can be decoded, each at most once."""
    missing = set(wanted.tolist())
    if video.index.pts is None:
        passes = [_by_position]
    elif not _is_seekable(video):
        passes = [_by_time]
    else:
        passes = [_by_seeking, _by_time]  # what seeking misses or damages is read once more from the start
    for read_pass in passes:
        is_last = read_pass is passes[-1]
        for found in read_pass(video, np.array(sorted(missing), dtype=np.int64)):
            if found.number in missing and (is_last or not found.is_damaged):
                missing.remove(found.number)
                yield _shown(video, found)
        if not missing:
            return


def _shown(video: OpenVideo, found: FoundFrame) -> FoundFrame:
    shown = video.display.shown(found.picture)
    return replace(found, picture=shown.picture, geometry=shown.geometry, guessed=shown.guessed)


def _is_seekable(video: OpenVideo) -> bool:
    names = video.container.format.name.split(",")
    return video.index.positions is not None or not _SEEKABLE.isdisjoint(names)


def _by_seeking(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Decode window by window, from the keyframe before each."""
    assert video.index.pts is not None
    for keyframe, last in _windows(video.index, wanted):
        entry_time = int(video.index.pts[keyframe])
        try:
            if video.index.positions is not None:
                video.container.seek(int(video.index.positions[keyframe]), unsupported_byte_offset=True)
            else:
                video.container.seek(entry_time, stream=video.stream)
        except av.error.FFmpegError:
            return
        yield from _decode_until(video, wanted[wanted <= last], entry_time=entry_time)


def _windows(index: FrameIndex, wanted: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (row of the keyframe to seek to, last frame to decode) of every run of frames worth a seek."""
    numbers = np.arange(index.num_frames) if index.numbers is None else index.numbers
    keyframes = np.flatnonzero(index.is_keyframe)
    if not len(keyframes):
        return []
    before = np.searchsorted(numbers[keyframes], wanted, side="right") - 1
    entries = np.where(before < 0, 0, keyframes[before])  # the first keyframe may lie before what is shown
    windows: list[tuple[int, int]] = []
    for row, number in zip(entries.tolist(), wanted.tolist(), strict=True):
        if windows and numbers[row] - windows[-1][1] <= _MIN_SKIP_FRAMES:
            windows[-1] = (windows[-1][0], number)
        else:
            windows.append((row, number))
    return windows


def _by_time(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Decode from the start, telling frames apart by their time stamps."""
    index = video.index
    assert index.pts is not None
    entry_time = int(index.pts[0]) if index.num_unshown and index.numbers is None else None
    with video.reopened() as again:
        yield from _decode_until(again, wanted, entry_time=entry_time)


def _by_position(video: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    """Decode from the start, counting frames: for streams whose packets carry no usable time stamps."""
    with video.reopened() as again:
        for number, decoded in enumerate(_decode(again.container, again.stream)):
            yield _found(number, decoded)
            if number >= wanted[-1]:
                return


def _decode_until(
    video: OpenVideo, wanted: NDArray[np.int64], *, entry_time: int | None = None
) -> Iterator[FoundFrame]:
    """Decode from here to the last frame of `wanted`, whose others may lie before this."""
    times = video.index.times_of(wanted).tolist()
    number_at = dict(zip(times, wanted.tolist(), strict=True))
    for decoded in _decode(video.container, video.stream, number_at, entry_time):
        time = decoded.picture.pts
        if time in number_at:
            yield _found(number_at[time], decoded)
        if time is not None and time >= times[-1]:
            return


def _found(number: int, decoded: _Decoded) -> FoundFrame:
    return FoundFrame(
        number=number,
        picture=decoded.picture,
        is_damaged=decoded.is_damaged,
        is_interlaced=decoded.picture.interlaced_frame,
        pixel_aspect=decoded.pixel_aspect,
    )


def _decode(
    container: InputContainer,
    stream: VideoStream,
    wanted_times: Container[int] | None = None,
    entry_time: int | None = None,
    *,
    mark: DamageMark | None = None,
    pardoned: tuple[str, ...] = (),
) -> Iterator[_Decoded]:
    """Yield every frame from here on, passing over packets the decoder refuses.

    Args:
        container: read on from where it is.
        stream: of it.
        wanted_times: other frames are left out where none is predicted from them; None leaves out none.
        entry_time: of the keyframe that was sought. Frames shown before it lack what they are predicted from,
            which is no damage, and later ones are not predicted from them.
        mark: takes note of damage; None: one that nobody else looks at.
        pardoned: how complaints begin that do not count.

    Raises:
        DecodeError: display_not_understood.
    """
    context, mark, checker = stream.codec_context, mark or DamageMark(), _checker(stream)
    is_first_group = entry_time is not None
    context.skip_frame, context.copy_opaque = "DEFAULT", True
    if context.codec.canonical_name not in _WITH_DISPOSABLE_FRAMES:
        wanted_times = None
    place = None
    for number, packet in enumerate(_packets(container, stream)):
        check_layers(packet, context, is_entry=packet.is_keyframe or number < _NUM_CHECKED)
        packet.opaque = mark.next_place()
        if wanted_times is not None:
            context.skip_frame = _skipped(packet, wanted_times)
        if packet.is_keyframe and packet.pts is not None and packet.pts != entry_time:
            is_first_group = False
        # What was to be forgotten here lies before the keyframe that was sought.
        forgets = (_FORGETS_NOTHING,) if is_first_group else ()
        pictures, is_sound = _pictures(packet, context, pardoned=pardoned + forgets)
        checker = _renewed(checker, packet, stream)
        if checker is not None and packet.size:
            is_sound &= _pictures(packet, checker)[1]
        if not is_sound and not _is_before(packet.pts, entry_time):
            mark.strike()
        for picture in pictures:
            if picture.opaque is not None and picture.opaque is place:
                raise not_understood("several pictures in a packet, of which players show one or another")
            place = picture.opaque
            if not _is_before(picture.pts, entry_time):
                yield _Decoded(picture, mark.covers(picture), context.sample_aspect_ratio)


def _skipped(packet: Packet[VideoStream], wanted_times: Container[int]) -> Literal["DEFAULT", "NONREF"]:
    """Return which frames the decoder leaves out."""
    return "DEFAULT" if packet.pts is None or packet.pts in wanted_times else "NONREF"


def _is_before(time: int | None, entry_time: int | None) -> bool:
    return time is not None and entry_time is not None and time < entry_time


def _checker(stream: VideoStream) -> VideoCodecContext | None:
    """Return a decoder of the same packets that is asked for complaints alone, where there is one."""
    context = stream.codec_context
    name, pixels = _STRICTER_DECODERS.get(context.codec.canonical_name), context.format
    if name not in av.codec.codecs_available or pixels is None or pixels.components[0].bits != _STRICTER_BITS:
        return None
    checker = CodecContext.create(name, "r")
    assert isinstance(checker, VideoCodecContext)
    checker.options, checker.thread_count = context.options, 1
    return checker


def _renewed(
    checker: VideoCodecContext | None, packet: Packet[VideoStream], stream: VideoStream
) -> VideoCodecContext | None:
    """Return what checks a packet: at a keyframe of VP8 a decoder that got none before."""
    is_vp8 = packet.size > 0 and stream.codec_context.codec.canonical_name == "vp8"
    return _checker(stream) if is_vp8 and not memoryview(packet)[0] & _VP8_INTER else checker


def _pictures(
    packet: Packet[VideoStream], decoder: VideoCodecContext, *, pardoned: tuple[str, ...] = ()
) -> tuple[list[VideoFrame], bool]:
    """Return what comes out as a packet is sent, and whether the decoder has nothing to say against it.

    Args:
        packet: to send.
        decoder: to send it to.
        pardoned: how complaints begin that do not count.
    """
    pictures: list[VideoFrame] = []
    is_refused = False
    with overheard() as complaints:
        try:
            pictures = decoder.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            is_refused = True
    said = [text for _, _, text in complaints if not text.startswith(pardoned)]
    if is_refused:
        return [], bool(complaints) and not said
    return pictures, not said or touch_no_pixel(said, packet, decoder)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Yield packets up to the last that can be read."""
    try:
        yield from demuxed(container, [stream])
    except MemoryError:
        raise
    except av.error.FFmpegError:
        return
