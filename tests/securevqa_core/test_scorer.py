"""Scoring in this process: what goes in and out, the same bits as stage by stage, and nothing left behind."""

from __future__ import annotations

import dataclasses
import errno
import gc
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import media
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from processes import descendants, is_alive

import securevqa_core
from securevqa_core import weights, zoo
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.errors import CheckpointError, ConfigurationError, an
from securevqa_core.fragments import splice
from securevqa_core.inputs import decode_request, guarded_draws
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.scorer import Scorer
from securevqa_core.scoring import Score, inter_features, raw_scores, summarise
from securevqa_core.types import DecodeLimits
from securevqa_core.video_score import VideoScore

KEY = Key.public(3)
CPU = torch.device("cpu")
CLOSED = io.BytesIO()
CLOSED.close()


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with Scorer(key=KEY, draws=2) as one:
        yield one


def decoded(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def stage_by_stage(path: Path, num_draws: int) -> Score:
    draws = keyed_draws(KEY, hashlib.sha256(path.read_bytes()).hexdigest(), num_draws)
    checkpoint = weights.default(zoo.DEFAULT_MODEL)
    model, sampling = weights.build(checkpoint), zoo.spec(zoo.DEFAULT_MODEL).sampling
    limits = DecodeLimits()
    with DecodeSandbox(limits) as sandbox:
        sample = sandbox.decode(str(path), decode_request(sampling, draws, limits=limits))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fragments = guarded_draws(
        splice(sample.patches), [one.guardian_intra for one in draws], amplitude=sampling.guardian_amplitude
    )
    features = inter_features(
        model.inter,
        sample.frames,
        sample.segments,
        [one.guardian_inter for one in draws],
        sampling=sampling,
        device=CPU,
        precision="float32",
    )
    raw = raw_scores(model, fragments, features, device=CPU, precision="float32")
    torch.set_num_threads(before)
    return summarise(raw, checkpoint.calibration)


def test_a_file_gets_the_bits_that_the_stages_give_it(scorer: Scorer, videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    got, expected = scorer.score(path), stage_by_stage(path, 2)
    assert (got.score, got.score_sd, got.score_lower, got.raw_score) == (
        expected.score,
        expected.score_sd,
        expected.score_lower,
        expected.raw_score,
    )
    assert [clip.score for clip in got.clips] == expected.clip_scores
    assert (got.failure, got.warnings, got.name) == (None, (), str(path))
    assert got.content_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert got.size_bytes == path.stat().st_size


def test_bytes_a_descriptor_and_a_path_are_one_video(scorer: Scorer, videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    with path.open("rb") as file:
        opened = scorer.finish(scorer.take_open(file.fileno(), name=str(path)))
        read = scorer.score(file)
        assert not file.closed
    in_memory = scorer.score(io.BytesIO(path.read_bytes()))
    scores = {
        one.score
        for one in (scorer.score(str(path)), scorer.score(path.read_bytes()), opened, read, in_memory)
    }
    assert (len(scores), read.failure) == (1, None)
    assert (read.name, in_memory.name) == (str(path), "bytes")


def test_an_open_file_that_cannot_be_read_is_a_failure(scorer: Scorer, tmp_path: Path) -> None:
    class Torn(io.RawIOBase):
        def readall(self) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    torn = scorer.score(Torn()).failure
    assert torn is not None
    assert (torn.code, torn.message) == ("fetch_failed", "the open file cannot be read: Input/output error")


def test_one_video_is_not_taken_for_several(scorer: Scorer, videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    with path.open("rb") as file:
        for one in (
            str(path),
            path,
            path.read_bytes(),
            bytearray(b"bytes"),
            memoryview(b"bytes"),
            np.zeros((2, 8, 8, 3), np.uint8),
            file,
            5,
            None,
        ):
            with pytest.raises(ConfigurationError, match=f"several, .*, got {an(type(one).__name__)}"):
                scorer.score_many(one)  # type: ignore[arg-type]


def test_clips_know_their_draw_and_their_seconds(scorer: Scorer, videos: dict[str, Path]) -> None:
    got = scorer.score(videos["bikes_h264.mp4"])
    assert got.video is not None
    assert got.video.duration_seconds is not None
    assert [clip.draw for clip in got.clips] == [0, 0, 1, 1]
    for first, second in (got.clips[:2], got.clips[2:]):
        # Two clips a draw, one in each half of the video.
        half = got.video.duration_seconds / 2
        assert first.start_seconds is not None
        assert second.start_seconds is not None
        assert 0 <= first.start_seconds < first.end_seconds <= half + 0.2
        assert half - 0.2 <= second.start_seconds < second.end_seconds <= got.video.duration_seconds + 1e-9


def test_frames_in_memory_score_close_to_their_file(scorer: Scorer, videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    frames = decoded(path)
    array = scorer.score(frames, fps=25)
    tensor = scorer.score(torch.from_numpy(frames), fps=25.0)
    assert array.score == tensor.score
    assert array.video is not None
    assert (array.video.num_frames, array.video.height, array.video.width) == frames.shape[:3]
    assert array.video.duration_seconds == pytest.approx(len(frames) / 25)
    # Another content digest draws elsewhere: close, not equal.
    assert array.score == pytest.approx(scorer.score(path).score, abs=10)
    assert scorer.score(frames[:, ::-1], fps=25).score != array.score


@pytest.mark.parametrize(
    ("rate", "fps", "pictures"),
    [("fps=25", 25, 25), ("fps=50", 50, 25), ("setpts=N/24/TB,fps=30 -r 30", 30, 24)],
)
def test_frames_and_file_are_sampled_alike(
    videos: dict[str, Path], tmp_path: Path, rate: str, fps: int, pictures: int
) -> None:
    from securevqa_core.decoding.in_memory import sample_frames

    path = tmp_path / "told.mp4"
    encoder = "-c:v libx264 -preset ultrafast -crf 18"
    media.run_ffmpeg(*f"-i {videos['bikes_h264.mp4']} -vf {rate} {encoder} {path}".split())
    sampling = zoo.spec(zoo.DEFAULT_MODEL).sampling
    request = decode_request(sampling, keyed_draws(KEY, "0" * 64, 2), limits=DecodeLimits())
    with DecodeSandbox(DecodeLimits()) as sandbox:
        of_file = sandbox.decode(str(path), request)
    of_frames = sample_frames(decoded(path), fps, request)
    assert of_file.info.fps == pytest.approx(pictures, abs=0.5)
    assert of_frames.info.fps == pytest.approx(of_file.info.fps)
    assert of_frames.segments.tolist() == of_file.segments.tolist()
    for name in ("patches", "frames"):
        ours, theirs = (getattr(one, name).astype(int) for one in (of_frames, of_file))
        assert ours.shape == theirs.shape
        # The same pixels; another way from YUV to RGB rounds some the other way.
        assert np.abs(ours - theirs).mean() < 2.0, name
        assert np.abs(ours[..., ::-1, :] - theirs).mean() > 8.0, name


def test_a_model_of_statistics_scores_files_and_frames(videos: dict[str, Path]) -> None:
    path = videos["bikes_h264.mp4"]
    with Scorer("videval-480p", key=KEY) as one:
        (of_file,) = one.score_many([path])
        of_frames = one.score(decoded(path), fps=25)
    assert of_file.failure is None
    assert of_frames.score == pytest.approx(of_file.score, abs=5)


def test_what_cannot_be_scored_says_why_and_stops_nobody(
    scorer: Scorer, videos: dict[str, Path], tmp_path: Path
) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("no video at all, whatever it is called")
    given = [
        tmp_path / "absent.mp4",
        empty,
        tmp_path,
        text,
        videos["audio_only.mp4"],
        videos["one_frame.mp4"],
    ]
    scores = list(scorer.score_many(given))
    assert [one.name for one in scores] == [str(path) for path in given]
    codes = [None if one.failure is None else one.failure.code for one in scores]
    assert codes == [
        "fetch_not_found",
        "empty_file",
        "fetch_not_found",
        "not_a_video",
        "no_video_stream",
        None,
    ]
    assert str(tmp_path / "absent.mp4") in str(scores[0].failure)
    of_uri = scorer.score("https://host/a.mp4").failure
    assert of_uri is not None
    assert (
        "'https://host/a.mp4' cannot be opened: a path is wanted; `securevqa score` fetches" in of_uri.message
    )
    assert [one.score is None for one in scores] == [True] * 5 + [False]
    assert scores[3].content_sha256 == hashlib.sha256(text.read_bytes()).hexdigest()


def test_a_file_that_changes_meanwhile_is_not_scored(
    scorer: Scorer, videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(videos["bikes_h264.mp4"].read_bytes())
    decode = DecodeSandbox.decode

    def and_append(*arguments: object) -> object:
        with path.open("ab") as file:
            file.write(b"more")
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(DecodeSandbox, "decode", and_append)
    got = scorer.score(path)
    assert got.failure is not None
    assert (got.failure.code, got.failure.retryable, got.score) == ("fetch_failed", True, None)
    assert "changed while it was read" in got.failure.message


@pytest.mark.parametrize(
    ("video", "fps", "said"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), None, "fps must be given with frames, got None"),
        (np.zeros((2, 8, 8, 3), np.uint8), 0, "fps must be in 0.001..10000, got 0"),
        (np.zeros((2, 8, 8, 3)), 25, "(2, 8, 8, 3) float64"),
        (np.zeros((2, 3, 8, 8), np.uint8), 25, "(2, 3, 8, 8) uint8"),
        (np.zeros((0, 8, 8, 3), np.uint8), 25, "(0, 8, 8, 3) uint8"),
        ("clip.mp4", 25, "fps goes with frames, and a file has its own, got 25"),
        (b"bytes", 25, "got 25"),
        (7, None, "got an int"),
        (["clip.mp4"], None, "got a list; score_many takes several videos"),
        (np.zeros((2, 8, 8, 3), np.uint8), "25", "fps must be a number, got '25'"),
        (io.BytesIO(b"bytes"), 25, "a file has its own, got 25"),
        (io.StringIO("text"), None, "open for bytes, got a str from its read()"),
        (CLOSED, None, "open for reading: I/O operation on closed file"),
    ],
)
def test_a_wrong_call_is_refused(scorer: Scorer, video: object, fps: float | None, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        scorer.score(video, fps=fps)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"draws": 0}, ConfigurationError, "draws must be in 1..16, got 0"),
        ({"draws": 2.5}, ConfigurationError, "draws must be a whole number, got 2.5"),
        ({"draws": "4"}, ConfigurationError, "draws must be a whole number, got '4'"),
        ({"limits": 5}, ConfigurationError, "limits must be DecodeLimits, got 5"),
        ({"limits": 0}, ConfigurationError, "limits must be DecodeLimits, got 0"),
        ({"as_delivered": 23}, ConfigurationError, "as_delivered must be one of"),
        ({"notice": 23}, ConfigurationError, "notice must be one of"),
        ({"device": "gpu"}, ConfigurationError, "got 'gpu': Expected one of cpu, cuda"),
        ({"device": "cuda:99"}, ConfigurationError, "can compute on here, as 'cpu', got 'cuda:99': "),
        ({"device": "meta"}, ConfigurationError, "got 'meta': Cannot copy out of meta tensor"),
        ({"device": 2.5}, ConfigurationError, "got 2.5: device()"),
        ({"precision": "float16"}, ConfigurationError, "'float16'"),
        ({"decoder": "vlc"}, ConfigurationError, "'vlc'"),
        ({"key": b"short"}, ConfigurationError, "at least 16 bytes, got 5"),
        ({"key": "a text of more than sixteen"}, ConfigurationError, "got a str"),
        ({"checkpoint": "fast-vqa"}, CheckpointError, "'fast-vqa' ships"),
        ({"checkpoint": "no/such.safetensors"}, CheckpointError, "no/such.safetensors"),
        ({"checkpoint": "nss-svm"}, CheckpointError, "no model of that name ships (did you mean 'nss-svr'?)"),
        ({"checkpoint": 5}, ConfigurationError, "name or the path of a file, got an int"),
        ({"checkpoint": b"nss-svr"}, ConfigurationError, "name or the path of a file, got a bytes"),
    ],
)
def test_a_scorer_is_refused_what_it_cannot_work_with(
    options: dict[str, object], kind: type[Exception], said: str
) -> None:
    before = set(descendants(os.getpid()))
    with pytest.raises(kind) as raised:
        Scorer(**options)  # type: ignore[arg-type]
    assert said in str(raised.value)
    assert set(descendants(os.getpid())) <= before  # those of other tests may end meanwhile


def test_the_key_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = b"a secret of more than sixteen bytes"
    with Scorer(key=secret) as one:
        assert (one.key.randomness, one.key.key_id) == ("keyed", Key(secret, randomness="keyed").key_id)
    monkeypatch.setenv("SECUREVQA_KEY", secret.decode())
    with Scorer() as one:
        assert one.key.key_id == Key(secret, randomness="keyed").key_id
    monkeypatch.delenv("SECUREVQA_KEY")
    with Scorer() as one:
        assert one.key.randomness == "ephemeral"


@pytest.mark.slow
def test_threads_of_tensors_are_as_before(scorer: Scorer, videos: dict[str, Path]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        path = videos["bikes_h264.mp4"]
        with Scorer(key=KEY, draws=1) as other:
            threads = [threading.Thread(target=one.score, args=(path,)) for one in (scorer, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        list(scorer.score_many([path, path]))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_hundred_clips_leave_nothing_behind(videos: dict[str, Path]) -> None:
    paths = [videos["carphone_h264.mkv"], videos["audio_only.mp4"], videos["one_frame.mp4"]]
    with Scorer(key=KEY, draws=1) as one:
        for path in paths:  # what is made once is made now
            one.score(path)
        warm = one._sandbox.pid
        before = (descriptors(), resident_megabytes(), len(threading.enumerate()))
        for number in range(100):
            one.score(paths[number % 3])
        for _ in one.score_many(paths * 3):
            pass
        gc.collect()
        assert one._sandbox.pid == warm
        assert warm is not None
        # The warm process, and below it at most the cell that waits and one that is ending.
        mine = [pid for pid in descendants(os.getpid()) if pid == warm or pid in descendants(warm)]
        assert len(mine) <= 3
        assert descriptors() <= before[0]
        assert resident_megabytes() - before[1] < 20
        assert len(threading.enumerate()) <= before[2]
    assert not is_alive(warm)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_importing_starts_and_loads_nothing() -> None:
    program = """
import sys, threading
import securevqa_core
from securevqa_core import Scorer
import securevqa_core.scorer
loaded = {"torch", "ray", "scipy", "matplotlib", "pyarrow", "torchvision"} & set(sys.modules)
assert not loaded, loaded
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(securevqa_core.__file__).parents[1])


def test_a_score_is_frozen_and_a_notebook_shows_it(scorer: Scorer, videos: dict[str, Path]) -> None:
    got = scorer.score(videos["bikes_h264.mp4"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        got.score = 100.0  # type: ignore[misc]
    page = got._repr_html_()
    assert f"{got.score:.1f} of 100" in page
    assert "data:image/png;base64," in page
    png = got._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    axes = got.plot()
    assert len(axes.lines) == len(got.clips) + 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (s)", "score (of 100)")
    assert got.video is not None
    assert axes.get_xlim() == (0, got.video.duration_seconds)  # all of it, where no clip is too
    assert [one.get_text() for one in axes.get_legend().texts] == ["clips", "score", "to its lower bound"]
    from matplotlib import pyplot

    pyplot.close(axes.figure)


def test_a_single_frame_has_no_time_line_and_a_short_video_is_not_of_no_length(scorer: Scorer) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    still, short = (scorer.score(frames[:count], fps=25) for count in (1, 3))
    assert "64 x 64, one frame" in still._repr_html_()
    assert "64 x 64, 0.12 s" in short._repr_html_()
    from matplotlib.figure import Figure

    axes = still.plot(Figure().subplots())
    assert axes.get_xlabel() == "clip"
    assert all(tick == int(tick) for tick in axes.get_xticks())
    middles = [np.mean(line.get_xdata()) for line in axes.lines[:-1]]
    assert middles == pytest.approx(range(1, len(still.clips) + 1))
    assert short.plot(Figure().subplots()).get_xlim() == (0, 0.12)


def test_names_and_messages_are_text_on_the_page(scorer: Scorer, tmp_path: Path) -> None:
    got = scorer.score(tmp_path / "<script>alert(1)</script>.mp4")
    assert "<script>" not in got._repr_html_()
    assert "fetch_not_found" in got._repr_html_()
    assert got._repr_png_() is None
    with pytest.raises(ValueError, match="fetch_not_found"):
        got.plot()


def test_the_core_hands_on_the_scorer() -> None:
    assert securevqa_core.Scorer is Scorer
    with pytest.raises(AttributeError, match="'Scorers'"):
        securevqa_core.Scorers  # noqa: B018


@pytest.mark.slow
def test_scores_are_of_the_checkpoint_that_was_given(videos: dict[str, Path], tmp_path: Path) -> None:
    path = videos["carphone_h264.mkv"]
    file = tmp_path / "seeded.safetensors"
    seeded = weights.seeded(zoo.DEFAULT_MODEL)
    weights.save(
        file,
        weights.build(seeded),
        architecture=seeded.architecture,
        calibration=seeded.calibration,
        status="untrained",
        card={},
    )
    by: dict[str, VideoScore] = {}
    for name, checkpoint in (("name", "nss-svr"), ("path", str(file)), ("read", weights.read(file))):
        with Scorer(checkpoint, key=KEY, draws=1) as one:
            by[name] = one.score(path)
    assert by["name"].checkpoint_id.startswith("nss-svr")
    assert by["path"].score == by["read"].score
    assert by["path"].checkpoint_status == "untrained"
    assert "untrained" in by["path"]._repr_html_()
