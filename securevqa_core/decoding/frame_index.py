"""Owns which frames a stream holds and when each is shown, read from packets without decoding."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from securevqa_core.decoding.clock import MAX_BACK_SECONDS, Clock, Jumps, clock_of, constant_clock, jumps_of
from securevqa_core.decoding.probe import demuxed, reason_of
from securevqa_core.errors import DecodeError
from securevqa_core.types import VideoInfo

__all__ = ["FrameIndex", "index_frames", "jumps_in", "stream_seconds", "trusted_times", "video_info"]

_VP8_SHOW_FRAME = 0x10  # RFC 6386, section 9.1: bit 4 of a frame's first byte
_GIF_EXTENSION, _GIF_IMAGE = b"\x21", b"\x2c"  # what blocks begin with (GIF89a, sections 20 and 23 to 26)
_WITHOUT_LENGTHS = frozenset({"asf", "matroska"})  # of streams: FFmpeg may fill in the file's
_MAX_PLACEHOLDER_BYTES = 19  # FFmpeg's bound
# FFmpeg reads all pictures in a file as a video, viewers see the first: photographs bring previews along.
_STILLS = frozenset({"jpeg_pipe", "png_pipe", "webp_pipe", "bmp_pipe"})
_MAX_COUNT_ERROR = 0.5  # moments; a declared rate that gives other numbers of them is not the clock's


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameIndex:
    """The frames of a stream in the order they are shown, read from packets without decoding.

    Of a long film only some frames are known, those that `numbers` names.
    """

    pts: NDArray[np.int64] | None  # (k,) ascending, in stream time base; None where not to be trusted
    is_keyframe: NDArray[np.bool_]  # (k,)
    num_frames: int
    num_packets: int  # with those that are not shown: VP8's hidden frames, what an edit list cuts off
    numbers: NDArray[np.int64] | None = None  # (k,) ascending; None: every frame is known, k = num_frames
    positions: NDArray[np.int64] | None = None  # (k,) bytes from the file's start, where they are to seek by
    num_unshown: int = 0  # at the start, which nobody can show and are not counted
    unshown_seconds: float = 0.0  # for which they would stay
    clock: Clock | None = None  # None: nothing tells when frames are shown
    order: NDArray[np.int64] | None = None  # (num_frames,) ascending, to decode at, where `pts` is None
    last_duration: int | None = None  # for which the last frame stays, in stream time base; None: not told
    end_of_others: float = 0.0  # seconds, of other streams' packets, where they were looked at
    has_late_streams: bool = False  # some begin after what was looked at as the file was opened
    failed_at: int | None = None  # bytes from the file's start, at which FFmpeg read no further; None: it did
    seconds_ahead: float = 0.0  # that the clock jumped, which nobody is taken to watch
    seconds_back: float = (
        0.0  # that it jumped where clocks do not turn: what is seen of both parts is not known
    )

    @property
    def moments(self) -> Clock:
        """What moments there are to choose from."""
        return self.clock or constant_clock(self.num_frames)

    def without_first(self, num_frames: int, *, seconds: float) -> FrameIndex:
        """Return the index without the first so many frames, fewer than there are, which take so long."""
        if not num_frames:
            return self
        numbers = np.arange(self.num_frames) if self.numbers is None else self.numbers
        rows = numbers >= num_frames
        return replace(
            self,
            pts=None if self.pts is None else self.pts[rows],
            is_keyframe=self.is_keyframe[rows],
            num_frames=self.num_frames - num_frames,
            num_unshown=num_frames,
            unshown_seconds=seconds,
            numbers=None if self.numbers is None else numbers[rows] - num_frames,
            positions=None if self.positions is None else self.positions[rows],
            clock=None if self.clock is None else self.clock.without_first(num_frames),
        )

    def times_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time stamps of known frames.

        Args:
            numbers: (m,) of frames; of a long film, of those that are known.

        Raises:
            ValueError: the index has no time stamps.
        """
        if self.pts is None:
            raise ValueError(f"the index has no time stamps, so none for {numbers.tolist()}")
        rows = numbers if self.numbers is None else np.searchsorted(self.numbers, numbers)
        return self.pts[rows]


@dataclass(slots=True, kw_only=True)
class _Packets:
    """What the packets of frames that are shown say, in file order."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    durations: list[int | None] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)
    num_packets: int = 0
    end: int = 0  # bytes from the file's start, of the last one in the file
    end_of_others: float = 0.0
    has_late_streams: bool = False
    has_placeholders: bool = False  # MPEG-4's, for pictures that lie in the packets before

    def read(self, container: InputContainer, stream: VideoStream) -> None:
        """Read all packets; of a still picture's file those up to the first picture."""
        codec = stream.codec_context.codec.canonical_name
        is_still = container.format.name in _STILLS
        # Where a stream does not say how long it is, its container does, which counts sound as well.
        wanted = [stream] if stream_seconds(stream) else list(container.streams)
        packets = demuxed(container, wanted)
        while not (is_still and self.pts):
            try:
                packet = next(packets)
            except StopIteration as end:
                self.has_late_streams = end.value
                return
            self.end = max(self.end, (packet.pos or 0) + packet.size)
            if packet.stream_index == stream.index:
                self.add(packet, codec=codec)
            else:
                self.add_other(packet)

    def add(self, packet: Packet[Any], *, codec: str) -> None:
        self.num_packets += packet.size > 0
        self.has_placeholders |= codec == "mpeg4" and 0 < packet.size <= _MAX_PLACEHOLDER_BYTES
        if packet.size and not packet.is_discard and not _shows_nothing(packet, codec):
            self.pts.append(packet.pts)
            self.dts.append(packet.dts)
            self.durations.append(packet.duration)
            self.keyframes.append(packet.is_keyframe)

    def last_duration(self) -> int | None:
        """Return for how long the frame that is shown last stays; None where nothing says when any is."""
        shown = [(time, row) for row, time in enumerate(self.pts) if time is not None]
        if not shown:
            return None
        last, row = max(shown)
        return max(self._end_at(row), self._end_at(len(self.pts) - 1)) - last

    def _end_at(self, row: int) -> int:
        """Return when what one packet shows is over: that of the last is when the stream is."""
        return (self.pts[row] or 0) + (self.durations[row] or 0)

    def add_other(self, packet: Packet[Any]) -> None:
        if packet.pts is not None and packet.time_base is not None:
            end = packet.pts + (packet.duration or 0)
            self.end_of_others = max(self.end_of_others, float(end) * float(packet.time_base))


