"""Which videos are trained on: by source, never by clip, and never a row that is marked test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.manifests.scales import LabelRange
from pipeline.training.split import (
    TrainingSet,
    random_splits,
    read_training_set,
    require_copies_together,
)
from securevqa_core.errors import ManifestError
from securevqa_core.training.cache import LabelledVideo

SPLITS = ["train", "train", "val", "validation", "test", "test"]


def read(
    folder: Path,
    label_range: LabelRange | None = None,
    reference_column: str | None = None,
    **columns: Any,
) -> TrainingSet:
    """Six files, of three sources unless said otherwise."""
    uris = [str(folder / f"{name}.mp4") for name in "abcdef"]
    for uri in uris:
        Path(uri).write_bytes(b"video")
    columns = {"uri": uris, "mos": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]} | columns
    return read_training_set(
        pa.table(columns),
        label=None,
        label_range=label_range or LabelRange(),
        split_column="split",
        source_column="source",
        reference_column=reference_column,
    )


def names(videos: tuple[LabelledVideo, ...]) -> str:
    return "".join(Path(video.uri).stem for video in videos)


def test_the_manifest_s_split_is_kept_and_its_test_rows_are_gone(tmp_path: Path) -> None:
    found = read(tmp_path, split=SPLITS, source=["x", "x", "y", "y", "z", "z"])
    assert found.given is not None
    assert (names(found.given.train), names(found.given.validation), found.given.test) == ("ab", "cd", ())
    assert (names(found.videos), found.num_test_rows) == ("abcd", 2)


def test_labels_are_points_of_100_and_rows_without_one_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, LabelRange(low=1, high=5), mos=["1", "5", "3", None, "", "2"])
    assert [video.label for video in found.videos] == [0, 100, 50, 25]
    assert (found.given, found.num_unlabelled) == (None, 2)


def test_a_row_is_a_source_of_its_own_where_the_manifest_names_none(tmp_path: Path) -> None:
    videos = read(tmp_path).videos
    assert [video.source for video in videos] == [video.uri for video in videos]
    assert [video.source for video in read(tmp_path, source=[1, 1, 2, 2, 3, 3]).videos] == list("112233")


def test_references_and_repeats_are_those_of_the_rows(tmp_path: Path) -> None:
    references = ["best.mp4", None, "best.mp4", None, None, None]
    videos = read(tmp_path, None, "reference", reference=references, repeats=[1, 2, 3, 1, 1, 1]).videos
    assert [video.reference for video in videos] == references
    assert [video.repeats for video in videos] == [1, 2, 3, 1, 1, 1]
    plain = read(tmp_path, reference=references).videos
    assert {(video.reference, video.repeats) for video in plain} == {(None, 1)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "reference_column must be a column of the manifest, got 'reference'"),
        ({"reference": ["a", None, "", "b", None, None]}, "row 3: column 'reference' must be a URI or null"),
        (
            {"reference": [None] * 6, "repeats": [1, 1, 0, 1, 1, 1]},
            r"row 3: column 'repeats' must be an integer in 1\.\.1000, got 0",
        ),
        (
            {"reference": [None] * 6, "repeats": [1.5] * 6},
            r"row 1: column 'repeats' must be an integer in 1\.\.1000, got 1\.5",
        ),
    ],
)
def test_references_and_repeats_that_break_a_rule_are_refused(
    columns: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, None, "reference", **columns)


def test_versions_change_with_the_files(tmp_path: Path) -> None:
    before = read(tmp_path).videos
    (tmp_path / "b.mp4").write_bytes(b"another video")
    (tmp_path / "c.mp4").write_bytes(b"a longer video")
    assert read(tmp_path).videos != before
    (tmp_path / "b.mp4").unlink()
    assert read(tmp_path).videos[0].uri == before[0].uri


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mos": [20.0, 80.0, 1.0, 2.0, 3.0, 4.0]}, "label is 20 of 100 and 80 of 100"),
        ({"mos": [1.0] * 6, "source": ["x", "y", "z", "z", "z", "z"]}, "source is 'x' and 'y'"),
        ({"mos": [1.0] * 6, "reference": ["x", None, "z", "z", "z", "z"]}, "reference is 'x' and None"),
    ],
)
def test_two_rows_of_one_video_that_differ_are_refused_by_name(
    columns: dict[str, Any], message: str, tmp_path: Path
) -> None:
    video = tmp_path / "a.mp4"
    uris = [str(video), str(video), *(str(tmp_path / f"{name}.mp4") for name in "cdef")]
    given = {"reference": [None] * 6} | columns
    with pytest.raises(ManifestError, match=rf"rows 1 and 2 are of one video, '{video}', .*{message}"):
        read(tmp_path, None, "reference", uri=uris, **given)
    alike = given | {"mos": [1.0] * 6, "source": ["x"] * 6, "reference": [None] * 6}
    assert len(read(tmp_path, None, "reference", uri=uris, **alike).videos) == 6


def sources(number: int, clips: int = 3) -> list[LabelledVideo]:
    return [
        LabelledVideo(uri=f"{source}-{clip}", label=clip, source=f"{source:03}", version="1")
        for source in range(number)
        for clip in range(clips)
    ]


@pytest.mark.parametrize("number", [3, 10, 100])
def test_random_splits_keep_sources_together_and_use_every_video(number: int) -> None:
    videos = sources(number)
    splits = random_splits(videos, seed=0, num_splits=4, test_share=0.2, validation_share=0.25)
    for split in splits:
        parts = (split.train, split.validation, split.test)
        assert sorted(video.uri for part in parts for video in part) == sorted(v.uri for v in videos)
        kinds = [{video.source for video in part} for part in parts]
        assert sum(map(len, kinds)) == number
        assert len(kinds[2]) == max(1, round(0.2 * number))
        assert len(kinds[1]) == max(1, round(0.25 * (number - len(kinds[2]))))
    assert number == 3 or len({split.test for split in splits}) > 1


def test_random_splits_depend_on_the_seed_and_not_on_the_order_of_rows() -> None:
    options: dict[str, Any] = {"num_splits": 2, "test_share": 0.2, "validation_share": 0.2}
    one = random_splits(sources(20), seed=0, **options)
    same = random_splits(sources(20)[::-1], seed=0, **options)
    other = random_splits(sources(20), seed=1, **options)
    for a, b in zip(one, same, strict=True):
        assert set(a.test) == set(b.test)
        assert set(a.validation) == set(b.validation)
    assert set(one[0].test) != set(other[0].test)


def test_without_a_test_share_nothing_is_kept_back() -> None:
    (split,) = random_splits(sources(10), seed=0, num_splits=1, test_share=0, validation_share=0.2)
    assert split.test == ()
    assert len(split.validation) == 6


def test_too_few_sources_are_refused() -> None:
    with pytest.raises(
        ManifestError, match="got 2 for 1 of test, 1 of validation and at least 1 of training"
    ):
        random_splits(sources(2), seed=0, num_splits=1, test_share=0.2, validation_share=0.2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"split": [*SPLITS[:5], "dev"]}, "row 6: column 'split' must be one of .*, got 'dev'"),
        ({"split": ["train"] * 6}, "column 'split' must mark labelled rows as validation, got none"),
        ({"split": ["val"] * 6}, "column 'split' must mark labelled rows as train, got none"),
        (
            {"split": SPLITS, "source": ["x", "y", "x", "z", "z", "z"]},
            r"in one part of column 'split', 2 lie in several: 'x' \(train, validation\), 'z' \(test, val",
        ),
        (
            {"split": SPLITS, "source": ["film-1", "a", "b", "c", "film-1", "d"]},
            r"a source must lie in one part of column 'split', 1 lie in several: 'film-1' \(test, train\)",
        ),
        (
            {"split": SPLITS, "uri": ["/a", "/b", "/c", "/d", "/a", "/e"], "source": [*"abcdef"]},
            r"a video must lie in one part .*, 1 lie in several: '/a' \(test, train\)",
        ),
        (
            {"source": ["x", "x", "x", "x", "", "x"]},
            "row 5: column 'source' must not be null or empty, got ''",
        ),
        ({"mos": ["1", "2", "good", "4", "5", "6"]}, r"c\.mp4': column 'mos' must be a number, got 'good'"),
    ],
)
def test_manifests_that_break_a_rule_are_refused(
    columns: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, **columns)


def contents(folder: Path, of: str) -> dict[str, str]:
    """Digests of the six files, by a letter each; "-" could not be read."""
    uris = [str(folder / f"{name}.mp4") for name in "abcdef"]
    return {uri: content for uri, content in zip(uris, of, strict=True) if content != "-"}


def test_copies_of_one_file_lie_in_one_part_of_the_manifest_s_split(tmp_path: Path) -> None:
    split = read(tmp_path, split=SPLITS).given
    assert split is not None
    for together in ("112233", "112211", "1-2-1-"):
        require_copies_together(split, contents(tmp_path, together), is_given=True)
    with pytest.raises(
        ManifestError, match=r"one part .*, 1 lie in several: .*b\.mp4' \(train\), .*c\.mp4' \(va"
    ):
        require_copies_together(split, contents(tmp_path, "122345"), is_given=True)


def test_copies_of_one_file_have_one_source_whatever_a_draw_makes_of_them(tmp_path: Path) -> None:
    videos = read(tmp_path, source=["x", "x", "y", "y", "z", "z"]).videos
    options: dict[str, Any] = {"num_splits": 5, "test_share": 0.2, "validation_share": 0.2}
    for split in random_splits(videos, seed=1, **options):
        require_copies_together(split, contents(tmp_path, "112233"), is_given=False)
        with pytest.raises(
            ManifestError, match=r"one source, 1 lie in several: .*mp4' \([xy]\), .*mp4' \([xy]\)$"
        ):
            require_copies_together(split, contents(tmp_path, "122345"), is_given=False)
