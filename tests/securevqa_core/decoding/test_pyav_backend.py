"""Frame number k is the k-th frame shown, however it is reached."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import media
import numpy as np
import pytest

from securevqa_core.decoding.backend import OpenVideo
from securevqa_core.decoding.frame_index import index_frames, video_info
from securevqa_core.decoding.probe import check_stream, open_container, open_file
from securevqa_core.decoding.pyav_backend import count_frames, read_frames
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits

H264 = "-c:v libx264 -pix_fmt yuv420p -bf 3"
MPEG2 = "-c:v mpeg2video -bf 2 -g 12 -q:v 2 -pix_fmt yuv420p"
ALT_REF = "-auto-alt-ref 1 -lag-in-frames 16 -g 30 -pix_fmt yuv420p"
STREAMS = {
    "long_gop.mp4": f"{H264} -g 250",
    "short_gop.mp4": f"{H264} -g 12",
    "fragmented.mp4": f"{H264} -g 12 -movflags frag_keyframe+empty_moov",
    "open_gop.mkv": f"{H264} -g 12 -x264-params open-gop=1",
    "open_gop.ts": f"{H264} -g 12 -x264-params open-gop=1",
    "intra_refresh.mp4": "-c:v libx264 -pix_fmt yuv420p -bf 0 -x264-params intra-refresh=1:keyint=20",
    "interlaced.mp4": f"{H264} -g 12 -flags +ildct+ilme",
    "interlaced.ts": f"{H264} -g 12 -flags +ildct+ilme",
    "variable_rate.mkv": f"{H264} -g 12 -vf setpts=N*N*40+N -fps_mode vfr -enc_time_base 1/1000",
    "hevc_open_gop.mp4": "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=error:keyint=20:open-gop=1",
    "vp9.webm": f"-c:v libvpx-vp9 -deadline good -cpu-used 5 {ALT_REF}",
    "vp8.webm": f"-c:v libvpx -b:v 300k {ALT_REF}",
    "av1.mp4": "-c:v libsvtav1 -preset 10 -g 30 -pix_fmt yuv420p",
    "mpeg2.ts": MPEG2,
    "mpeg2.mpg": MPEG2,  # several frames a packet: time stamps depend on where reading began
    "mpeg4.avi": "-c:v mpeg4 -bf 2 -g 12 -q:v 2 -pix_fmt yuv420p",
    "h264_reordered.avi": f"{H264} -g 12",  # AVI has no time stamps
    "h264_in_order.avi": "-c:v libx264 -pix_fmt yuv420p -bf 0 -g 12",
    "mjpeg.avi": "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p",
    "raw.h264": f"{H264} -g 12",  # no time stamps and nothing to seek by
    "flash.flv": f"{H264} -g 12",
    "prores.mov": "-c:v prores_ks -pix_fmt yuv422p10le",
    "animation.gif": "-pix_fmt rgb8",
}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[OpenVideo]:
    with open_file(str(path)) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, DecodeLimits())
        index = index_frames(container, stream)
        yield OpenVideo(descriptor=descriptor, container=container, stream=stream, index=index)


FEW = [0, 5, 33, 34, 36, 47, 70, 99]


def _read(path: Path, wanted: list[int] | None = None) -> dict[int, int]:
    """Return frame number asked for -> number shown."""
    with _opened(path) as opened:
        counted = count_frames(opened) if opened.index.pts is None else opened.index
        video = replace(opened, index=counted)
        assert video.index.num_frames == 100
        numbers = np.arange(100) if wanted is None else np.array(wanted)
        found = list(read_frames(video, numbers))
    assert not any(frame.is_damaged for frame in found)
    assert len({frame.number for frame in found}) == len(found)
    return {frame.number: media.read_number(frame.picture.to_ndarray(format="rgb24")) for frame in found}


@pytest.mark.parametrize("name", STREAMS)
def test_every_frame_asked_for_is_the_one_that_is_shown_there(
    numbered: Callable[[str, str], Path], name: str
) -> None:
    path = numbered(name, STREAMS[name])
    assert _read(path) == {number: number for number in range(100)}
    assert _read(path, FEW) == {number: number for number in FEW}
    assert _read(path, [98]) == {98: 98}


def _shown_in_sequence(path: Path) -> list[int]:
    """What FFmpeg's own program shows, frame after frame."""
    pixels = media.run_ffmpeg(
        *f"-i {path} -f rawvideo -pix_fmt rgb24 -fps_mode passthrough -".split(),
    )
    frames = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, 64, 96, 3)
    return [media.read_number(frame) for frame in frames]


def test_what_an_edit_list_cuts_off_is_not_a_frame(
    numbered: Callable[[str, str], Path], tmp_path: Path
) -> None:
    source, cut = numbered("short_gop.mp4", STREAMS["short_gop.mp4"]), tmp_path / "cut.mp4"
    media.run_ffmpeg(*f"-ss 1.3 -i {source} -c copy {cut}".split())
    with _opened(cut) as video:
        index = video.index
        assert index.num_packets > index.num_frames
        found = list(read_frames(video, np.arange(index.num_frames)))
    assert [frame.number for frame in found] == list(range(index.num_frames))  # in one pass
    shown = [media.read_number(frame.picture.to_ndarray(format="rgb24")) for frame in found]
    assert shown == _shown_in_sequence(cut) == list(range(100 - len(shown), 100))


