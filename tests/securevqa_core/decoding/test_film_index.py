"""A long film costs what a short clip does, and shows the frames that reading all of it would."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import media
import numpy as np
import pytest
from numpy.typing import NDArray
from told import remuxed

from securevqa_core.decoding import film_index, pyav_backend
from securevqa_core.decoding.backend import FoundFrame, OpenVideo
from securevqa_core.decoding.extract import DecodedSample, DecodeRequest, extract_sample
from securevqa_core.decoding.film_index import index_film
from securevqa_core.decoding.frame_index import FrameIndex, index_frames
from securevqa_core.decoding.probe import check_stream, open_container, open_file
from securevqa_core.decoding.pyav_backend import read_frames
from securevqa_core.types import DecodeLimits, SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
H264 = "-c:v libx264 -pix_fmt yuv420p -bf 3 -sc_threshold 0"
OPEN_GOP = "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=error:keyint=20:open-gop=1"
WITH_TABLE = {
    "gop12.mp4": f"{H264} -g 12",
    "gop12.mov": f"{H264} -g 12",
    "index_first.mp4": f"{H264} -g 12 -movflags faststart",
    "one_gop.mp4": f"{H264} -g 250",
    "open_gop.mp4": f"{H264} -g 12 -x264-params open-gop=1",
    "hevc_open_gop.mp4": OPEN_GOP,
    "variable_rate.mp4": f"{H264} -g 12 -vf setpts=N*N*40+N -fps_mode vfr -enc_time_base 1/1000",
    "av1.mp4": "-c:v libsvtav1 -preset 10 -g 30 -pix_fmt yuv420p",
    "prores.mov": "-c:v prores_ks -pix_fmt yuv422p10le",
    "gop12.mkv": f"{H264} -g 12",
    "one_gop.mkv": f"{H264} -g 250",
    "hevc_open_gop.mkv": OPEN_GOP,
    "variable_rate.mkv": f"{H264} -g 12 -vf setpts=N*N*40+N -fps_mode vfr -enc_time_base 1/1000",
    "av1.mkv": "-c:v libsvtav1 -preset 10 -g 30 -pix_fmt yuv420p",
    "vp9.webm": "-c:v libvpx-vp9 -g 12 -cpu-used 8 -pix_fmt yuv420p",
    "gop12.ts": f"{H264} -g 12",
    "one_gop.ts": f"{H264} -g 250",
    "open_gop.ts": f"{H264} -g 12 -x264-params open-gop=1",
    "hevc_open_gop.ts": OPEN_GOP,
    "variable_rate.ts": f"{H264} -g 12 -vf setpts=N*N*40+N -fps_mode vfr -enc_time_base 1/1000",
    "mpeg2.ts": "-c:v mpeg2video -q:v 3 -bf 2 -g 12 -pix_fmt yuv420p",
    "clock_turns.ts": f"{H264} -g 12 -output_ts_offset 95442",  # 33 bits of 90 kHz: 95443.7 s
}
WITHOUT_TABLE = {
    "fragmented.mp4": f"{H264} -g 12 -movflags frag_keyframe+empty_moov",
    "hybrid.mp4": f"{H264} -g 12 -movflags frag_keyframe",
    "live.mkv": f"{H264} -g 12 -live 1 -f matroska",
    "vp8.webm": "-c:v libvpx -g 12 -cpu-used 8 -pix_fmt yuv420p",
    "gop12.avi": f"{H264} -g 12",
}


@pytest.fixture
def short_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a hundred frames for a film, so that windows leave gaps between them."""
    monkeypatch.setattr(film_index, "MIN_FILM_FRAMES", 20)
    monkeypatch.setattr(film_index, "_SLACK", 6)


@contextlib.contextmanager
def _opened(path: Path, wanted: list[int]) -> Iterator[tuple[OpenVideo, bool]]:
    """Give the video with the index of a film where there is one, and whether there is."""
    with open_file(str(path)) as descriptor, open_container(descriptor) as container:
        stream = check_stream(container, DecodeLimits())
        film = index_film(container, stream, descriptor, lambda _: np.array(wanted))
        index: FrameIndex = film or index_frames(container, stream)
        yield OpenVideo(descriptor=descriptor, container=container, stream=stream, index=index), bool(film)


def _from_the_start(_: OpenVideo, wanted: NDArray[np.int64]) -> Iterator[FoundFrame]:
    raise AssertionError(f"frames {wanted.tolist()} were not found by seeking")


