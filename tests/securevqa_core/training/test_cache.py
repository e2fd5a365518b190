"""The cache of pixels: what scoring would see, there as a whole or not at all, failures named."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from labelled import CRFS, TINY, labelled_videos
from media import run_ffmpeg

from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.fragments import splice
from securevqa_core.randomness import Key
from securevqa_core.training.cache import (
    CacheConfig,
    CachedVideo,
    LabelledVideo,
    build_cache,
    local_video,
)
from securevqa_core.training.differences import NUM_DIFFERENCES, local_differences

CONFIG = CacheConfig(sampling=TINY, num_draws=3, seed=5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledVideo]:
    return labelled_videos(tmp_path_factory.mktemp("videos"), num_crfs=1)


def build(videos: list[LabelledVideo], folder: Path, config: CacheConfig = CONFIG) -> list[CachedVideo]:
    cached, failures = build_cache(videos, folder, config, num_workers=2)
    assert not failures
    return cached


def draws_of(entry: CachedVideo) -> tuple[DrawSeeds, ...]:
    """Return the draws that scoring with the seed makes of the entry's content."""
    key, purposes = Key.public(CONFIG.seed), ("skip_sampling", "grid_sampling")
    return tuple(
        DrawSeeds(**{purpose: key.seed(entry.content_sha256, purpose, draw) for purpose in purposes})
        for draw in range(CONFIG.num_draws)
    )


def num_frames(path: str) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.slow
def test_cached_draws_are_those_of_scoring_with_the_seed(videos: list[LabelledVideo], tmp_path: Path) -> None:
    for video, entry in zip(videos, build(videos, tmp_path), strict=True):
        sample = extract_sample(video.uri, DecodeRequest(sampling=TINY, draws=draws_of(entry)))
        assert np.array_equal(entry.fragments(), splice(sample.patches))
        assert np.array_equal(entry.frames(), sample.frames)
        assert np.array_equal(entry.segments(), sample.segments)
        assert len(np.unique(entry.fragments(), axis=0)) == 3
        assert (entry.label, entry.source) == (video.label, video.source)


