"""decord shows the frames that PyAV shows, and stands in for it where it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import media
import numpy as np
import pytest

from securevqa_core.decoding import decord_backend, extract, pyav_backend
from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.errors import DecodeError
from securevqa_core.types import SamplingConfig

RequestMaker = Callable[..., DecodeRequest]
H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
EVERY_FRAME = SamplingConfig(
    num_clips=1, clip_frames=1, grid_size=1, num_segments=1, segment_frames=100, segment_side=96
)
STREAMS = {
    "h264.mp4": f"{H264} -bf 3 -g 12",
    "hevc.mkv": "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=error:keyint=20",
    "vp8.webm": "-c:v libvpx -b:v 300k -auto-alt-ref 1 -lag-in-frames 16 -g 30 -pix_fmt yuv420p",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -g 30 -pix_fmt yuv420p",
    "mpeg2.mpg": "-c:v mpeg2video -bf 2 -g 12 -q:v 2 -pix_fmt yuv420p",
    "flash.flv": f"{H264} -bf 3 -g 12",
    "mpeg4.avi": "-c:v mpeg4 -g 12 -q:v 2 -pix_fmt yuv420p",
    "prores.mov": "-c:v prores_ks -pix_fmt yuv422p10le",
    "intra_refresh.mp4": "-c:v libx264 -pix_fmt yuv420p -bf 0 -x264-params intra-refresh=1:keyint=20",
}


@pytest.mark.parametrize("name", STREAMS)
def test_both_backends_give_the_same_frames_and_the_same_report(
    numbered: Callable[[str, str], Path], make_request: RequestMaker, name: str
) -> None:
    path = str(numbered(f"decord_{name}", STREAMS[name]))
    pyav, decord = (
        extract_sample(path, make_request(EVERY_FRAME, decoder=name)) for name in ("pyav", "decord")
    )
    assert (pyav.decoder, decord.decoder) == ("pyav", "decord")
    assert (pyav.info, pyav.warnings) == (decord.info, decord.warnings)
    assert [media.read_number(frame) for frame in decord.frames] == list(range(100))
    error = np.mean((pyav.frames.astype(float) - decord.frames) ** 2)
    assert error <= 255**2 / 1e4  # 40 dB


@pytest.mark.parametrize("name", ["mpeg4.avi", "mpeg2.mpg", "flash.flv", "h264.mp4", "intra_refresh.mp4"])
def test_a_few_frames_far_apart_are_the_right_ones(
    numbered: Callable[[str, str], Path], make_request: RequestMaker, name: str
) -> None:
    """decord's own seeking shows other frames in AVI and MPEG program streams."""
    sampling = SamplingConfig(
        num_clips=1, clip_frames=1, grid_size=1, num_segments=5, segment_frames=2, segment_side=96
    )
    path = str(numbered(f"decord_{name}", STREAMS[name]))
    sample = extract_sample(path, make_request(sampling, decoder="decord"))
    assert [media.read_number(frame) for frame in sample.frames] == [0, 1, 20, 21, 40, 41, 60, 61, 80, 81]


def test_containers_in_which_decord_shows_other_frames_are_refused(
    numbered: Callable[[str, str], Path], make_request: RequestMaker
) -> None:
    path = numbered("decord.ts", "-c:v mpeg2video -bf 2 -g 12 -q:v 2 -pix_fmt yuv420p")
    with pytest.raises(DecodeError, match="decord misplaces frames in mpegts") as caught:
        extract_sample(str(path), make_request(decoder="decord"))
    assert caught.value.code == "decode_failed"


