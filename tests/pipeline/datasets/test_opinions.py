"""A data set's clips have the opinion that a teacher gives them, and videos as they are no other label."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from footage import make_photo, make_video
from rich.console import Console

from pipeline.datasets.build import build_dataset
from pipeline.datasets.opinions import Opinions, rate
from pipeline.events import Events
from securevqa_core import teacher as teaching
from securevqa_core.datasets.build import read_records, split_of
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.folder import opened
from securevqa_core.errors import DatasetError
from securevqa_core.opinions.predicted import Opinion, teacher_id

CONFIG = BuildConfig(views_per_source=1, ladders_per_view=0, mixtures_per_view=1, edits_per_view=0)


class Counting:
    """A teacher that thinks of every video what its size says, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def opinion_of(self, path: Path) -> Opinion:
        self.asked.append(path.name)
        if path.stat().st_size == 0:
            raise DatasetError(f"{path} cannot be given an opinion")
        return Opinion(mean=path.stat().st_size % 100, sd=1.5)


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Counting:
    one = Counting()
    monkeypatch.setattr(teaching, "fit_teacher", lambda _version: one)
    return one


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    make_video(folder / "bunny.mp4")
    return folder


def build(root: Path, output: Path, config: BuildConfig = CONFIG, **settings: Any) -> list[dict[str, Any]]:
    built = build_dataset(
        [root], output, config, events=Events(Console(file=io.StringIO())), workers=1, **settings
    )
    rows: list[dict[str, Any]] = pq.read_table(built.manifest).to_pylist()
    return rows


@pytest.mark.slow
def test_a_data_set_that_is_there_is_given_opinions_and_no_clip_is_made_again(
    footage: Path, tmp_path: Path, teacher: Counting
) -> None:
    plain = build(footage, tmp_path / "set", opinions=Opinions(of="none"))
    assert not teacher.asked
    columns = ("opinion", "opinion_sd", "joined", "teacher")
    assert {row[name] for row in plain for name in columns} == {None}
    written = {row["uri"]: Path(row["uri"]).stat().st_mtime_ns for row in plain}

    pristine = build(footage, tmp_path / "set", opinions=Opinions(of="pristine"))
    assert teacher.asked == ["pristine-0.mp4"]
    assert [row["family"] for row in pristine if row["opinion"] is not None] == ["pristine"]
    (of_source,) = (row["opinion"] for row in pristine if row["opinion"] is not None)
    assert [row["joined"] for row in pristine] == [of_source * row["label"] / 100 for row in pristine]

    rows = build(footage, tmp_path / "set")
    assert teacher.asked == ["pristine-0.mp4", "mixture-1.mp4"], "none is asked for twice"
    assert {row["uri"]: Path(row["uri"]).stat().st_mtime_ns for row in rows} == written
    for row, before in zip(rows, plain, strict=True):
        assert row["opinion"] == Path(row["uri"]).stat().st_size % 100
        assert (row["opinion_sd"], row["teacher"]) == (1.5, teacher_id("videval-720p"))
        assert row["joined"] == of_source * row["label"] / 100
        assert row["label"] == before["label"] == row["vmaf_neg"] * (row["quality_factor"] or 1)


@pytest.mark.slow
def test_another_teacher_is_asked_anew_and_damaged_opinions_are_made_again(
    footage: Path, tmp_path: Path, teacher: Counting
) -> None:
    first = build(footage, tmp_path / "set")
    build(footage, tmp_path / "set", opinions=Opinions(teacher="videval-480p"))
    assert len(teacher.asked) == 2 * len(first)
    (kept,) = (tmp_path / "set").glob("opinions/*.json")
    for damage in ("{", "[3]", json.dumps({"teacher": teacher_id("videval-720p"), "clips": {"a": {}}})):
        kept.write_text(damage)
        teacher.asked.clear()
        assert build(footage, tmp_path / "set") == first
        assert len(teacher.asked) == len(first)


@pytest.mark.slow
def test_a_call_that_is_stopped_keeps_no_opinions(footage: Path, tmp_path: Path, teacher: Counting) -> None:
    build(footage, tmp_path / "set", opinions=Opinions(of="none"))
    with opened(tmp_path / "set", CONFIG.settings()) as folder:
        (view,) = (path.stem for path in folder.root.glob("records/*.json"))
        records = read_records(view, folder)
        assert records is not None
        stops = iter([False, True])
        stopped = rate(view, records, folder, Opinions(), teacher, is_stopped=lambda: next(stops))
        assert stopped is None
        assert len(teacher.asked) == 1
        assert not folder.opinions(view).exists()


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Two videos, one of them fast and too small to be shrunk, a copy, a photograph and no video at all."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    make_video(folder / "bunny.mp4", seconds=1)
    small = "-r 50 -vf scale=160:120 -c:v libx264 -preset ultrafast"
    make_video(folder / "small.mp4", "bikes", seconds=0.6, options=small)
    (folder / "copy.mp4").write_bytes((folder / "small.mp4").read_bytes())
    make_photo(folder / "street.jpg")
    return folder


def test_videos_as_they_are_are_listed_where_they_lie_with_their_opinion_for_a_label(
    uploads: Path, tmp_path: Path, teacher: Counting
) -> None:
    config = BuildConfig(as_is=True)
    rows = build(uploads, tmp_path / "set", config)
    assert [row["uri"] for row in rows] == [str(uploads / "bunny.mp4"), str(uploads / "copy.mp4")]
    for row in rows:
        assert row["label"] == row["joined"] == row["opinion"] == Path(row["uri"]).stat().st_size % 100
        assert (row["family"], row["repeats"], row["level"]) == ("as_is", 1, 0)
        assert row["split"] == split_of(row["group"], config)
        absent = ("vmaf", "vmaf_neg", "quality_factor", "ladder", "reference", "view_plan", "steps")
        assert not {name: row[name] for name in absent if row[name] is not None}
    assert [(row["width"], row["height"], row["fps"]) for row in rows] == [(640, 360, 25), (282, 120, 50)]
    assert build(uploads, tmp_path / "set", config) == rows
    assert len(teacher.asked) == 2
    assert not list((tmp_path / "set").glob("clips/*"))


def test_a_photograph_and_a_video_that_has_no_opinion_are_left_out_by_name(
    uploads: Path, tmp_path: Path, teacher: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Opinion:
        if path.name == "bunny.mp4":
            raise DatasetError(f"{path} cannot be given an opinion: the decoder refused the file")
        return Opinion(mean=50, sd=1)

    monkeypatch.setattr(teacher, "opinion_of", refuse)
    built = build_dataset(
        [uploads], tmp_path / "set", BuildConfig(as_is=True), events=Events(Console(file=io.StringIO()))
    )
    assert [Path(one.uri).name for one in built.records] == ["copy.mp4"]
    assert [one.reason for one in built.left_out] == [
        f"{uploads / 'street.jpg'} is a photograph, which nobody uploads as a video",
        f"{uploads / 'bunny.mp4'} cannot be given an opinion: the decoder refused the file",
    ]
