"""What viewers get is judged: as a file that was encoded before, the same each time, and bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from media import bundled_clip, run_ffmpeg, spoil_packets

from securevqa_core import zoo
from securevqa_core.decoding.backend import FoundFrame
from securevqa_core.decoding.clock import constant_clock
from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.rendered import encoded, whole_segments
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import ConfigurationError, DecodeError
from securevqa_core.inputs import decode_request
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.rendition import CODECS, Rendition
from securevqa_core.scorer import Scorer
from securevqa_core.types import DecodeLimits, SamplingConfig

KEY = Key.public(5)
SMALL = SamplingConfig(
    num_clips=1, clip_frames=4, grid_size=2, num_segments=2, segment_frames=2, segment_side=32
)
# How FFmpeg's program, built by others, makes the same renditions of a whole file.
PROGRAM = {
    "x264:23": "-c:v libx264 -preset medium -crf 23 -threads 1",
    "x265:28": "-c:v libx265 -preset medium -crf 28 -x265-params log-level=none",
    "av1:35": "-c:v libsvtav1 -preset 8 -crf 35",
    "vp9:33": "-c:v libvpx-vp9 -b:v 0 -crf 33 -deadline good -cpu-used 4",
}


def request(rendition: str | None, *, limits: DecodeLimits | None = None) -> DecodeRequest:
    return decode_request(
        SMALL,
        keyed_draws(KEY, "0" * 64, 1),
        limits=limits or DecodeLimits(),
        rendition=None if rendition is None else Rendition.parse(rendition),
    )


@pytest.fixture(scope="module")
def sandbox() -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits()) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("text", PROGRAM)
def test_a_rendition_scores_as_a_file_that_was_encoded_so_beforehand(
    text: str, videos: dict[str, Path], tmp_path: Path
) -> None:
    upload, delivered = videos["bikes_h264.mp4"], tmp_path / "delivered.mkv"
    run_ffmpeg("-i", str(upload), *PROGRAM[text].split(), "-an", str(delivered))
    with Scorer(key=KEY, as_delivered=text) as scorer, Scorer(key=KEY) as plain:
        judged = scorer.score(upload)
        with delivered.open("rb") as file:  # where it looks follows from the upload's bytes
            taken = plain.take_open(file.fileno(), name="delivered", content_sha256=judged.content_sha256)
        beforehand = plain.finish(taken)
    assert judged.as_delivered == text
    # x265, SVT-AV1 and libvpx spread a video over threads in another way here than the program does.
    assert judged.score == pytest.approx(beforehand.score, abs=1 if text == "x264:23" else 3)


@pytest.mark.slow
def test_a_file_has_one_rendition_wherever_its_pictures_lie_in_memory(videos: dict[str, Path]) -> None:
    found, held = set(), []
    for number in range(40):
        held.append(bytearray(137 * number % 4001))
        found.add(extract_sample(str(videos["carphone_vp9.webm"]), request("x264:23")).patches.tobytes())
    assert len(found) == 1


@pytest.mark.slow
def test_the_worst_rendition_scores_far_below_the_upload(videos: dict[str, Path]) -> None:
    with Scorer(key=KEY, as_delivered="x264:45") as scorer, Scorer(key=KEY) as plain:
        judged, upload = scorer.score(videos["bikes_h264.mp4"]), plain.score(videos["bikes_h264.mp4"])
    assert judged.score is not None
    assert upload.score is not None
    assert judged.score < upload.score - 10
    assert upload.as_delivered is None


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_bytes_give_the_same_pixels_inside_the_cell_and_outside(
    codec: str, videos: dict[str, Path], sandbox: DecodeSandbox
) -> None:
    path, wanted = videos["bikes_h264.mp4"], request(f"{codec}:30")
    one, other, outside = (
        sandbox.decode(str(path), wanted),
        sandbox.decode(str(path), wanted),
        extract_sample(str(path), wanted),
    )
    plain = sandbox.decode(str(path), request(None))
    for again in (other, outside):
        assert np.array_equal(one.patches, again.patches)
        assert np.array_equal(one.frames, again.frames)
    assert one.info == plain.info
    difference = np.abs(one.frames.astype(int) - plain.frames)
    assert 0 < difference.mean() < 12


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x264",
        "x264:",
        "x264:-1",
        "x264:52",
        "av1:64",
        "x264:23 ",
        "X264:23",
        "x264:٢٣",
        "x264:023",
        "libx264:23",
        "x264:23:preset=placebo",
        "x264:23;rm",
        "copy:1",
        "../x264:23",
        "x264:23\n",
        "h264_nvenc:1",
    ],
)
def test_a_text_that_is_not_in_the_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Rendition.parse(text)
    assert repr(text) in str(refused.value)
    with pytest.raises(ConfigurationError):
        Scorer(key=KEY, as_delivered=text)


@pytest.mark.parametrize(
    "text", [f"{name}:{value}" for name, one in CODECS.items() for value in (0, one.highest)]
)
def test_every_quality_of_the_table_can_be_made(text: str) -> None:
    assert len(made(text, num_frames=3, size=(70, 66))) == 3
    assert str(Rendition.parse(text)) == text


def made(
    text: str, *, num_frames: int, size: tuple[int, int], wanted: set[int] | None = None
) -> list[FoundFrame]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    frames = (
        FoundFrame(
            number=number,
            picture=VideoFrame.from_ndarray(picture, format="rgb24"),
            is_damaged=number == 1,
            is_interlaced=False,
        )
        for number in range(num_frames)
    )
    clock = constant_clock(num_frames, num_frames / 5)
    return list(
        encoded(
            frames, Rendition.parse(text), clock, wanted=set(range(num_frames)) if wanted is None else wanted
        )
    )


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(1, 1), (7, 301), (65, 64), (121, 201)])
def test_a_picture_keeps_its_size_however_odd(codec: str, size: tuple[int, int]) -> None:
    for found in made(f"{codec}:20", num_frames=2, size=size):
        assert (found.picture.height, found.picture.width) == size


def test_frames_keep_their_numbers_and_their_marks() -> None:
    found = made("x264:23", num_frames=50, size=(64, 64), wanted={1, 2, 41})
    assert [(one.number, one.is_damaged) for one in found] == [(1, True), (2, False), (41, False)]


def test_a_segment_is_the_same_whether_others_are_encoded_or_not() -> None:
    """Of five frames a second a segment of four seconds has twenty."""
    alone = made("x264:30", num_frames=50, size=(64, 96), wanted={45})
    among = made("x264:30", num_frames=50, size=(64, 96), wanted=set(range(50)))
    clock = constant_clock(50, 10.0)
    assert whole_segments(np.array([25, 45]), clock).tolist() == list(range(20, 50))
    (kept,) = [one for one in among if one.number == 45]
    assert np.array_equal(alone[0].picture.to_ndarray(), kept.picture.to_ndarray())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    source = "testsrc2=size=4096x2304:rate=25:duration=2"
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "ultrafast", str(path))
    return path


@pytest.mark.slow
def test_it_is_bounded_in_time(large: Path) -> None:
    """By the limit of decoding, which it counts as."""
    limits = DecodeLimits(timeout_seconds=1)
    with DecodeSandbox(limits) as one, pytest.raises(DecodeError, match="longer than 1 s") as failed:
        one.decode(str(large), request("x265:1", limits=limits))
    assert failed.value.code == "decode_timeout"


@pytest.mark.slow
def test_what_takes_too_long_is_the_failure_of_that_video_alone(large: Path, videos: dict[str, Path]) -> None:
    limits = DecodeLimits(timeout_seconds=2)
    with Scorer(key=KEY, draws=1, as_delivered="x265:1", limits=limits) as scorer:
        late = scorer.score(large)
        assert (late.failure and late.failure.code, late.score) == ("decode_timeout", None)
        assert scorer.score(videos["bikes_h264.mp4"]).failure is None


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_it_is_bounded_in_memory(codec: str, large: Path) -> None:
    """An encoder that cannot do with what there is ends with its cell, and no other video does."""
    limits = DecodeLimits(memory_bytes=640 << 20)
    with DecodeSandbox(limits) as one:
        with pytest.raises(DecodeError) as failed:
            one.decode(str(large), request(f"{codec}:30", limits=limits))
        assert failed.value.code in {"decode_memory", "decode_crashed", "rendition_failed"}
        assert len(one.decode(str(large), request(None, limits=limits)).frames)


def test_damage_is_that_of_the_upload(
    videos: dict[str, Path], tmp_path: Path, sandbox: DecodeSandbox
) -> None:
    damaged = spoil_packets(videos["bikes_h264.mp4"], tmp_path / "damaged.mp4", list(range(1, 40)))
    with pytest.raises(DecodeError) as failed:
        sandbox.decode(str(damaged), request("x264:23"))
    with pytest.raises(DecodeError) as plain:
        sandbox.decode(str(damaged), request(None))
    assert failed.value.code == plain.value.code == "decode_corrupt"


def test_what_cannot_be_encoded_is_a_failure_of_that_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "x264", replace(CODECS["x264"], options=(("preset", "none such"),)))
    with pytest.raises(DecodeError, match="x264:23 cannot be made") as failed:
        made("x264:23", num_frames=2, size=(64, 64))
    assert failed.value.code == "rendition_failed"


def test_colours_stay_what_they_were(tmp_path: Path) -> None:
    """Full range, ten bits, and values that are RGB's already."""
    for number, arguments in enumerate(
        (
            "-pix_fmt yuvj420p -c:v mjpeg -q:v 2",
            "-pix_fmt yuv422p10le -c:v prores_ks",
            "-pix_fmt gbrp -c:v ffv1",
        )
    ):
        path = tmp_path / f"{number}.mkv"
        source = "color=0x2060c0:size=160x120:rate=10:duration=1"
        run_ffmpeg("-f", "lavfi", "-i", source, *arguments.split(), str(path))
        plain, delivered = (extract_sample(str(path), request(one)) for one in (None, "x264:10"))
        assert np.abs(plain.frames.astype(int) - delivered.frames).max() <= 3, arguments