def test_hidden_vp8_frames_are_not_counted(numbered: Callable[[str, str], Path], tmp_path: Path) -> None:
    content = bytearray(numbered("vp8.webm", STREAMS["vp8.webm"]).read_bytes())
    with av.open(str(numbered("vp8.webm", STREAMS["vp8.webm"]))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    at = content.index(packets[50])
    content[at] &= ~0x10  # RFC 6386: show_frame
    hidden = tmp_path / "hidden.webm"
    hidden.write_bytes(content)
    with _opened(hidden) as video:
        index = video.index
        assert (index.num_frames, index.num_packets) == (99, 100)
        found = read_frames(video, np.arange(99))
        shown = [media.read_number(frame.picture.to_ndarray(format="rgb24")) for frame in found]
    assert shown == [number for number in range(100) if number != 50]


def test_damage_lasts_until_the_next_keyframe(numbered: Callable[[str, str], Path], tmp_path: Path) -> None:
    source = numbered("in_order_gops.mp4", "-c:v libx264 -pix_fmt yuv420p -bf 0 -g 20 -sc_threshold 0")
    damaged = media.spoil_packets(source, tmp_path / "damaged.mp4", [45])
    with _opened(damaged) as video:
        index = video.index
        assert np.flatnonzero(index.is_keyframe).tolist() == [0, 20, 40, 60, 80]
        found = {frame.number: frame for frame in read_frames(video, np.arange(100))}
    not_clean = [number for number in range(100) if number not in found or found[number].is_damaged]
    assert not_clean == list(range(45, 60))


def test_a_keyframe_held_back_does_not_end_damage_that_came_after_it(
    numbered: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Keyframe 40 is sent before the spoiled packet and shown after it."""
    source = numbered("reordered_gops.mp4", "-c:v libx264 -pix_fmt yuv420p -bf 3 -g 20 -sc_threshold 0")
    damaged = media.spoil_packets(source, tmp_path / "damaged.mp4", [41])
    with _opened(damaged) as video:
        assert video.stream.codec_context.has_b_frames
        assert np.flatnonzero(video.index.is_keyframe).tolist() == [0, 20, 40, 60, 80]
        found = {frame.number: frame for frame in read_frames(video, np.arange(100))}
    not_clean = [number for number in range(100) if number not in found or found[number].is_damaged]
    assert not_clean == list(range(41, 60))


def test_frames_left_out_change_no_other(numbered: Callable[[str, str], Path], tmp_path: Path) -> None:
    pyramid = tmp_path / "pyramid.mp4"
    options = "-c:v libx264 -preset medium -bf 8 -b-pyramid normal -g 60 -an"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} -t 3 -s 320x180 {options} {pyramid}".split())
    wanted = np.array([1, 2, 7, 20, 33, 59, 60, 61])
    with _opened(pyramid) as video:
        every = {frame.number: frame.picture.to_ndarray() for frame in read_frames(video, np.arange(75))}
        some = {frame.number: frame.picture.to_ndarray() for frame in read_frames(video, wanted)}
    assert len(every) == 75
    assert list(some) == wanted.tolist()
    assert all((some[number] == every[number]).all() for number in some)


def test_the_right_frames_are_found_although_no_keyframe_is_marked(
    numbered: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Uploaders write the tables: a lie about keyframes must not change what is looked at."""
    content = bytearray(numbered("short_gop.mp4", STREAMS["short_gop.mp4"]).read_bytes())
    at = content.index(b"stss")
    content[at : at + 4] = b"free"  # without this table every frame counts as a keyframe
    lying = tmp_path / "lying.mp4"
    lying.write_bytes(content)
    assert _read(lying, FEW) == {number: number for number in FEW}


def test_absurd_time_stamps_do_not_overflow(numbered: Callable[[str, str], Path], tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    source = numbered("short_gop.mp4", STREAMS["short_gop.mp4"])
    stretch = "setts=pts=PTS*900000000000:dts=DTS*900000000000"
    media.run_ffmpeg(*f"-i {source} -c copy -bsf:v {stretch} {late}".split())
    with _opened(late) as video:
        index = video.index
        info = video_info(video.stream, index)
        assert info.duration_seconds is None or 0 <= info.duration_seconds < float("inf")
        found = list(read_frames(video, np.arange(index.num_frames)))
    shown = {media.read_number(frame.picture.to_ndarray(format="rgb24")) for frame in found}
    assert shown <= set(range(100))


def test_a_stream_whose_packets_do_not_decode_has_no_frames(
    numbered: Callable[[str, str], Path], tmp_path: Path
) -> None:
    content = numbered("raw.h264", STREAMS["raw.h264"]).read_bytes()
    first_slice = content.index(b"\0\0\1\x65")
    broken = tmp_path / "broken.h264"
    broken.write_bytes(content[:first_slice] + b"\0\0\1\x65\xff\xff" * 40)
    with _opened(broken) as video:
        index = video.index
        with pytest.raises(DecodeError, match=f"none of the {index.num_frames} packets") as caught:
            count_frames(video)
    assert caught.value.code == "no_frames"