@pytest.mark.slow
def test_what_is_cached_is_not_decoded_again(videos: list[LabelledVideo], tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    moved = [
        local_video(shutil.copy(video.uri, copies), label=video.label, source=video.source)
        for video in videos
    ]
    first = build(moved, tmp_path / "cache")
    shutil.rmtree(copies)
    done: list[LabelledVideo] = []
    again, failures = build_cache(moved, tmp_path / "cache", CONFIG, num_workers=1, on_done=done.append)
    assert (again, failures) == (first, [])
    assert sorted(video.uri for video in done) == sorted(video.uri for video in moved)


@pytest.mark.slow
def test_a_changed_file_or_setting_is_another_entry(videos: list[LabelledVideo], tmp_path: Path) -> None:
    configs = [CONFIG, replace(CONFIG, seed=6), replace(CONFIG, num_draws=2)]
    configs.append(replace(CONFIG, sampling=replace(TINY, num_clips=2)))
    folders = {build(videos[:1], tmp_path, config)[0].folder for config in configs}
    folders.add(build([replace(videos[0], version="another")], tmp_path)[0].folder)
    assert len(folders) == 5


def test_pixels_are_kept_once_whatever_guardian_map_comes_after(
    videos: list[LabelledVideo], tmp_path: Path
) -> None:
    stronger = replace(CONFIG, sampling=replace(TINY, guardian_amplitude=4))
    (one,), (other,) = (build(videos[:1], tmp_path, config) for config in (CONFIG, stronger))
    assert one.folder == other.folder
    assert other.config.sampling.guardian_amplitude == 4


@pytest.mark.slow
def test_an_entry_that_was_being_written_is_made_anew(videos: list[LabelledVideo], tmp_path: Path) -> None:
    (whole,) = build(videos[:1], tmp_path)
    part = whole.folder.with_name(f".part-{whole.folder.name}")
    whole.folder.rename(part)
    (part / "fragments.npy").write_bytes(b"half")
    (again,) = build(videos[:1], tmp_path)
    assert again.fragments().shape == (3, 1, 4, 112, 112, 3)
    assert not part.exists()


def test_what_cannot_be_decoded_is_named_and_left_out(videos: list[LabelledVideo], tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("This is not a video.\n" * 100)
    empty.touch()
    bad = [local_video(path, label=1, source="bad") for path in (text, empty)]
    bad.append(LabelledVideo(uri=str(tmp_path / "gone.mp4"), label=1, source="bad", version="1"))
    cached, failures = build_cache([*bad, *videos], tmp_path / "cache", CONFIG, num_workers=2)
    assert [entry.uri for entry in cached] == [video.uri for video in videos]
    assert [failure.uri for failure in failures] == [video.uri for video in bad]
    codes = [failure.error_code for failure in failures]
    assert codes == ["not_a_video", "empty_file", "fetch_not_found"]
    assert "gone.mp4" in failures[2].message


def test_entries_say_where_they_came_from(videos: list[LabelledVideo], tmp_path: Path) -> None:
    for video, entry in zip(videos, build(videos, tmp_path), strict=True):
        facts = json.loads((entry.folder / "entry.json").read_text())
        assert facts.pop("size")[:2] == [num_frames(video.uri), 64]
        assert facts == {"uri": video.uri, "content_sha256": entry.content_sha256, "warnings": []}


def test_too_small_a_disk_is_said_before_decoding(videos: list[LabelledVideo], tmp_path: Path) -> None:
    vast = replace(TINY, num_clips=4096, clip_frames=4096, patch_side=4096)
    with pytest.raises(OutputError, match=r"needs \d+\.\d GiB for the fragments of 3 videos of num_draws=64"):
        build(videos, tmp_path, replace(CONFIG, sampling=vast, num_draws=64))


def test_a_cache_that_cannot_be_written_is_refused(videos: list[LabelledVideo], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cache '.*/file/cache' cannot be written: Not a directory"):
        build(videos, tmp_path / "file" / "cache")


@pytest.mark.slow
def test_an_entry_that_cannot_be_written_ends_the_build(videos: list[LabelledVideo], tmp_path: Path) -> None:
    (whole,) = build(videos[:1], tmp_path)
    shutil.rmtree(whole.folder)
    whole.folder.with_name(f".part-{whole.folder.name}").touch()  # in the way
    with pytest.raises(
        OutputError, match=f"cache entry '.*{whole.folder.name}' cannot be written: File exists"
    ):
        build(videos[:1], tmp_path)


@pytest.mark.parametrize("label", [math.nan, math.inf])
def test_a_label_that_is_no_number_is_refused(label: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"label of 'a\.mp4' must be finite, got {label}"):
        LabelledVideo(uri="a.mp4", label=label, source="a", version="1")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"video '.*gone\.mp4' cannot be read: No such file"):
        local_video(tmp_path / "gone.mp4", label=1, source="a")


@pytest.mark.parametrize(("setting", "value"), [("num_draws", 0), ("num_draws", 65), ("seed", -1)])
def test_cache_settings_out_of_range_are_refused(setting: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"{setting} must be in .*, got {value}"):
        replace(CONFIG, **{setting: value})


def test_at_least_one_worker_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"num_workers must be in .*, got 0"):
        build_cache([], tmp_path, CONFIG, num_workers=0)


@pytest.mark.slow
def test_differences_are_those_from_the_same_places_of_the_reference(tmp_path: Path) -> None:
    best, *_, worst = labelled_videos(tmp_path / "videos")[: len(CRFS)]
    (entry,) = build([replace(worst, reference=best.uri)], tmp_path)
    patches = extract_sample(best.uri, DecodeRequest(sampling=TINY, draws=draws_of(entry))).patches
    found = entry.differences()
    assert found is not None
    assert found.shape == (3, 1, NUM_DIFFERENCES, 2, 7, 7)
    for draw in range(3):
        undistorted = splice(patches)[draw, 0]
        expected = local_differences(entry.fragments()[draw, 0], undistorted, grid_size=7)
        assert np.array_equal(found[draw, 0], expected)


def test_a_video_that_is_its_own_reference_has_lost_nothing(
    videos: list[LabelledVideo], tmp_path: Path
) -> None:
    (entry,) = build([replace(videos[0], reference=videos[0].uri)], tmp_path)
    found = entry.differences()
    assert found is not None
    assert np.allclose(found[:, :, 0], np.log(0.5))


def test_differences_that_nothing_learns_are_not_made(videos: list[LabelledVideo], tmp_path: Path) -> None:
    unread = replace(videos[0], reference=str(tmp_path / "gone.mp4"))
    config = replace(CONFIG, has_differences=False)
    (entry,), failures = build_cache([unread], tmp_path / "cache", config, num_workers=1)
    assert failures == []
    assert entry.differences() is None
    assert entry.content == unread.reference


@pytest.mark.slow
def test_differences_are_added_to_an_entry_that_has_none_and_made_once(tmp_path: Path) -> None:
    best, worst = labelled_videos(tmp_path / "videos")[:2]
    (without,) = build([worst], tmp_path)
    assert without.differences() is None
    (entry,) = build([replace(worst, reference=best.uri)], tmp_path)
    assert entry.folder == without.folder
    Path(best.uri).unlink()
    (again,) = build([replace(worst, reference=best.uri)], tmp_path)
    assert np.array_equal(again.differences(), entry.differences())  # type: ignore[arg-type]


def test_a_reference_that_is_not_there_or_of_another_size_leaves_the_video_out(
    videos: list[LabelledVideo], tmp_path: Path
) -> None:
    small = tmp_path / "small.mp4"
    run_ffmpeg("-i", videos[0].uri, "-vf", "scale=80:48", str(small))
    wrong = [replace(videos[0], reference=str(path)) for path in (small, tmp_path / "gone.mp4")]
    cached, failures = build_cache(wrong, tmp_path / "cache", CONFIG, num_workers=1)
    assert cached == []
    assert [failure.error_code for failure in failures] == ["decode_failed"] * 2
    assert "the reference" in failures[1].message
    assert "gone.mp4" in failures[1].message
    frames = num_frames(videos[0].uri)
    assert f"small.mp4' must have the (frames, rows, columns) of the video, [{frames}, 64, " in (
        failures[0].message
    )
    assert f"got [{frames}, 48, " in failures[0].message


@pytest.mark.parametrize("repeats", [0, 1001])
def test_repeats_out_of_range_are_refused(repeats: int) -> None:
    with pytest.raises(ConfigurationError, match=f"repeats must be in 1..1000, got {repeats}"):
        LabelledVideo(uri="a.mp4", label=1, source="a", version="1", repeats=repeats)
