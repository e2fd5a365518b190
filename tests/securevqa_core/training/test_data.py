"""Batches: cached pixels, mirrored in both branches alike, under fresh guardian maps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import TINY, cached

from securevqa_core import zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.fragments import splice
from securevqa_core.training.cache import CachedVideo, build_cache, local_video
from securevqa_core.training.data import (
    Batch,
    BatchMaker,
    Differences,
    choose_segments,
    epoch_order,
    prefetched,
    step_rng,
)
from securevqa_core.training.differences import NUM_DIFFERENCES

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
MODEL: Any = zoo.build("secure-vqa-compact")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def videos(folder: Path) -> list[CachedVideo]:
    return cached(folder)


def make(videos: list[CachedVideo], seed: int = 0, *, flip: bool = True) -> Batch:
    return BatchMaker(flip=flip, num_segments=4)(videos, step_rng("batch", seed))


@pytest.mark.slow
def test_a_batch_is_a_draw_of_each_video_under_a_guardian_map(videos: list[CachedVideo]) -> None:
    batch = make(videos)
    assert batch.fragments.shape == (12, 4, 112, 112, 3)
    assert batch.fragments.dtype == torch.uint8
    assert batch.labels.tolist() == [video.label for video in videos]
    signs = []
    for index, video in enumerate(videos):
        pixels = video.fragments()[batch.draws[index], 0].astype(int)
        pixels = pixels[:, :, ::-1] if batch.flipped[index] else pixels
        difference = batch.fragments[index].numpy() - pixels
        inside = (pixels > 0) & (pixels < 255)
        assert set(np.unique(difference[inside])) == {-1, 1}
        signs.append(difference[inside].mean())
    assert np.abs(signs).max() < 0.05
    assert {0, 1} == set(batch.draws)


def test_an_epoch_meets_every_video_once_with_those_of_a_content_side_by_side(
    videos: list[CachedVideo],
) -> None:
    named = [replace(video, reference=f"content-{index % 4}") for index, video in enumerate(videos)]
    orders = [epoch_order(named, step_rng("order", seed), clips_per_content=3) for seed in range(2)]
    for order in orders:
        assert sorted(order) == list(range(12))
        assert all(len({named[index].content for index in row}) == 1 for row in order.reshape(4, 3))
    assert orders[0].tolist() != orders[1].tolist()
    alone = epoch_order(named, step_rng("order", 0), clips_per_content=1)
    assert alone.tolist() == step_rng("order", 0).permutation(12).tolist()
    assert {video.content for video in videos} == {video.source for video in videos}


def test_both_branches_are_mirrored_together_and_half_the_time(videos: list[CachedVideo]) -> None:
    flips = []
    for seed in range(20):
        batch = make(videos, seed)
        assert batch.segments is not None
        flips += batch.flipped
        for index, video in enumerate(videos[:2]):
            frames = video.frames()[video.segments()].astype(int)
            frames = frames[..., ::-1, :] if batch.flipped[index] else frames
            assert np.abs(batch.segments[index].numpy() - frames).max() == 1
    assert 0.35 < np.mean(flips) < 0.65
    assert not any(make(videos, flip=False).flipped)


def test_a_mirrored_frame_is_the_grid_of_mirrored_patches() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (7, 7, 8, 8, 3), dtype=np.uint8)
    assert np.array_equal(splice(patches)[:, ::-1], splice(patches[:, ::-1, :, ::-1]))


def test_a_batch_depends_on_its_generator_alone(videos: list[CachedVideo]) -> None:
    one, same, other = make(videos), make(videos), make(videos, 1)
    assert torch.equal(one.fragments, same.fragments)
    assert not torch.equal(one.fragments, other.fragments)


def test_no_guardian_map_where_the_model_has_none(folder: Path) -> None:
    plain = cached(folder, replace(TINY, guardian_amplitude=0))
    batch = make(plain, flip=False)
    for index, video in enumerate(plain):
        assert np.array_equal(batch.fragments[index].numpy(), video.fragments()[batch.draws[index], 0])


def test_chosen_segments_are_spread_over_the_video() -> None:
    chosen = np.array([choose_segments(16, 4, step_rng("batch", seed)) for seed in range(200)])
    assert np.array_equal(np.unique(chosen), np.arange(16))
    assert (chosen // 4 == np.arange(4)).all()
    assert choose_segments(16, 16, step_rng("batch", 0)).tolist() == list(range(16))
    assert len(choose_segments(0, 0, step_rng("batch", 0))) == 0


def test_more_segments_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ConfigurationError, match="train_segments must be <= num_segments=4, got 5"):
        choose_segments(4, 5, step_rng("batch", 0))


def test_purposes_and_places_have_generators_of_their_own() -> None:
    places = [("order", 1, 2), ("batch", 1, 2), ("model", 1, 2), ("batch", 2, 1), ("batch", 1, 2, 1)]
    first = [step_rng(*place).integers(2**62) for place in places]  # type: ignore[arg-type]
    assert len(set(first)) == len(places)


def test_prefetched_results_come_in_order_and_ahead_of_time() -> None:
    started: list[int] = []

    def jobs() -> Iterator[object]:
        for number in range(6):
            yield lambda number=number: started.append(number) or number  # type: ignore[misc]

    results = prefetched(jobs(), ahead=2)  # type: ignore[arg-type, var-annotated]
    assert next(results) == 0
    deadline = time.monotonic() + 10
    while len(started) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert started == [0, 1, 2]
    assert list(results) == [1, 2, 3, 4, 5]


def test_a_batch_that_fails_fails_the_step_that_wants_it() -> None:
    results = prefetched([lambda: 1, lambda: 1 // 0, lambda: 3])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_mirrored_clips_meet_features_of_mirrored_frames(videos: list[CachedVideo]) -> None:
    rows = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 4, 1), dtype=np.float32)
    maker = BatchMaker(flip=True, num_segments=2, features={video.folder: rows for video in videos})
    for seed in range(5):
        batch = maker(videos, step_rng("batch", seed))
        assert batch.segments is None
        assert batch.features is not None
        assert batch.features.shape == (12, 2, 1)
        assert (batch.features[:, 0, 0] % 2).bool().tolist() == list(batch.flipped)


def test_mirrored_statistics_are_chosen_for_mirrored_clips(videos: list[CachedVideo]) -> None:
    rows = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 1), dtype=np.float32)
    maker = BatchMaker(flip=True, num_segments=0, statistics={video.folder: rows for video in videos})
    batch = maker(videos, step_rng("batch", 0))
    assert batch.fragments is None
    assert batch.statistics is not None
    assert (batch.statistics % 2).bool().tolist() == list(batch.flipped)


def with_references(videos: list[CachedVideo], folder: Path) -> list[CachedVideo]:
    """Return the videos, each but those of the first source with the best encoding for its reference."""
    best = {video.source: video.uri for video in videos[::-1]}
    labelled = [
        replace(local_video(video.uri, label=video.label, source=video.source), reference=best[video.source])
        for video in videos
        if video.source != videos[0].source
    ]
    cached, failures = build_cache(labelled, folder / "cache", videos[0].config, num_workers=2)
    assert not failures
    return [*(video for video in videos if video.source == videos[0].source), *cached]


def test_differences_are_standardised_and_unknown_without_a_reference(
    videos: list[CachedVideo], folder: Path
) -> None:
    learnt = with_references(videos, folder)
    differences = Differences.of(learnt)
    assert differences is not None
    assert differences.mean.shape == differences.sd.shape == (NUM_DIFFERENCES, 1, 1, 1)
    maker = BatchMaker(flip=False, num_segments=0, differences=differences)
    batches = [maker(learnt, step_rng("batch", seed)).differences for seed in range(8)]
    found = torch.stack([batch for batch in batches if batch is not None])
    assert found.shape == (8, 12, NUM_DIFFERENCES, 2, 7, 7)
    assert found[:, :4].isnan().all()
    known = found[:, 4:].transpose(0, 2).flatten(1)
    assert known.mean(dim=1).numpy() == pytest.approx(np.zeros(NUM_DIFFERENCES), abs=0.15)
    assert known.std(dim=1).numpy() == pytest.approx(np.ones(NUM_DIFFERENCES), abs=0.25)


def test_differences_of_a_mirrored_clip_are_mirrored(videos: list[CachedVideo], folder: Path) -> None:
    learnt = with_references(videos, folder)
    differences = Differences.of(learnt)
    assert differences is not None
    batch = BatchMaker(flip=True, num_segments=0, differences=differences)(learnt, step_rng("batch", 0))
    assert batch.differences is not None
    assert set(batch.flipped[4:]) == {False, True}
    for index, video in enumerate(learnt[4:], start=4):
        plain = differences(video, (batch.draws[index], 0), is_flipped=False)
        expected = plain[..., ::-1] if batch.flipped[index] else plain
        assert np.array_equal(batch.differences[index].numpy(), expected)


def test_without_references_there_are_no_differences(videos: list[CachedVideo]) -> None:
    assert Differences.of(videos) is None
    assert make(videos).differences is None