def _shown(path: Path, wanted: list[int]) -> tuple[dict[int, int], bool]:
    with _opened(path, wanted) as (video, is_film):
        assert video.index.num_frames == 100
        frames = list(read_frames(video, np.array(wanted)))
    assert not any(frame.is_damaged for frame in frames)
    shown = {frame.number: media.read_number(frame.picture.to_ndarray(format="rgb24")) for frame in frames}
    return shown, is_film


@pytest.mark.usefixtures("short_films")
@pytest.mark.parametrize("wanted", [[0], [5, 33, 34, 36, 70, 99], [48], [98], list(range(100))], ids=str)
@pytest.mark.parametrize("name", WITH_TABLE)
def test_frames_found_by_the_table_are_those_that_are_shown_there(
    numbered: Callable[[str, str], Path], name: str, wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyav_backend, "_by_time", _from_the_start)
    shown, is_film = _shown(numbered(f"film_{name}", WITH_TABLE[name]), wanted)
    assert is_film
    assert shown == {number: number for number in wanted}


@pytest.mark.usefixtures("short_films")
def test_only_the_frames_around_are_looked_at(numbered: Callable[[str, str], Path]) -> None:
    with _opened(numbered("film_gop12.mp4", WITH_TABLE["gop12.mp4"]), [50]) as (video, _):
        assert video.index.pts is not None
        assert len(video.index.pts) < 50
        assert video.index.times_of(np.array([50])) in video.index.pts


@pytest.mark.parametrize(
    ("name", "is_film"), [("gop12.ts", True), ("gop12.mkv", False), ("gop12.mp4", False)]
)
def test_transport_streams_are_films_sooner(
    numbered: Callable[[str, str], Path], name: str, is_film: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_index, "_MIN_TRANSPORT_FRAMES", 100)
    with _opened(numbered(f"film_{name}", WITH_TABLE[name]), [50]) as (_, found):
        assert found == is_film


@pytest.mark.usefixtures("short_films")
@pytest.mark.parametrize("name", WITHOUT_TABLE)
def test_files_without_a_whole_table_are_read_to_the_end(
    numbered: Callable[[str, str], Path], name: str
) -> None:
    with _opened(numbered(f"film_{name}", WITHOUT_TABLE[name]), [50]) as (video, is_film):
        assert (video.index.num_frames, is_film) == (100, False)


@pytest.mark.usefixtures("short_films")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_frame_of_a_film_stays_for_as_long_as_it_is_told_to(
    numbered: Callable[[str, str], Path], tmp_path: Path, suffix: str
) -> None:
    def hold(number: int, packet: av.Packet) -> None:
        if number == 99:
            assert packet.time_base is not None
            packet.duration = int(600 / packet.time_base)

    source = numbered("film_in_order.mp4", "-c:v libx264 -pix_fmt yuv420p -bf 0 -g 12")
    with _opened(remuxed(source, tmp_path / f"held.{suffix}", hold), [50]) as (video, is_film):
        assert is_film
        assert video.index.moments.seconds == pytest.approx(603.96)