def test_frames_in_memory_are_delivered_too(videos: dict[str, Path]) -> None:
    with av.open(str(videos["bikes_h264.mp4"])) as container:
        rate = float(Fraction(container.streams.video[0].average_rate or 25))
        frames = np.stack([one.to_ndarray(format="rgb24") for one in container.decode(video=0)])
    with Scorer(key=KEY, as_delivered="x264:40") as scorer, Scorer(key=KEY) as plain:
        judged, upload = scorer.score(frames, fps=rate), plain.score(frames, fps=rate)
    assert judged.score is not None
    assert upload.score is not None
    assert judged.score < upload.score - 5


def test_nothing_is_left_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    made("x264:23", num_frames=4, size=(64, 64))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.slow
def test_what_it_costs(tmp_path: Path) -> None:
    """Prints the processor's seconds that four seconds of 540p take; `-s` shows them."""
    upload = tmp_path / "upload.mp4"
    run_ffmpeg(
        *("-stream_loop", "3", "-i", str(bundled_clip("bikes")), "-t", "4", "-vf", "scale=960:540", "-an"),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", str(upload)),
    )
    sampling = zoo.spec(zoo.DEFAULT_MODEL).sampling
    draws = keyed_draws(KEY, "0" * 64, 4)
    spent = {}
    for text in (None, *PROGRAM):
        rendition = None if text is None else Rendition.parse(text)
        wanted = decode_request(sampling, draws, limits=DecodeLimits(), rendition=rendition)
        before = time.process_time()
        extract_sample(str(upload), wanted)
        spent[text] = time.process_time() - before
        print(f"{text or 'the upload'}: {spent[text]:.2f} s")  # noqa: T201
    assert spent[None] < spent["x264:23"] < 40 * spent[None]
