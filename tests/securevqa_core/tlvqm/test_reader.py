"""TLVQM's features of a video are the same every time, are defined for odd videos, and can be learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from labelled import labelled_videos
from media import run_ffmpeg
from numpy.typing import NDArray
from sinks import KeptFrames
from torch import Tensor

from securevqa_core import zoo
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.models.statistics_sink import statistics_sink
from securevqa_core.models.tlvqm.features import FEATURES
from securevqa_core.models.tlvqm.reader import TlvqmReader
from securevqa_core.models.videval.model import Videval
from securevqa_core.training.baseline import CHOICES_OF_C, fit_baseline
from securevqa_core.training.cache import CacheConfig, build_cache
from securevqa_core.training.loop import TrainingData
from securevqa_core.types import DecodeLimits, SamplingConfig
from securevqa_core.whole_frames import Planes, whole_plan

SAMPLING = zoo.spec("tlvqm").sampling
DRAW = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
REQUEST = DecodeRequest(sampling=SAMPLING, draws=(DRAW,), limits=DecodeLimits(timeout_seconds=200))


def video(path: Path, source: str, *options: str) -> Path:
    encoding = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")
    run_ffmpeg("-f", "lavfi", "-i", source, *encoding, *options, str(path))
    return path


def features(path: Path) -> NDArray[np.float32]:
    sink = statistics_sink(SAMPLING)
    assert sink is not None
    extract_sample(str(path), REQUEST, sink)
    return sink.features()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return video(folder / "clip.mp4", "testsrc2=size=192x108:rate=12:duration=2.5")


def test_the_decoding_process_and_this_one_find_the_same_every_time(clip: Path) -> None:
    found = features(clip)
    assert found.shape == (len(FEATURES),)
    assert np.isfinite(found).all()
    sink = statistics_sink(SAMPLING)
    assert sink is not None
    with DecodeSandbox(REQUEST.limits) as sandbox:
        sandbox.decode(str(clip), REQUEST, sink)
    np.testing.assert_array_equal(sink.features(), found)
    np.testing.assert_array_equal(features(clip), found)


def test_a_block_is_looked_at_closely_in_the_frame_that_is_nearest_to_its_mean_and_then_let_go(
    clip: Path,
) -> None:
    kept = KeptFrames()
    extract_sample(str(clip), REQUEST, kept)
    plan = whole_plan(*kept.length, SAMPLING)
    assert plan is not None
    assert len(plan.blocks) > 1
    looked: list[Planes] = []

    class Watched(TlvqmReader):
        def _closely(self, planes: Planes) -> Tensor:
            looked.append(planes)
            return super()._closely(planes)

    reader = Watched(plan)
    for number in sorted(kept.frames):
        reader.add(number, kept.frames[number])
    assert np.array_equal(reader.features(), features(clip))
    statistics = reader._frames.numpy()
    for rows, planes in zip(plan.blocks, looked, strict=True):
        block = statistics[rows]
        usual = rows[np.abs(block - block.mean(axis=0)).sum(axis=1).argmin()]
        assert np.array_equal(planes[0], kept.frames[int(plan.triples[usual, 1])][0])
    assert not reader._held


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("color=gray:size=192x108:rate=20:duration=1.5", ()),
        ("color=black:size=192x108:rate=20:duration=1.5", ()),
        ("color=white:size=192x108:rate=20:duration=1.5", ()),
        ("testsrc2=size=192x108:rate=20:duration=1.5", ("-vf", "hue=s=0")),
        (
            "testsrc=size=192x108:rate=20:duration=1.5",
            ("-vf", "trim=end_frame=1,tpad=stop=20:stop_mode=clone"),
        ),
        ("testsrc2=size=16x16:rate=20:duration=1", ()),
        ("testsrc2=size=192x108:rate=20:duration=1", ("-frames:v", "1")),
        ("testsrc2=size=192x108:rate=20:duration=1", ("-frames:v", "3")),
    ],
    ids=["gray", "black", "white", "without colour", "still", "tiny", "one frame", "three frames"],
)
def test_odd_videos_have_every_feature(source: str, options: tuple[str, ...], tmp_path: Path) -> None:
    found = dict(zip(FEATURES, features(video(tmp_path / "odd.mp4", source, *options)), strict=True))
    undefined = [feature.source for feature, value in found.items() if not np.isfinite(value)]
    assert not undefined
    assert all(abs(value) <= 3 for value in found.values())


def test_each_model_of_statistics_has_the_sink_of_its_own() -> None:
    assert statistics_sink(SamplingConfig()) is None
    for name, count in (("tlvqm", 75), ("videval", 60)):
        sink = statistics_sink(zoo.spec(name).sampling)
        assert sink is not None
        sink.begin(30, 20.0)
        assert sink.features().shape == (count,)
        assert len(zoo.build(name).usual) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tlvqm", "videval"])
def test_it_learns_labels_as_the_baseline_does(name: str, tmp_path: Path) -> None:
    config = CacheConfig(sampling=zoo.spec(name).sampling, num_draws=1, seed=0)
    videos = labelled_videos(tmp_path / "videos")
    cached, failures = build_cache(videos, tmp_path / "cache", config, num_workers=1)
    assert not failures
    assert cached[0].statistics().shape == (len(zoo.build(name).usual),)
    held_out = cached[0].source
    data = TrainingData(
        train=[one for one in cached if one.source != held_out],
        validation=[one for one in cached if one.source == held_out],
    )
    model = zoo.build(name)
    assert isinstance(model, Videval)
    fitted = fit_baseline(model, data)
    assert len(fitted.history) == len(CHOICES_OF_C)
    assert fitted.best_srcc is not None
    assert fitted.best_srcc > 0.7, "a ladder of another source is put in order"
    again, _ = build_cache(videos, tmp_path / "cache", config, num_workers=1)
    np.testing.assert_array_equal(again[0].statistics(), cached[0].statistics())
