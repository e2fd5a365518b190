"""What a player makes of the pictures of a file scores as the same pictures do plainly."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import mutations
import pytest
import scored
import told
from mp4boxes import add_to_entry, box, clap
from told import IN_ORDER, X264, Made, ffmpeg

from securevqa_core.doubts import doubts

MAX_POINTS = 3.0
NEARLY_LOSSLESS = "-c:v libx264 -preset ultrafast -qp 6 -pix_fmt yuv420p"
WINDOW = clap((320, 1), (136, 1), (0, 1), (0, 1))
NOISE_AROUND = (
    "pad=480:270:80:67,split[a][b];[b]noise=alls=100:allf=t[n];[a]crop=320:136:80:67[w];[n][w]overlay=80:67"
)
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:qp=12 -pix_fmt yuv420p10le -tag:v hvc1"
OPEN_X264 = "-c:v libx264 -crf 16 -x264-params open-gop=1:keyint=12:bframes=8:b-pyramid=2"
OPEN_X265 = "-c:v libx265 -crf 16 -x265-params log-level=error:open-gop=1:keyint=12"
IN_STREAM = "colour_primaries=9:transfer_characteristics=16:matrix_coefficients=9"
NOWHERE = "colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2:video_full_range_flag=0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return told.make(tmp_path_factory.mktemp("shown"))


def _by_ffmpeg(made: Made, path: Path, options: str = "") -> tuple[Path, Path]:
    """Return a file and what FFmpeg's command line shows of it, plainly."""
    return path, made.encode("plainly.mp4", f"{options} {NEARLY_LOSSLESS} -an -sn", source=path)


def _windowed(made: Made) -> Path:
    whole = made.encode("around.mp4", f"-frames:v 40 -vf {NOISE_AROUND} {NEARLY_LOSSLESS}")
    return add_to_entry(whole, made.folder / "window.mp4", WINDOW)


def _pixel_crop(made: Made) -> tuple[Path, Path]:
    return _by_ffmpeg(made, made.encode("window.mkv", "-c copy", source=_windowed(made)))


def _copied(name: str, options: str, before: str = "") -> Callable[[Made], tuple[Path, Path]]:
    def make(made: Made) -> tuple[Path, Path]:
        path = made.folder / name
        ffmpeg(f"{before} -i {made.plain} {options} {path}")
        return _by_ffmpeg(made, path)

    return make


def _squeezed(made: Made) -> tuple[Path, Path]:
    path = made.encode("squeezed.mp4", f"-vf scale=160:136:flags=area,setsar=2 {NEARLY_LOSSLESS}")
    return _by_ffmpeg(made, path, "-vf scale=320:136:flags=bilinear,setsar=1")


def _untagged(made: Made) -> tuple[Path, Path]:
    options = f"-frames:v 40 -vf scale=1280:720,setsar=1 {X264}"
    plain = made.encode("tagged.mp4", f"{options} -colorspace bt709 -color_primaries bt709 -color_trc bt709")
    bare = "h264_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2"
    bare = made.encode("bare.mkv", f"-c copy -bsf:v {bare}", source=plain)  # the container keeps its own
    return made.encode("untagged.h264", "-c copy", source=bare), plain


def _container_only(name: str) -> Callable[[Made], tuple[Path, Path]]:
    def make(made: Made) -> tuple[Path, Path]:
        bare = made.encode("bare.mp4", f"-frames:v 40 {X265} -bsf:v hevc_metadata={NOWHERE}")
        colours = box(b"colr", b"nclx", struct.pack(">3HB", 9, 16, 9, 0))
        told_outside = add_to_entry(bare, made.folder / "outside.mp4", colours)
        plain = made.encode("inside.mkv", f"-c copy -bsf:v hevc_metadata={IN_STREAM}", source=bare)
        return made.encode(name, "-c copy", source=told_outside), plain

    return make


def _edited(*segments: tuple[float, float, float]) -> Callable[[Made], tuple[Path, Path]]:
    def make(made: Made) -> tuple[Path, Path]:
        source = made.encode("groups.mp4", f"{IN_ORDER} -g 25")
        return _by_ffmpeg(made, told.with_edits(source, made.folder / "edited.mp4", *segments))

    return make


def _below_zero(made: Made) -> tuple[Path, Path]:
    """Blocks may lie before their cluster: all are made to, by half a second more."""
    content = bytearray(made.encode("zero.mkv", "-c copy").read_bytes())
    for start, body, _ in mutations._ebml_elements(content, 0, len(content)):
        if content[start] == 0xA3:
            time = int.from_bytes(content[body + 1 : body + 3], signed=True)
            content[body + 1 : body + 3] = (time - 500).to_bytes(2, signed=True)
    return made.edited("below_zero.mkv", bytes(content)), made.plain