def _shows_nothing(packet: Packet[Any], codec: str) -> bool:
    """Tell whether a packet is a hidden frame of VP8, or what stands behind the last picture of a GIF."""
    if codec == "vp8":
        return not memoryview(packet)[0] & _VP8_SHOW_FRAME
    return codec == "gif" and _is_extensions_alone(bytes(packet))


def _is_extensions_alone(content: bytes) -> bool:
    at = 0
    while content[at : at + 1] == _GIF_EXTENSION:
        at += 2
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
    return at > 0 and content[at : at + 1] != _GIF_IMAGE


def index_frames(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Read every packet of `stream` once and list the frames it announces.

    Raises:
        DecodeError: no_frames.
    """
    packets, failed_at = _Packets(), None
    try:
        packets.read(container, stream)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        if not packets.pts:
            raise DecodeError("no_frames", f"no packet can be read: {reason_of(error)}") from error
        failed_at = packets.end
    if not packets.pts:
        raise DecodeError("no_frames", "the video stream holds no packet")
    return replace(_index(container, stream, packets), failed_at=failed_at)


def jumps_in(container: InputContainer, stream: VideoStream, times: NDArray[np.int64]) -> Jumps | None:
    """Return where the clock of a container jumps whose clock may be set anew; None where it does not."""
    may_jump = container.format.flags & cast(int, Flags.ts_discont.value)
    return jumps_of(times, time_base=_time_base(stream)) if may_jump else None


def _index(container: InputContainer, stream: VideoStream, packets: _Packets) -> FrameIndex:
    flags, last_duration = np.array(packets.keyframes), packets.last_duration()
    times = trusted_times(packets.pts, reorders=stream.codec_context.has_b_frames)
    if packets.has_placeholders and container.format.name == "avi":
        times = None  # B pictures get one another's: AVI has no time stamps
    clock = order = jumps = None
    if None not in packets.dts:
        sent = np.array(packets.dts, dtype=np.int64)
        jumps = jumps_in(container, stream, sent)
        order = np.sort(sent) if jumps is None else jumps.joined
    if jumps is not None:
        times = None  # they no longer tell frames apart
    if times is not None:
        rows = np.argsort(times)
        flags, times = flags[rows], times[rows]
        clock = clock_of(times, time_base=_time_base(stream), last_duration=last_duration)
    return FrameIndex(
        pts=times,
        is_keyframe=flags,
        num_frames=len(packets.pts),
        num_packets=packets.num_packets,
        clock=clock,
        order=order,
        last_duration=last_duration,
        seconds_ahead=0.0 if jumps is None else jumps.seconds_ahead,
        seconds_back=_seconds_back(packets.dts, stream) if jumps is None else 0.0,
        end_of_others=packets.end_of_others,
        has_late_streams=packets.has_late_streams,
    )


def _seconds_back(dts: list[int | None], stream: VideoStream) -> float:
    """Return by how much a packet is to be decoded before the last one, at most; 0 where it is little."""
    times = np.array([time for time in dts if time is not None], dtype=np.int64)
    back = float(-np.diff(times, prepend=times[:1]).min(initial=0)) * _time_base(stream)
    return back if back > MAX_BACK_SECONDS else 0.0


def _time_base(stream: VideoStream) -> float:
    return float(stream.time_base or 0) or 1.0


def stream_seconds(stream: VideoStream) -> float | None:
    """Return how long a stream says it is; None where it, unlike its container, does not."""
    has_field = _WITHOUT_LENGTHS.isdisjoint(stream.container.format.name.split(","))
    if has_field and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration) * float(stream.time_base)
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")  # Matroska's tag
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def trusted_times(pts: list[int | None], *, reorders: bool) -> NDArray[np.int64] | None:
    """Return the packets' time stamps, None where they do not tell frames apart or give the wrong order."""
    known = [stamp for stamp in pts if stamp is not None]
    if len(set(known)) < len(pts):
        return None
    times = np.array(known, dtype=np.int64)
    # AVI holds no time stamps and FFmpeg counts packets, which is right only where nothing is reordered.
    in_file_order = len(times) > 2 and bool((times[1:] > times[:-1]).all())
    return None if reorders and in_file_order else times


def video_info(stream: VideoStream, index: FrameIndex) -> VideoInfo:
    """Describe the stream by what its packets hold, not by what its header declares."""
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate else None
    clock = index.moments
    seconds = clock.seconds if clock.seconds is not None else clock.num_moments / fps if fps else None
    if seconds and (fps is None or abs(fps * seconds - clock.num_moments) >= _MAX_COUNT_ERROR):
        fps = clock.num_moments / seconds
    return VideoInfo(
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        fps=fps,
        num_frames=index.num_frames,
        duration_seconds=seconds,
        codec=stream.codec_context.codec.canonical_name,
    )