def test_damage_is_never_hidden_by_decord(
    numbered: Callable[[str, str], Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    """Where it does not refuse the file, what PyAV finds damaged counts."""
    source = numbered("gops.mp4", "-c:v libx264 -pix_fmt yuv420p -bf 0 -g 20 -sc_threshold 0")
    for numbers in ([45], list(range(20, 40))):
        hurt = media.spoil_packets(source, tmp_path / "hurt.mp4", numbers)
        with pytest.raises(DecodeError) as caught:
            extract_sample(str(hurt), make_request(EVERY_FRAME, decoder="decord"))
        assert caught.value.code in {"decode_corrupt", "decode_failed"}


def test_what_decord_cannot_read_is_said(
    numbered: Callable[[str, str], Path], make_request: RequestMaker
) -> None:
    path = numbered("decord_av1.mp4", "-c:v libsvtav1 -preset 10 -pix_fmt yuv420p")
    with pytest.raises(DecodeError, match="decord cannot read the file") as caught:
        extract_sample(str(path), make_request(decoder="decord"))
    assert caught.value.code == "decode_failed"
    assert extract_sample(str(path), make_request()).decoder == "pyav"


def test_decord_refuses_to_show_a_mirrored_video(
    videos: dict[str, Path], make_request: RequestMaker, tmp_path: Path
) -> None:
    path = tmp_path / "mirrored.mp4"
    media.run_ffmpeg(*f"-display_hflip -i {videos['bikes_h264.mp4']} -c copy {path}".split())
    with pytest.raises(DecodeError, match="is to be mirrored, which decord does not do"):
        extract_sample(str(path), make_request(decoder="decord"))


def test_a_file_too_large_for_decord_is_refused(
    videos: dict[str, Path], make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = videos["bikes_h264.mp4"]
    monkeypatch.setattr(decord_backend, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DecodeError, match=f"at most 1000 bytes, got {path.stat().st_size}"):
        extract_sample(str(path), make_request(decoder="decord"))


def test_another_count_of_frames_is_refused(
    videos: dict[str, Path], make_request: RequestMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    decord = decord_backend.load_decord()
    monkeypatch.setattr(decord.VideoReader, "__len__", lambda _: 49)
    with pytest.raises(DecodeError, match="decord counts 49 frames, the packets hold 50"):
        extract_sample(str(videos["bikes_h264.mp4"]), make_request(decoder="decord"))


@pytest.fixture
def broken_pyav(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have PyAV's backend fail with a code."""

    def fail_with(code: str) -> None:
        def fail(*_: object) -> Iterator[object]:
            raise DecodeError(code, "PyAV broke")

        monkeypatch.setitem(extract._BACKENDS, "pyav", fail)

    return fail_with


def test_decord_stands_in_where_pyav_fails(
    videos: dict[str, Path], make_request: RequestMaker, broken_pyav: Callable[[str], None]
) -> None:
    path, request = str(videos["bikes_h264.mp4"]), make_request()
    expected = extract_sample(path, request)
    broken_pyav("decode_failed")
    sample = extract_sample(path, request)
    assert (sample.decoder, sample.info) == ("decord", expected.info)
    assert np.mean((sample.patches.astype(float) - expected.patches) ** 2) <= 255**2 / 1e4
    assert sample.warnings == (
        "fallback: pyav failed, PyAV broke",
        "damage_unknown: decord does not tell concealed frames",
    )
    with pytest.raises(DecodeError, match="PyAV broke"):
        extract_sample(path, make_request(decoder="pyav"))


def test_the_first_failure_is_told_where_both_fail(
    videos: dict[str, Path],
    make_request: RequestMaker,
    broken_pyav: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken_pyav("no_frames")
    monkeypatch.setattr(decord_backend, "MAX_FILE_BYTES", 1)
    with pytest.raises(DecodeError, match="PyAV broke") as caught:
        extract_sample(str(videos["bikes_h264.mp4"]), make_request())
    assert caught.value.code == "no_frames"


def test_damage_is_no_reason_to_ask_decord(
    videos: dict[str, Path], make_request: RequestMaker, broken_pyav: Callable[[str], None]
) -> None:
    broken_pyav("decode_corrupt")
    with pytest.raises(DecodeError, match="PyAV broke"):
        extract_sample(str(videos["bikes_h264.mp4"]), make_request())


def test_frames_that_decord_would_repeat_are_refused(
    numbered: Callable[[str, str], Path],
    make_request: RequestMaker,
    tmp_path: Path,
) -> None:
    source = numbered("all_intra.mp4", "-c:v libx264 -pix_fmt yuv420p -g 1")
    hurt = media.spoil_packets(source, tmp_path / "hurt.mp4", list(range(20, 40)))
    with pytest.raises(DecodeError, match=r"decord (repeats a frame|cannot decode frame|cannot read)"):
        extract_sample(str(hurt), make_request(EVERY_FRAME, has_crashed_pyav=True))


def test_a_crash_of_pyav_leads_to_decord(videos: dict[str, Path], make_request: RequestMaker) -> None:
    sample = extract_sample(str(videos["bikes_h264.mp4"]), make_request(has_crashed_pyav=True))
    assert (sample.decoder, sample.warnings[0]) == ("decord", "fallback: pyav failed, it crashed")
    assert pyav_backend.read_frames is extract._BACKENDS["pyav"]