def _stamps_missing(made: Made) -> tuple[Path, Path]:
    """Every third picture of a transport stream comes without a time stamp (ISO/IEC 13818-1, 2.4.3.6)."""
    content = bytearray(made.encode("stamped.ts", "-c copy", source=made.in_order).read_bytes())
    number = 0
    for at in range(0, len(content), 188):
        start = content.find(b"\0\0\1\xe0", at, at + 188)
        if content[at + 1] & 0x40 and start >= 0:
            number += 1
            if number % 3 == 0:
                length = content[start + 8]
                content[start + 7] &= 0x3F
                content[start + 9 : start + 9 + length] = b"\xff" * length
    assert number > 70
    return made.edited("stamps.ts", bytes(content)), made.in_order


def _cut(name: str, options: str) -> Callable[[Made], tuple[Path, Path]]:
    """Begin at a keyframe of an open group: pictures before it are predicted from what is cut off."""

    def make(made: Made) -> tuple[Path, Path]:
        whole = made.encode("open.ts", options)
        path = made.folder / name
        ffmpeg(f"-ss 0.9 -i {whole} -c copy {path}")
        return _by_ffmpeg(made, path)

    return make


def _cut_anywhere(name: str, options: str, share: float = 1 / 3) -> Callable[[Made], tuple[Path, Path]]:
    """A recording that begins between keyframes, after the tables of its streams."""

    def make(made: Made) -> tuple[Path, Path]:
        whole = made.encode("whole.ts", options).read_bytes()
        return _by_ffmpeg(
            made, made.edited(name, whole[:564] + whole[int(share * len(whole)) // 188 * 188 :])
        )

    return make


def _with_sound(name: str, options: str, before: str = "") -> Callable[[Made], tuple[Path, Path]]:
    """Sound that begins long before the pictures, or ends long after them."""

    def make(made: Made) -> tuple[Path, Path]:
        path = made.folder / name
        ffmpeg(
            f"-f lavfi -i sine=duration=16 {before} -i {made.plain} -map 0 -map 1 -c:v copy {options} {path}"
        )
        return path, made.plain

    return make


def _without_tags(made: Made) -> tuple[Path, Path]:
    """Matroska whose tags do not say how long each track is: no field does."""
    path, plain = _with_sound("tagged.mkv", "-c:a libmp3lame", "-itsoffset 8")(made)
    content = path.read_bytes()
    assert content.count(b"DURATION") == 2
    return made.edited("untagged.mkv", content.replace(b"DURATION", b"ANYTHING")), plain


def _packed(made: Made) -> tuple[Path, Path]:
    """Two pictures in a packet and none in the next: FFmpeg gives B pictures one another's time stamps."""
    path = made.encode("packed.avi", "-c:v libxvid -q:v 2 -bf 2")
    return path, made.encode("in_order.avi", "-c:v libxvid -q:v 2")


def _behind_null_frames(made: Made) -> tuple[Path, Path]:
    """Frames of no bytes behind the first picture, which B pictures let begin late."""
    gap = "select='not(between(n,1,3))'"
    path = made.encode("behind.avi", f"-frames:v 30 -vf {gap} -fps_mode passthrough -c:v mpeg4 -q:v 2 -bf 2")
    return path, made.encode("filled.avi", f"-frames:v 33 -vf {gap},fps=25 -c:v mpeg4 -q:v 2")


def _mxf_without_index(made: Made) -> tuple[Path, Path]:
    plain = made.encode("plain.mxf", "-c:v mpeg2video -q:v 2")
    index_key, filler = bytes.fromhex("060e2b34025301010d01020101100100"), "060e2b34010101020301021001000000"
    content = plain.read_bytes()
    assert index_key in content
    return made.edited("no_index.mxf", content.replace(index_key, bytes.fromhex(filler))), plain


def _long_words(made: Made) -> tuple[Path, Path]:
    words = made.edited("words.srt", b"1\n00:00:01,000 --> 00:01:00,000\nto the end\n")
    path = made.folder / "words.mkv"
    ffmpeg(f"-i {made.plain} -i {words} -map 0 -map 1 -c copy {path}")
    return path, made.plain


def _null_frames(made: Made) -> tuple[Path, Path]:
    """AVI holds a picture by frames of no bytes."""
    gap = "select='lt(n,30)+gt(n,39)'"
    path = made.encode("null.avi", f"-vf {gap} -fps_mode passthrough -c:v mpeg4 -q:v 2")
    return path, made.encode("filled.avi", f"-vf {gap},fps=25 -c:v mpeg4 -q:v 2")


def _with_cover(name: str) -> Callable[[Made], tuple[Path, Path]]:
    def make(made: Made) -> tuple[Path, Path]:
        cover, path = made.encode("cover.png", "-frames:v 1 -vf negate,scale=800:-2"), made.folder / name
        attached = f"-attach {cover} -metadata:s:t mimetype=image/png"
        as_stream = f"-i {cover} -map 1 -map 0 -disposition:v:0 attached_pic"
        ffmpeg(f"-i {made.plain} {attached if name.endswith('mkv') else as_stream} -c copy {path}")
        return path, made.plain

    return make


def _put_together(made: Made) -> tuple[Path, Path]:
    """Two recordings by one clock, one after the other."""
    first = made.encode("first.ts", "-c copy")
    path = made.edited("together.ts", 2 * first.read_bytes())
    return _by_ffmpeg(made, path)


def _with_previews(made: Made) -> tuple[Path, Path]:
    """A photograph with smaller pictures behind it, as cameras append them."""
    plain = made.encode("photo.jpg", "-frames:v 1 -q:v 2")
    preview = made.encode("preview.jpg", "-frames:v 1 -vf negate -q:v 9")
    return made.edited("photo_and_more.jpg", plain.read_bytes() + 20 * preview.read_bytes()), plain


# how it is told -> how to make that, and the same content plainly
SHOWN: dict[str, Callable[[Made], tuple[Path, Path]]] = {
    "a clean aperture in noise": lambda made: _by_ffmpeg(made, _windowed(made)),
    "PixelCrop in noise": _pixel_crop,
    "the codec's own window": _copied(
        "window.ts", "-c copy -bsf:v h264_metadata=crop_left=64:crop_right=32:crop_top=16:crop_bottom=24"
    ),
    "turned": _copied("turned.mp4", "-c copy", "-display_rotation 90"),
    "turned, Matroska": _copied("turned.mkv", "-c copy", "-display_rotation 180"),
    "mirrored": _copied("mirrored.mp4", "-c copy", "-display_hflip"),
    "pixels that are wide": _squeezed,
    "colours that are tagged nowhere, 720 lines": _untagged,
    "PQ told by MP4 alone": _container_only("told.mp4"),
    "PQ told by Matroska alone": _container_only("told.mkv"),
    "a segment that is repeated": _edited((1, 0, 1), (1, 0, 1), (1, 1, 1)),
    "segments in another order": _edited((1, 2, 1), (1, 1, 1), (1, 0, 1)),
    "an empty segment first": _edited((1, -1 / 12800, 1), (2, 1, 1)),
    "a clock that begins below zero, Matroska": _below_zero,
    "time stamps that are missing": _stamps_missing,
    "no time stamps at all": _copied("bare.h264", "-c copy"),
    "cut at an open group, H.264 in TS": _cut("open264.ts", OPEN_X264),
    "cut at an open group, H.264 in Matroska": _cut("open264.mkv", OPEN_X264),
    "cut at an open group, HEVC in TS": _cut("open265.ts", OPEN_X265),
    "cut at an open group, HEVC in MP4": _cut("open265.mp4", OPEN_X265),
    "cut between keyframes, MPEG-2": _cut_anywhere("anywhere.ts", "-c:v mpeg2video -q:v 2 -bf 2 -g 12"),
    "cut between keyframes, H.264": _cut_anywhere("anywhere264.ts", "-c:v libx264 -crf 16 -g 40"),
    "cut between keyframes, H.264 in order": _cut_anywhere("order264.ts", "-c:v libx264 -crf 16 -g 40 -bf 0"),
    "cut between keyframes, HEVC": _cut_anywhere(
        "anywhere265.ts", "-c:v libx265 -crf 16 -g 30 -preset ultrafast", 0.2
    ),
    "cut between pictures that are refreshed part by part": _cut_anywhere(
        "refresh.ts", "-c:v libx264 -crf 16 -x264-params intra-refresh=1:keyint=20", 0.1
    ),
    "sound that is longer, ASF": _with_sound("longer.asf", "-c:a wmav2"),
    "sound that is longer, Matroska made live": _with_sound(
        "live.mkv", "-c:a libmp3lame -live 1", "-itsoffset 8"
    ),
    "sound that is longer, Matroska without tags": _without_tags,
    "packed B pictures": _packed,
    "null frames behind the first picture": _behind_null_frames,
    "MXF without its index": _mxf_without_index,
    "words that go on": _long_words,
    "null frames": _null_frames,
    "a cover picture, MP4": _with_cover("cover.mp4"),
    "a cover picture, Matroska": _with_cover("cover.mkv"),
    "recordings put together": _put_together,
    "a photograph with previews": _with_previews,
}


@pytest.mark.slow
@pytest.mark.parametrize("way", SHOWN)
def test_the_same_pictures_score_the_same(made: Made, way: str) -> None:
    path, plain = SHOWN[way](made)
    of_told, of_plain = (scored.score_file(file) for file in (path, plain))
    assert of_told.score == pytest.approx(of_plain.score, abs=MAX_POINTS)
    assert of_told.sample.info.width == of_plain.sample.info.width
    assert of_told.sample.info.duration_seconds == pytest.approx(
        of_plain.sample.info.duration_seconds, abs=0.05
    )
    assert not any(warning.startswith(("stream_short", "damaged")) for warning in of_told.sample.warnings)
    assert not doubts(of_told.sample.warnings)
