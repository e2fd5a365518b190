"""What training keeps of a video: frozen features and statistics, computed once, as scoring would."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import TINY, cached

from securevqa_core import zoo
from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.models.fast_pathway import FastPathway
from securevqa_core.scoring import inter_features, normalise
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.data import step_rng
from securevqa_core.training.inputs import batch_maker, cached_features, cached_motion, cached_statistics
from securevqa_core.training.steps import ALONE

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
MODEL: Any = zoo.build("secure-vqa-compact")
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    FROZEN = FastPathway()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def videos(folder: Path) -> list[CachedVideo]:
    return cached(folder)


def pixels_alone(video: CachedVideo, tmp_path: Path) -> CachedVideo:
    """Return the video in an entry of its own, without what was computed of it."""
    computed = shutil.ignore_patterns("features-*", "statistics-*", "motion-*")
    return replace(video, folder=Path(shutil.copytree(video.folder, tmp_path / "entry", ignore=computed)))


def features(videos: list[CachedVideo], *, num_draws: int = 4) -> dict[Path, np.ndarray]:
    return cached_features(
        FROZEN,
        videos,
        num_draws=num_draws,
        flip=True,
        seed=0,
        device=CPU,
        precision="float32",
    )


@pytest.mark.slow
def test_cached_features_are_those_of_scoring_and_odd_draws_those_of_mirrored_frames(folder: Path) -> None:
    video = cached(folder, replace(TINY, guardian_amplitude=0))[0]
    kept = features([video])[video.folder]
    assert kept.shape == (4, 4, 256)
    for draw, step in enumerate((1, -1, 1, -1)):
        expected = inter_features(
            FROZEN,
            video.frames()[:, :, ::step],
            video.segments(),
            [bytes(32)],
            sampling=video.config.sampling,
            device=CPU,
            precision="float32",
        )
        np.testing.assert_allclose(kept[draw], expected[0], rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_cached_features_are_computed_once_under_maps_of_their_own(
    videos: list[CachedVideo], tmp_path: Path
) -> None:
    video = pixels_alone(videos[0], tmp_path)
    kept = features([video])[video.folder]
    assert len(np.unique(kept, axis=0)) == 4
    (path,) = video.folder.glob("features-*.npy")
    written = path.stat().st_mtime_ns
    assert np.array_equal(features([video])[video.folder], kept)
    assert path.stat().st_mtime_ns == written


def test_what_is_kept_under_one_guardian_map_is_not_taken_for_another(videos: list[CachedVideo]) -> None:
    video = videos[0]
    sampling = replace(video.config.sampling, guardian_amplitude=4)
    stronger = replace(video, config=replace(video.config, sampling=sampling))
    for compute in (features, statistics, motion):
        kept, other = (compute([one])[one.folder] for one in (video, stronger))
        assert kept.shape == other.shape
        assert not np.array_equal(kept, other)


def test_mirrored_features_need_two_draws(videos: list[CachedVideo]) -> None:
    with pytest.raises(ConfigurationError, match=r"num_feature_draws must be >= 2 .*, got 1"):
        features(videos, num_draws=1)


def test_features_that_cannot_be_written_are_an_error(videos: list[CachedVideo], tmp_path: Path) -> None:
    copy = pixels_alone(videos[0], tmp_path)
    features([copy])
    (path,) = copy.folder.glob("features-*.npy")
    path.unlink()
    path.with_name(f".part-{path.name}").mkdir()  # in the way
    with pytest.raises(OutputError, match=r"features-.*npy' cannot be written: Is a directory"):
        features([copy])


def motion(videos: list[CachedVideo]) -> dict[Path, np.ndarray]:
    return cached_motion(MODEL.inter_backbone.statistics, videos, num_draws=2, flip=True, seed=0, device=CPU)


def statistics(videos: list[CachedVideo], *, num_draws: int = 2) -> dict[Path, np.ndarray]:
    stem = MODEL.fragments_backbone.statistics
    return cached_statistics(stem, videos, num_draws=num_draws, flip=True, seed=0, device=CPU)


def test_cached_statistics_are_those_of_each_draw_as_it_is_and_mirrored(folder: Path) -> None:
    video = cached(folder, replace(TINY, guardian_amplitude=0))[0]
    kept = statistics([video])[video.folder]
    for turn, step in enumerate((1, -1)):
        for draw, fragments in enumerate(video.fragments()):
            x = normalise(torch.from_numpy(fragments[..., ::step, :].copy()))
            expected = MODEL.fragments_backbone.statistics(x)
            torch.testing.assert_close(torch.from_numpy(kept[turn, draw].copy()), expected)


def test_cached_statistics_are_computed_once_under_maps_of_their_own(videos: list[CachedVideo]) -> None:
    kept = statistics(videos[:1], num_draws=4)[videos[0].folder]
    assert len(np.unique(kept, axis=0)) == 4
    paths = sorted(videos[0].folder.glob("statistics-*.npy"))
    written = [path.stat().st_mtime_ns for path in paths]
    assert np.array_equal(statistics(videos[:1], num_draws=4)[videos[0].folder], kept)
    assert [path.stat().st_mtime_ns for path in paths] == written


def test_mirrored_statistics_need_two_draws(videos: list[CachedVideo]) -> None:
    with pytest.raises(ConfigurationError, match=r"num_statistics_draws must be >= 2 .*, got 1"):
        statistics(videos, num_draws=1)


def test_cached_motion_is_that_of_each_segment_as_it_is_and_mirrored(folder: Path) -> None:
    video = cached(folder, replace(TINY, guardian_amplitude=0))[0]
    stem = MODEL.inter_backbone.statistics
    kept = motion([video])[video.folder]
    for turn, step in enumerate((1, -1)):
        for number, segment in enumerate(video.segments()):
            x = normalise(torch.from_numpy(video.frames()[segment][None, :, :, ::step].copy()))
            torch.testing.assert_close(torch.from_numpy(kept[turn, number].copy()), stem(x)[0])


def test_batches_hold_statistics_where_a_model_trains_on_them(videos: list[CachedVideo]) -> None:
    for inter, channels in (("trained", 48), ("cached", 256)):
        config = TrainConfig(inter=inter, flip=False, num_statistics_draws=1, num_feature_draws=1)
        maker = batch_maker(MODEL, videos, config, device=CPU, workers=ALONE)
        batch = maker(videos[:2], step_rng("batch", 0))
        assert batch.fragments is None
        assert batch.segments is None
        assert batch.features is not None
        assert batch.features.shape[:3] == (2, TINY.num_segments, channels)


def test_without_kept_statistics_batches_hold_pixels(videos: list[CachedVideo]) -> None:
    config = TrainConfig(inter="trained", num_statistics_draws=0)
    batch = batch_maker(MODEL, videos, config, device=CPU, workers=ALONE)(videos[:2], step_rng("batch", 0))
    assert batch.fragments is not None
    assert batch.segments is not None


def test_more_videos_than_files_may_be_open_are_learnt_from(videos: list[CachedVideo]) -> None:
    kept = features(videos)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    arrays = [kept[video.folder].copy() for video in videos]
    assert len(arrays) == len(kept) == len(set(kept))
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    with pytest.raises(KeyError, match="elsewhere"):
        kept[Path("elsewhere")]
