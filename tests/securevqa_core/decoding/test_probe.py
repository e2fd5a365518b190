"""Files that are not what they say: each gets its own code, and none more than it is owed."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import av
import media
import numpy as np
import pytest

from securevqa_core.decoding.allowlist import CODECS, CONTAINERS, open_options
from securevqa_core.decoding.child import answer
from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.probe import MAX_STREAMS, open_container, open_file
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits

RequestMaker = Callable[..., DecodeRequest]


def _refusal(path: Path, request: DecodeRequest) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        extract_sample(str(path), request)
    assert str(path) not in str(caught.value)  # scratch names mean nothing to whoever reads the report
    return caught.value


def _warnings(path: Path, request: DecodeRequest) -> str:
    return " ".join(extract_sample(str(path), request).warnings)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("empty.mp4", "not_a_video", "no allowed container recognises the bytes"),
        ("text.mp4", "not_a_video|container_not_allowed", "container"),
        ("truncated.mp4", "not_a_video", "the end with the index (moov) is missing"),
        ("audio_only.mp4", "no_video_stream", "no video stream among audio"),
    ],
)
def test_hostile_files_get_their_code(
    videos: dict[str, Path], make_request: RequestMaker, name: str, code: str, message: str
) -> None:
    error = _refusal(videos[name], make_request())
    assert error.code in code.split("|")
    assert message in str(error)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("format_name", ["mp4", "mov"])
def test_an_index_that_was_not_uploaded_is_said_to_be_missing(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path, kept: float, format_name: str
) -> None:
    whole, part = tmp_path / f"whole.{format_name}", tmp_path / f"part.{format_name}"
    media.run_ffmpeg("-i", str(videos["bikes_h264.mp4"]), "-c", "copy", str(whole))
    content = whole.read_bytes()
    part.write_bytes(content[: int(kept * len(content))])
    error = _refusal(part, make_request())
    assert error.code == "not_a_video"
    assert "index (moov) is missing: most likely half an upload" in str(error)


def test_a_box_that_claims_more_than_any_file_holds_is_no_defect_of_ours(
    make_request: RequestMaker, tmp_path: Path
) -> None:
    path = tmp_path / "endless.mp4"
    path.write_bytes(struct.pack(">I8sII4sQ", 16, b"ftypisom", 0, 1, b"mdat", 2**64 - 1) + bytes(100))
    assert "index (moov) is missing" in str(_refusal(path, make_request()))


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_not_a_video(make_request: RequestMaker, tmp_path: Path, seed: int) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(seed).bytes(100_000))
    error = _refusal(noise, make_request())
    assert (error.code, "index" in str(error)) == ("not_a_video", False)


def test_a_folder_or_a_missing_file_is_said_so(make_request: RequestMaker, tmp_path: Path) -> None:
    assert "not a regular file" in str(_refusal(tmp_path, make_request()))
    missing = _refusal(tmp_path / "gone", make_request())
    assert (missing.code, "No such file" in str(missing)) == ("decode_failed", True)


@pytest.mark.parametrize(
    ("made", "codec"),
    [
        (("a.avi", "-vf scale=160:-4 -c:v cinepak"), "cinepak"),
        (("a.mov", "-c:v jpeg2000"), "jpeg2000"),
        (("a.avi", "-c:v flashsv"), "flashsv"),
    ],
)
def test_a_codec_that_is_not_on_the_list_is_refused_by_name(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path, made: tuple[str, str], codec: str
) -> None:
    path = tmp_path / made[0]
    media.run_ffmpeg(*f"-i {videos['one_frame.mp4']} {made[1]} {path}".split())
    error = _refusal(path, make_request())
    assert (error.code, str(error)) == ("codec_not_allowed", f"codec {codec!r} is not on the allow-list")


def test_a_codec_nobody_knows_is_refused(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    content = videos["bikes_h264.mp4"].read_bytes().replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC")
    path = tmp_path / "unknown.mp4"
    path.write_bytes(content)
    error = _refusal(path, make_request())
    assert (error.code, str(error)) == ("codec_not_allowed", "no decoder knows the codec of the video stream")


@pytest.mark.parametrize("name", ["image.tiff", "image.ppm", "sound.wav"])
def test_a_container_that_is_not_on_the_list_is_refused(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    source = videos["bunny_h264.mp4" if name == "sound.wav" else "one_frame.mp4"]
    media.run_ffmpeg(*f"-i {source} {path}".split())
    assert _refusal(path.rename(tmp_path / "video.mp4"), make_request()).code == "container_not_allowed"


def test_ffmpeg_is_told_what_it_may_open() -> None:
    options = open_options()
    assert options["protocol_whitelist"] == "fd"
    assert set(options["format_whitelist"].split(",")) == CONTAINERS
    decoders = set(options["codec_whitelist"].split(","))
    assert {"h264", "hevc", "vp9", "libdav1d", "png", "gif"} <= decoders
    assert {av.codec.Codec(name, "r").canonical_name for name in decoders} <= CODECS
    assert not {"aac", "hls", "image2", "concat", "cinepak"} & (decoders | CONTAINERS)


def test_the_limit_on_pixels_is_inclusive(videos: dict[str, Path], make_request: RequestMaker) -> None:
    video = videos["carphone_h264.mkv"]  # 88 x 72
    extract_sample(str(video), make_request(limits=DecodeLimits(max_pixels=88 * 72)))
    error = _refusal(video, make_request(limits=DecodeLimits(max_pixels=88 * 72 - 1)))
    assert (error.code, str(error)) == (
        "too_many_pixels",
        "a frame may have at most 6335 pixels, got 88 x 72",
    )


def test_the_limit_on_streams_is_inclusive(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    most, more = tmp_path / "most.mkv", tmp_path / "more.mkv"
    for path, num_streams in ((most, MAX_STREAMS), (more, MAX_STREAMS + 1)):
        maps = " -map 0:v" * num_streams
        media.run_ffmpeg(*f"-i {videos['one_frame.mp4']}{maps} -c copy {path}".split())
    assert "several_video_streams" in _warnings(most, make_request())
    error = _refusal(more, make_request())
    assert (error.code, str(error)) == ("too_many_streams", "a file may have at most 128 streams, got 129")


def test_a_video_that_lasts_for_days_is_refused(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    for stretch, is_refused in ((80_000, False), (90_000, True)):  # two seconds become 44 and 50 hours
        path = tmp_path / f"{stretch}.mkv"
        stretched = f"setts=pts=PTS*{stretch}:dts=DTS*{stretch}"
        media.run_ffmpeg(*f"-i {videos['carphone_h264.mkv']} -c copy -bsf:v {stretched} {path}".split())
        if is_refused:
            error = _refusal(path, make_request())
            assert error.code == "too_long"
            assert "a video may last 172800 s, got 18" in str(error)
        else:
            assert extract_sample(str(path), make_request()).info.num_frames == 60


def test_a_later_header_cannot_claim_more_pixels_than_the_first(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    parts = []
    for width in (160, 1600):
        part = tmp_path / f"{width}.h264"
        filters = f"scale={width}:{width * 9 // 16},loop=30:1"
        media.run_ffmpeg(*f"-i {videos['one_frame.mp4']} -vf {filters} -c:v libx264 -bf 0 {part}".split())
        parts.append(part.read_bytes())
    joined, stream = tmp_path / "joined.ts", tmp_path / "joined.h264"
    stream.write_bytes(b"".join(parts))
    media.run_ffmpeg(*f"-f h264 -i {stream} -c copy {joined}".split())
    assert "size_changes" in _warnings(joined, make_request())
    one_frame_too_large = DecodeLimits(max_pixels=1600 * 900 - 1)
    error = _refusal(joined, make_request(limits=one_frame_too_large))
    assert (error.code, "got 1600 x 900" in str(error)) == ("too_many_pixels", True)
    # the decoder itself refuses what is far beyond
    error = _refusal(joined, make_request(limits=DecodeLimits(max_pixels=160 * 100)))
    assert error.code == "decode_corrupt"


@pytest.fixture(scope="module")
def index_first(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "index_first.mp4"
    media.run_ffmpeg(*f"-i {videos['bikes_h264.mp4']} -c copy -movflags faststart {path}".split())
    return path


def test_a_video_cut_off_after_its_index_is_scored_with_a_warning(
    index_first: Path, make_request: RequestMaker, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    content = index_first.read_bytes()
    cut.write_bytes(content[: len(content) * 6 // 10])
    sample = extract_sample(str(cut), make_request())
    assert 5 < sample.info.num_frames < 45
    assert f"stream_short: {sample.info.num_frames} of 50 declared frames are present" in sample.warnings


@pytest.mark.parametrize("suffix", ["mkv", "webm", "flv"])
def test_a_stream_shorter_than_its_container_declares_is_said_so(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path, suffix: str
) -> None:
    codec = "libvpx-vp9 -deadline realtime" if suffix == "webm" else "libx264"
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    media.run_ffmpeg(*f"-i {videos['bikes_h264.mp4']} -c:v {codec} {whole}".split())
    assert extract_sample(str(whole), make_request()).warnings == ()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 10])
    assert re.search(r"stream_short: [01]\.\d\d of 2\.0\d declared seconds", _warnings(cut, make_request()))


@pytest.mark.parametrize("box", [b"mvhd", b"mdhd"])
def test_a_huge_declared_duration_costs_nothing(
    index_first: Path, make_request: RequestMaker, tmp_path: Path, box: bytes
) -> None:
    content = bytearray(index_first.read_bytes())
    at = content.index(box) + 4 + 16
    content[at : at + 4] = b"\x7f\xff\xff\xfe"
    path = tmp_path / "huge.mp4"
    path.write_bytes(content)
    info = extract_sample(str(path), make_request()).info
    assert (info.num_frames, info.duration_seconds) == (50, pytest.approx(2.0))


@pytest.mark.parametrize("duration", [1e18, float("nan"), float("inf"), -1.0])
def test_an_absurd_duration_in_a_matroska_header_costs_nothing(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path, duration: float
) -> None:
    content = bytearray(videos["carphone_h264.mkv"].read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # Duration, eight bytes
    content[at : at + 8] = struct.pack(">d", duration)
    path = tmp_path / "absurd.mkv"
    path.write_bytes(content)
    info = extract_sample(str(path), make_request()).info
    assert (info.num_frames, info.duration_seconds) == (60, pytest.approx(2.0, rel=0.01))


def test_a_cover_picture_is_not_the_video(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    song, film, cover = tmp_path / "song.m4a", tmp_path / "film.mp4", tmp_path / "cover.png"
    bunny = videos["bunny_h264.mp4"]
    media.run_ffmpeg(*f"-i {videos['one_frame.mp4']} -vf scale=640:-2 {cover}".split())
    inputs = f"-i {bunny} -i {cover} -map 1:v -c copy -disposition:v:0 attached_pic"
    media.run_ffmpeg(*f"{inputs} -map 0:a -t 1 {song}".split())
    media.run_ffmpeg(*f"{inputs} -map 0:v -t 1 {film}".split())
    error = _refusal(song, make_request())
    assert (error.code, str(error)) == ("no_video_stream", "no video stream among audio, cover picture")
    sample = extract_sample(str(film), make_request())
    assert (sample.info.codec, sample.info.width, sample.warnings) == ("h264", 160, ())


def test_more_than_one_video_is_said_so(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    both = tmp_path / "both.mp4"
    inputs = f"-i {videos['bikes_h264.mp4']} -i {videos['carphone_h264.mkv']}"
    media.run_ffmpeg(*f"{inputs} -map 0:v -map 1:v -c copy {both}".split())
    assert _warnings(both, make_request()) == "several_video_streams: stream 0 of 2 was read"


def test_a_stream_without_packets_has_no_frames(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    header = tmp_path / "header.mp4"
    fragmented = "-c copy -movflags frag_keyframe+empty_moov"
    media.run_ffmpeg(*f"-i {videos['bikes_h264.mp4']} {fragmented} {header}".split())
    content = header.read_bytes()
    header.write_bytes(content[: content.index(b"moof") - 4])
    error = _refusal(header, make_request())
    assert (error.code, str(error)) == ("no_frames", "the video stream holds no packet")


def test_a_frame_without_a_size_is_refused(make_request: RequestMaker, tmp_path: Path) -> None:
    path = tmp_path / "animated.webp"
    media.make_numbered(path, 3, "-c:v libwebp_anim")  # FFmpeg's decoder knows still WebP only
    error = _refusal(path, make_request())
    assert (error.code, "0 x 0" in str(error)) == ("no_frames", True)


def test_a_container_is_closed_after_use(videos: dict[str, Path]) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_file(str(videos["bikes_h264.mp4"])) as descriptor, open_container(descriptor):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (MemoryError("x"), "decode_memory", "outgrew its limit of 3221225472 bytes"),
        (RuntimeError("secret path"), "decode_failed", "unexpected RuntimeError while decoding"),
        (DecodeError("no_frames", "kept"), "no_frames", "kept"),
    ],
)
def test_every_failure_inside_the_process_has_a_code(
    make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str, message: str
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("securevqa_core.decoding.child.extract_sample", fail)
    with pytest.raises(DecodeError, match=message) as caught:
        answer("path", make_request())
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


def test_tags_that_are_no_text_harm_nobody(
    make_request: RequestMaker, videos: dict[str, Path], tmp_path: Path
) -> None:
    tagged = tmp_path / "tagged.mkv"
    tags = [b"-metadata", b"title=caf\xe9 \xff", b"-metadata:s:v", b"title=\x80"]
    arguments = [b"-i", os.fsencode(videos["carphone_h264.mkv"]), b"-c", b"copy", *tags, os.fsencode(tagged)]
    media.run_ffmpeg(*map(os.fsdecode, arguments))
    assert b"caf\xe9 \xff" in tagged.read_bytes()
    request = make_request()
    expected = extract_sample(str(videos["carphone_h264.mkv"]), request)
    assert np.array_equal(extract_sample(str(tagged), request).patches, expected.patches)
