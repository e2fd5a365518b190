"""Features of a video are the same however its frames come, through the decoding process as without it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import media
import numpy as np
import pytest
from numpy.typing import NDArray
from sinks import KeptFrames

from securevqa_core import zoo
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.decoding.wire import BadAnswerError, PictureWriter, read_answer
from securevqa_core.models.videval.reader import FeatureReader, FeatureSink
from securevqa_core.types import DecodeLimits
from securevqa_core.whole_frames import whole_plan

SAMPLING = zoo.spec("videval").sampling
DRAW = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
REQUEST = DecodeRequest(sampling=SAMPLING, draws=(DRAW,), limits=DecodeLimits(timeout_seconds=200))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    source = "testsrc2=size=192x108:rate=20:duration=1.5"
    media.run_ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", str(path))
    return path


@pytest.fixture(scope="module")
def kept(clip: Path) -> KeptFrames:
    sink = KeptFrames()
    extract_sample(str(clip), REQUEST, sink)
    return sink


def _features(kept: KeptFrames, numbers: list[int]) -> NDArray[np.float32]:
    reader = FeatureReader(whole_plan(*kept.length, SAMPLING))
    for number in numbers:
        reader.add(number, kept.frames[number])
    return reader.features()


def test_the_decoding_process_gives_the_frames_that_decoding_here_does(clip: Path, kept: KeptFrames) -> None:
    there = FeatureSink(SAMPLING)
    with DecodeSandbox(REQUEST.limits) as sandbox:
        sandbox.decode(str(clip), REQUEST, there)
    np.testing.assert_array_equal(there.features(), _features(kept, sorted(kept.frames)))


def test_all_frames_of_the_plan_come_and_no_others(kept: KeptFrames) -> None:
    assert sorted(kept.frames) == whole_plan(*kept.length, SAMPLING).wanted.tolist()
    assert {tuple(plane.shape for plane in planes) for planes in kept.frames.values()} == {
        ((108, 192), (54, 96), (54, 96))
    }


def test_a_missing_frame_is_taken_from_its_neighbour(kept: KeptFrames) -> None:
    whole, numbers = _features(kept, sorted(kept.frames)), sorted(kept.frames)
    found = _features(kept, [number for number in numbers if number != 15])
    assert np.isfinite(found).sum() == np.isfinite(whole).sum()
    assert not np.array_equal(found, whole)
    np.testing.assert_allclose(found[:35], whole[:35], rtol=0.5, atol=0.2)


def test_features_of_no_frames_are_undefined() -> None:
    assert np.isnan(FeatureReader(whole_plan(30, 20.0, SAMPLING)).features()).all()


def _sent(*frames: tuple[int, tuple[int, int]], begun: tuple[float, float | None] = (30, 20.0)) -> io.BytesIO:
    stream = io.BytesIO()
    writer = PictureWriter(stream)
    writer.begin(*begun)
    for number, (height, width) in frames:
        half = np.zeros((-(-height // 2), -(-width // 2)), dtype=np.uint8)
        writer.add(number, (np.zeros((height, width), dtype=np.uint8), half, half))
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (_sent((1, (64, 64)), (1, (64, 64))), "frame 1 of"),
        (_sent((29, (64, 64))), "frame 29 of"),
        (_sent((-1, (64, 64))), "picture must be an integer in"),
        (_sent((1, (64, 64)), (2, (64, 66))), r"frame 2 of \(64, 66\)"),
        (_sent(begun=(0, 20.0)), "begin must be an integer in"),
        (_sent(begun=(1 << 60, 20.0)), "begin must be an integer in"),
        (_sent(begun=(30, float("nan"))), "unreadable answer"),
    ],
    ids=["twice", "not of the plan", "negative", "another size", "no frames", "endless", "no rate"],
)
def test_a_frame_that_nobody_asked_for_breaks_the_rules(stream: io.BytesIO, what: str) -> None:
    with pytest.raises(BadAnswerError, match=what):
        read_answer(stream, REQUEST, KeptFrames())


def test_a_frame_larger_than_allowed_is_not_read() -> None:
    stream = io.BytesIO()
    PictureWriter(stream).begin(30, 20.0)
    header = json.dumps({"picture": 1, "height": 1 << 30, "width": 1 << 30}).encode()
    stream.write(len(header).to_bytes(8, "little") + header)
    stream.seek(0)
    with pytest.raises(BadAnswerError, match="frame 1 of"):
        read_answer(stream, REQUEST, KeptFrames())


def test_a_frame_is_refused_where_no_sink_takes_any() -> None:
    with pytest.raises(BadAnswerError):
        read_answer(_sent((1, (64, 64))), REQUEST)
