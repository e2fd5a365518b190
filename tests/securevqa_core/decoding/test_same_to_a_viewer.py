"""What looks the same to a viewer scores the same, however a file tells it; else the row is for review."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import fields
import mutations
import numpy as np
import pytest
import scored
import told
from told import X264, Made, ffmpeg, remuxed

from securevqa_core.doubts import FIELD_CODED, SEVERAL_VIDEO_STREAMS, STREAM_SHORT, TRACK_CHANGES, doubts

MAX_POINTS = 3.0
COARSE = "scale=48:-2,scale=320:-2"
FREEZE = "loop=20:1:30,setpts=N/25/TB"
TWICE = "setpts=(N+floor(N/5)+floor(N/7))/30/TB,fps=30"  # every fifth picture, and every seventh
UNEVEN = "settb=1/1000,setpts='PTS+12*sin(N*0.7)+if(gt(N,40),(N-40)*9,0)'"
GOOD_AND_BAD = (
    "[0:v]trim=end_frame=400,settb=1/1000,setpts=N[a];[1:v]settb=1/1000,setpts=N*200[b];"
    "[a][b]concat=n=2:v=1,settb=1/1000[v]"
)
AT_ITS_TIME = "-fps_mode passthrough -enc_time_base 1/1000"
FINE = "-c:v libx264 -preset veryfast -qp 10"  # a constant rate factor gives less to each of more frames
LATE_SOUND = "-f lavfi -i sine=frequency=440:duration=12"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return told.make(tmp_path_factory.mktemp("same"))


def _flash_of_good(made: Made) -> tuple[Path, Path]:
    bad = made.encode("bad.mp4", "-vf setpts=2*PTS,fps=5,scale=128:-2 -c:v libx264 -crf 45 -r 5")
    alone = made.encode("alone.mp4", f"-vf scale=320:-2,loop=60:5,fps=5 {X264}", source=bad)
    mixed = made.folder / "mixed.mkv"
    passthrough = f"-map [v] -fps_mode passthrough -enc_time_base 1/1000 {X264} {mixed}"
    ffmpeg(f"-stream_loop 8 -i {made.plain} -i {alone} -filter_complex", GOOD_AND_BAD, *passthrough.split())
    return mixed, alone


def _held_last(suffix: str, *, repeats: bool = False) -> Callable[[Made], tuple[Path, Path]]:
    def make(made: Made) -> tuple[Path, Path]:
        with av.open(str(made.in_order)) as container:
            num_frames = container.streams.video[0].frames

        def hold(number: int, packet: av.Packet) -> None:
            assert packet.pts is not None
            assert packet.duration is not None
            assert packet.time_base is not None
            if number == num_frames - 1:
                packet.duration = int(600 / packet.time_base)
            if repeats and number == 30:
                packet.pts = packet.dts = packet.pts - packet.duration

        held = remuxed(made.in_order, made.folder / f"held.{suffix}", hold)
        still = f"-vf select=eq(n\\,{num_frames - 1}),loop=50:1 {X264}"
        return held, made.encode("still.mp4", still, source=made.in_order)

    return make


def _same_stamp_twice(made: Made) -> tuple[Path, Path]:
    def repeat(number: int, packet: av.Packet) -> None:
        if number == 30:
            assert packet.pts is not None
            assert packet.duration is not None
            packet.pts -= packet.duration
            packet.dts = packet.pts

    return remuxed(made.in_order, made.folder / "twice.mkv", repeat), made.in_order


def _all_at_once(made: Made) -> tuple[Path, Path]:
    """An MP4 whose samples all last for no time: the last is on screen for as long as the track is."""
    content = bytearray(made.in_order.read_bytes())
    at = content.index(b"stts") + 8
    number, count, _ = struct.unpack_from(">3I", content, at)
    assert number == 1
    struct.pack_into(">I", content, at + 8, 0)
    still = f"-vf select=eq(n\\,{count - 1}),loop=50:1 {X264}"
    at_once = made.edited("at_once.mp4", bytes(content))
    return at_once, made.encode("last.mp4", still, source=made.in_order)


def _first_not_sync(made: Made) -> tuple[Path, Path]:
    content = bytearray(made.in_order.read_bytes())
    at = content.index(b"stss") + 12  # version, flags and count lie between
    content[at : at + 4] = (2).to_bytes(4)
    return made.edited("first_not_sync.mp4", bytes(content)), made.in_order


def _no_key_flags(made: Made) -> tuple[Path, Path]:
    content = bytearray(made.encode("flags.mkv", "-c copy").read_bytes())
    for start, body, _ in mutations._ebml_elements(content, 0, len(content)):
        if content[start] == 0xA3:
            content[body + 3] &= 0x7F  # RFC 9559, section 10.2
    return made.edited("no_key_flags.mkv", bytes(content)), made.plain


def _fields(suffix: str) -> Callable[[Made], tuple[Path, Path]]:
    def make(made: Made) -> tuple[Path, Path]:
        grey = made.encode("grey.yuv", "-frames:v 40 -vf scale=256:160 -f rawvideo -pix_fmt yuv420p")
        raw = np.frombuffer(grey.read_bytes(), np.uint8).reshape(-1, 160 * 256 * 3 // 2).copy()
        raw[:, : 160 * 256] = raw[:, : 160 * 256].clip(16, 235)
        raw[:, 160 * 256 :] = 128
        made.edited("grey.yuv", raw.tobytes())
        plain = made.folder / "interlaced.mp4"
        lossless = "-c:v libx264 -preset ultrafast -qp 0 -flags +ildct+ilme"
        ffmpeg(f"-f rawvideo -pix_fmt yuv420p -s 256x160 -r 25 -i {grey} {lossless} {plain}")
        pictures = list(raw[:, : 160 * 256].reshape(-1, 160, 256))
        return fields.write_fields(made.folder / f"fields.{suffix}", pictures), plain

    return make


def _truncated_sei(made: Made) -> tuple[Path, Path]:
    """A message that says it is forty bytes long, and is one, before every picture."""
    raw = made.encode("raw.h264", "-c copy -bsf:v h264_mp4toannexb -f h264")
    content = raw.read_bytes()
    for slice_start in (b"\0\0\1\x65\x88", b"\0\0\1\x41\x9a", b"\0\0\1\x01\x9e", b"\0\0\1\x01\x9f"):
        content = content.replace(slice_start, b"\0\0\1\x06\x01\x28\x80" + slice_start)
    assert len(content) > raw.stat().st_size + 7
    told = made.edited("told.h264", content)
    return made.encode("told.mp4", "-c copy", source=told), made.plain


def _with_exif(made: Made) -> tuple[Path, Path]:
    still = made.encode("still.jpg", "-frames:v 1 -q:v 3")
    content = still.read_bytes()
    # TIFF, one entry in its one directory: orientation (0x112), a short, upright.
    tiff = bytes.fromhex("4d4d002a00000008 0001 0112000300000001 00010000 00000000")
    exif = b"Exif\0\0" + tiff
    marked = content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + content[2:]
    return made.edited("exif.jpg", marked), still


def _gif_with_comment(made: Made) -> tuple[Path, Path]:
    plain = made.encode("plain.gif", "-frames:v 20")
    comment = b"\x21\xfe\x04Made\0"  # GIF89a, section 24
    return made.edited("comment.gif", plain.read_bytes()[:-1] + comment + b"\x3b"), plain


def _late_picture(made: Made) -> tuple[Path, Path]:
    late = made.folder / "late.ts"
    ffmpeg(f"-itsoffset 8 -i {made.plain} {LATE_SOUND} -map 0 -map 1 -c:v copy -c:a mp2 {late}")
    return late, made.plain


def _late_in_matroska(seconds: int) -> Callable[[Made], tuple[Path, Path]]:
    """Matroska's tag of a track's duration tells when it ends; FFmpeg looks for pictures for five seconds."""

    def make(made: Made) -> tuple[Path, Path]:
        late = made.folder / "late.mkv"
        ffmpeg(f"{LATE_SOUND} -itsoffset {seconds} -i {made.plain} -map 0 -map 1 -c:v copy -c:a aac {late}")
        return late, made.plain

    return make


def _long_sound(made: Made) -> tuple[Path, Path]:
    long = made.folder / "long.mkv"
    ffmpeg(f"-i {made.plain} {LATE_SOUND} -c:v copy -c:a aac {long}")
    return long, made.plain


def _uneven(rate: int) -> Callable[[Made], tuple[Path, Path]]:
    """An uneven rate, of pictures that stay for 32 to 57 ms, made a constant one, and as it is."""

    def make(made: Made) -> tuple[Path, Path]:
        uneven = made.encode("uneven.mkv", f"-vf {UNEVEN} {AT_ITS_TIME} {FINE}")
        return made.encode(f"made{rate}.mp4", f"-vf fps={rate} {FINE}", source=uneven), uneven

    return make


def _copy(name: str, options: str) -> Callable[[Made], tuple[Path, Path]]:
    return lambda made: (made.encode(name, options), made.plain)


def _both(told: tuple[str, str], plain: tuple[str, str]) -> Callable[[Made], tuple[Path, Path]]:
    """Names and options of two encodings."""
    return lambda made: (made.encode(*told), made.encode(*plain))


def _by_repeats_and_by_time(name: str, frame: str, *, rate: int) -> Callable[[Made], tuple[Path, Path]]:
    """Picture N at the time of frame `frame` of a rate, told by frames of 60 a second and by time stamps."""
    by_repeats = f"-vf setpts='({frame})/{rate}/TB',fps=60 {FINE}"
    by_time = f"-vf settb=1/1000,setpts='({frame})*1000/{rate}' {AT_ITS_TIME} {FINE}"
    return _both((f"{name}.mp4", by_repeats), (f"{name}.mkv", by_time))


# how it is told -> how to make that, and the same content plainly
SAME: dict[str, Callable[[Made], tuple[Path, Path]]] = {
    "good frames flash by before bad ones": _flash_of_good,
    "frames are missing": _both(
        ("gap.mp4", f"-vf select='lt(n,30)+gt(n,39)' -fps_mode passthrough {X264}"),
        ("filled.mp4", f"-vf select='lt(n,30)+gt(n,39)',fps=25 {X264}"),
    ),
    "the last frame stays, MP4": _held_last("mp4"),
    "the last frame stays, Matroska": _held_last("mkv"),
    "a time stamp twice": _same_stamp_twice,
    "a time stamp twice, and the last frame stays": _held_last("mkv", repeats=True),
    "all frames at once": _all_at_once,
    "an empty edit first": lambda made: (
        made.encode("empty_edit.mp4", "-c copy -output_ts_offset 2 -avoid_negative_ts disabled"),
        made.plain,
    ),
    "one frame a minute": _both(
        ("minutes.mp4", f"-frames:v 20 -vf setpts=N*60/TB -fps_mode passthrough {X264}"),
        ("seconds.mp4", f"-frames:v 20 {X264}"),
    ),
    "25 in 50": _copy("rep50.mp4", f"-vf fps=50 {X264}"),
    "25 in 100, HEVC": _copy("rep100.mp4", "-vf fps=100 -c:v libx265 -crf 18 -x265-params log-level=error"),
    "25 in 200": _copy("rep200.mp4", f"-vf fps=200 {X264}"),
    "25 in 240": _copy("rep240.mp4", f"-vf fps=240 {FINE}"),
    "each fourth picture twice as long": _by_repeats_and_by_time("2224", "N+floor(N/4)", rate=30),
    "60 pictures a second, then 30": _by_repeats_and_by_time("two", "N+max(0,N-36)", rate=60),
    "25 in 50, MPEG-4": _both(
        ("rep50.avi", "-vf fps=50 -c:v mpeg4 -q:v 2"),
        ("rep25.avi", "-c:v mpeg4 -q:v 2"),
    ),
    "24 in 60": _both(
        ("film60.mp4", f"-vf fps=24,fps=60 {X264}"),
        ("film24.mp4", f"-vf fps=24 {X264}"),
    ),
    "every third picture twice": _both(
        ("rep20in30.mp4", f"-vf {COARSE},fps=20,fps=30 {X264}"),
        ("rep20.mp4", f"-vf {COARSE},fps=20 {X264}"),
    ),
    "film at 30 frames a second": _both(
        ("film30.mp4", f"-vf {COARSE},setpts=N/24/TB,fps=30 -r 30 {X264}"),
        ("film.mp4", f"-vf {COARSE} {X264}"),
    ),
    "every eighth picture twice": _both(
        ("rep27.mp4", f"-vf {COARSE},setpts=N/24/TB,fps=27 -r 27 {X264}"),
        ("film.mp4", f"-vf {COARSE} {X264}"),
    ),
    "pictures twice in no rhythm": _both(
        ("unrhythmic.mp4", f"-vf {COARSE},{TWICE} -r 30 {X264}"),
        ("film.mp4", f"-vf {COARSE} {X264}"),
    ),
    "a freeze in film at 30 frames a second": _both(
        ("frozen30.mp4", f"-vf {FREEZE},setpts=N/24/TB,fps=30 -r 30 {X264}"),
        ("frozen24.mp4", f"-vf {FREEZE} {X264}"),
    ),
    "a freeze in 25 in 50": _both(
        ("frozen50.mp4", f"-vf {FREEZE},fps=50 {X264}"),
        ("frozen25.mp4", f"-vf {FREEZE} {X264}"),
    ),
    "an uneven rate": lambda made: (_uneven(30)(made)[1], made.plain),
    "an uneven rate, of 30": _uneven(30),
    "an uneven rate, of 60": _uneven(60),
    "an uneven rate, of 120": _uneven(120),
    "an uneven rate, of 240": _uneven(240),
    "first sample not marked": _first_not_sync,
    "no keyframe flags": _no_key_flags,
    "a clock that turns, TS": _copy("turns.ts", "-c copy -output_ts_offset 95442"),
    "a clock that turns, PS": _copy("turns.mpg", "-c:v mpeg2video -q:v 2 -output_ts_offset 95442"),
    "one field a packet, MP4": _fields("mp4"),
    "one field a packet, Matroska": _fields("mkv"),
    "one field a packet, TS": _fields("ts"),
    "side data without a name": _with_exif,
    "a comment behind the pictures of a GIF": _gif_with_comment,
    "a message cut short": _truncated_sei,
    "sound that goes on": _long_sound,
    "a trim without encoding": lambda made: (
        made.encode("trim.mp4", "-c copy", source=made.encode("whole.mp4", f"-ss 1.3 {X264} -g 250")),
        made.folder / "whole.mp4",
    ),
    "AVI with B-frames": _copy("reordered.avi", "-c copy"),
    "a picture that begins after eight seconds of sound": _late_picture,
    "a picture that begins after three seconds of sound, Matroska": _late_in_matroska(3),
    "a picture that begins after nine seconds of sound, Matroska": _late_in_matroska(9),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", SAME)
def test_the_same_content_scores_the_same(made: Made, way: str) -> None:
    path, plain = SAME[way](made)
    of_told, of_plain = (scored.score_file(file, num_draws=4) for file in (path, plain))
    assert of_told.score == pytest.approx(of_plain.score, abs=MAX_POINTS)
    assert not any(warning.startswith(("stream_short", "damaged")) for warning in of_told.sample.warnings)
    assert not doubts(of_told.sample.warnings)


def _pid_change(*pids: int) -> Callable[[Made], Path]:
    def make(made: Made) -> Path:
        long = made.encode("long.mp4", f"-vf loop=10:75 -frames:v 750 {X264}")
        parts = [
            made.encode(
                f"{place}.ts", f"-c copy -mpegts_start_pid {pid} -output_ts_offset {30 * place}", source=long
            )
            for place, pid in enumerate(pids)
        ]
        return made.edited("pids.ts", b"".join(part.read_bytes() for part in parts))

    return make


def _two_tracks(made: Made) -> Path:
    return made.encode("tracks.mp4", f"-map 0:v -map 0:v {X264}")


def _ogg_put_together(made: Made) -> Path:
    """One video with sound after the other, as RFC 3533 allows: FFmpeg reads the first, VLC shows both."""
    sound = "-f lavfi -i sine=duration=3 -map 0:v -map 1:a -c:v libtheora -q:v 8 -c:a libvorbis"
    parts = [made.encode(f"{part}.ogv", f"{sound} -serial_offset {9 * part}") for part in range(2)]
    return made.edited("parts.ogv", b"".join(part.read_bytes() for part in parts))


def _hevc_fields(made: Made) -> Path:
    options = "-c:v libx265 -x265-params log-level=error:interlace=tff"
    return made.encode("fields_hevc.mp4", options)


FOR_REVIEW: dict[str, tuple[Callable[[Made], Path], tuple[str, ...]]] = {
    "the packet id changes": (_pid_change(256, 512), (SEVERAL_VIDEO_STREAMS,)),
    "the packet id changes for a while": (_pid_change(256, 512, 256), (TRACK_CHANGES,)),
    "two video tracks": (_two_tracks, (SEVERAL_VIDEO_STREAMS,)),
    "Ogg put together": (_ogg_put_together, (STREAM_SHORT,)),
    "fields in HEVC": (_hevc_fields, (FIELD_CODED,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOR_REVIEW)
def test_what_may_not_be_what_is_shown_is_for_review(made: Made, kind: str) -> None:
    make, begins = FOR_REVIEW[kind]
    first, *_ = doubts(scored.score_file(make(made)).sample.warnings)
    assert first.startswith(begins)


@pytest.mark.slow
def test_the_clock_is_told_of(made: Made) -> None:
    held, _ = _held_last("mkv")(made)
    repeated = made.encode("rep50b.mp4", f"-vf fps=50 {X264}")
    of_held, of_repeated = (scored.score_file(path).sample.info for path in (held, repeated))
    assert of_held.duration_seconds == pytest.approx(603, abs=0.1)
    assert (of_repeated.num_frames, of_repeated.fps) == (150, 25.0)
    assert Fraction(of_repeated.duration_seconds or 0).limit_denominator(100) == 3