@pytest.mark.usefixtures("short_films")
def test_an_edit_list_that_cuts_something_off_is_read_to_the_end(
    numbered: Callable[[str, str], Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    source = numbered("film_gop12.mp4", WITH_TABLE["gop12.mp4"])
    media.run_ffmpeg(*f"-ss 1.3 -i {source} -c copy {cut}".split())
    with _opened(cut, [10]) as (video, is_film):
        assert not is_film
        [found] = read_frames(video, np.array([10]))
    first = 100 - video.index.num_frames
    assert media.read_number(found.picture.to_ndarray(format="rgb24")) == first + 10


@pytest.mark.usefixtures("short_films")
def test_a_film_that_is_cut_short_is_read_to_the_end(
    numbered: Callable[[str, str], Path], tmp_path: Path
) -> None:
    content = numbered("film_index_first.mp4", WITH_TABLE["index_first.mp4"]).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) * 8 // 10])
    with _opened(cut, [10]) as (video, is_film):
        assert not is_film
        assert video.index.num_frames < 100


@pytest.mark.usefixtures("short_films")
def test_a_lie_about_keyframes_changes_no_frame(numbered: Callable[[str, str], Path], tmp_path: Path) -> None:
    content = bytearray(numbered("film_gop12.mp4", WITH_TABLE["gop12.mp4"]).read_bytes())
    at = content.index(b"stss")
    content[at : at + 4] = b"free"  # without this table every frame counts as a keyframe
    lying = tmp_path / "lying.mp4"
    lying.write_bytes(content)
    assert _shown(lying, [5, 33, 70]) == ({5: 5, 33: 33, 70: 70}, True)


def test_an_index_without_time_stamps_is_not_asked_for_them() -> None:
    index = FrameIndex(pts=None, is_keyframe=np.zeros(3, dtype=bool), num_frames=3, num_packets=3)
    with pytest.raises(ValueError, match=r"none for \[17\]"):
        index.times_of(np.array([17]))


@pytest.fixture(scope="module")
def minute_and_film(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, Path]:
    """A minute, and two hours of the same, in the container that a test names."""
    folder = tmp_path_factory.mktemp("film")
    part, script = folder / "part.mp4", folder / "script.txt"
    drawn = "-f lavfi -i testsrc=size=480x270:rate=30:duration=6"
    media.run_ffmpeg(*f"{drawn} -c:v libx264 -preset ultrafast -bf 2 -g 60 {part}".split())
    minute, film = (folder / f"{name}.{request.param}" for name in ("minute", "film"))
    media.run_ffmpeg(*f"-stream_loop 9 -i {part} -c copy {minute}".split())
    script.write_text(f"file '{minute}'\n" * 120)
    media.run_ffmpeg(*f"-f concat -safe 0 -i {script} -c copy {film}".split())
    return minute, film


def _cost(path: Path, request: DecodeRequest) -> tuple[float, DecodedSample]:
    """Processor seconds."""
    started = time.process_time()
    sample = extract_sample(str(path), request)
    return time.process_time() - started, sample


@pytest.mark.slow
@pytest.mark.parametrize("minute_and_film", ["mp4", "mkv", "ts"], indirect=True, scope="module")
def test_two_hours_cost_less_than_one_and_a_half_minutes(
    minute_and_film: tuple[Path, Path], make_request: RequestMaker
) -> None:
    request = make_request(SamplingConfig())
    # In turns, and the ratio of each: a shared processor changes its speed between turns.
    turns = [[_cost(path, request) for path in minute_and_film] for _ in range(9)]
    ratio = statistics.median(of_film[0] / of_minute[0] for of_minute, of_film in turns)
    (_, of_minute), (_, of_film) = turns[-1]
    assert (of_minute.info.num_frames, of_film.info.num_frames) == (1800, 216_000)
    assert of_film.info.duration_seconds == pytest.approx(7200, abs=0.1)
    assert of_film.warnings == ()
    assert ratio < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("minute_and_film", ["mp4", "mkv"], indirect=True, scope="module")
def test_a_film_gives_the_pixels_that_reading_all_of_it_gives(
    minute_and_film: tuple[Path, Path], make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = str(minute_and_film[1])
    by_table = extract_sample(film, make_request())
    monkeypatch.setattr(film_index, "MIN_FILM_FRAMES", 1 << 40)
    in_full = extract_sample(film, make_request())
    np.testing.assert_array_equal(by_table.patches, in_full.patches)
    np.testing.assert_array_equal(by_table.frames, in_full.frames)
    assert by_table.info == in_full.info


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_repeats_of_a_film_are_those_of_reading_all_of_it(
    make_request: RequestMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"film30.{suffix}"
    film = "-an -vf scale=96:-2,loop=11:200,setpts=N/24/TB,fps=30 -r 30"
    media.run_ffmpeg(*f"-i {media.bundled_clip('bikes')} {film} -g 12 {H264} {path}".split())
    sampling = SamplingConfig(
        num_clips=2,
        clip_frames=4,
        grid_size=2,
        patch_side=16,
        num_segments=8,
        segment_frames=16,
        segment_side=32,
    )
    in_full = extract_sample(str(path), make_request(sampling))
    monkeypatch.setattr(film_index, "MIN_FILM_FRAMES", 20)
    by_table = extract_sample(str(path), make_request(sampling))
    assert by_table.info.fps == pytest.approx(24, rel=0.03)
    np.testing.assert_array_equal(by_table.patches, in_full.patches)
    np.testing.assert_array_equal(by_table.frames, in_full.frames)
    assert by_table.info == in_full.info
    assert not any(
        (one == other).all() for one, other in zip(by_table.frames, by_table.frames[1:], strict=False)
    )
