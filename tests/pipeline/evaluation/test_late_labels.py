"""Labels that come later than the scores are joined to a finished run; their scale is guessed and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cli import call, read_json
from runs import make_run

from pipeline.manifests.labels import label_column
from pipeline.manifests.late_labels import joined_labels, read_late_labels
from securevqa_core.errors import ManifestError

SCORES = [10.0, 30.0, 42.0, 55.0, 71.0, 80.0, 86.0, 95.0]
MOS = [1.4, 1.2, 2.6, 3.0, 3.4, 4.2, 4.1, 4.8]


def uri(row: int) -> str:
    return f"s3://uploads/day/c{row}.mp4"


@pytest.fixture
def scored(tmp_path: Path) -> str:
    """A run of videos that nobody had an opinion of yet."""
    rows = [{"video_id": f"id{row}", "uri": uri(row), "score": score} for row, score in enumerate(SCORES)]
    make_run(str(tmp_path / "scored"), rows)
    return str(tmp_path / "scored")


def labels(folder: Path, header: str, name: Any, extra: str = "") -> str:
    lines = [header, *(f"{name(row)},{mos}" for row, mos in enumerate(MOS))]
    (folder / "labels.csv").write_text("\n".join(lines) + f"\n{extra}")
    return str(folder / "labels.csv")


NAMINGS = {
    "uri": ("uri,mos", uri),
    "the end of a uri": ("uri,mos", lambda row: f"day/c{row}.mp4"),
    "a file elsewhere": ("uri,mos", lambda row: f"/data/konvid/c{row}.mp4"),
    "video_id": ("video_id,mos", lambda row: f"id{row}"),
    "name": ("name,mos", lambda row: f"c{row}.mp4"),
    "name without extension": ("flickr_id,mos", lambda row: f"c{row}"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("header", "name"), NAMINGS.values(), ids=NAMINGS)
def test_labels_join_a_finished_run(
    header: str, name: Any, scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = labels(tmp_path, header, name)
    assert (
        call("evaluate", table, "--run", scored, "--output", str(tmp_path / "out"), "--resamples", "100") == 0
    )
    record = read_json(str(tmp_path / "out" / "evaluation.json"))
    assert record["rows"]["compared"] == len(MOS)
    assert record["label"] == {"low": 1, "high": 5, "column": "mos"}
    assert record["models"][0]["overall"]["srcc"]["value"] == pytest.approx(1 - 6 * 4 / (8 * 63))
    said = capsys.readouterr().err.replace("\n", " ")
    assert "8 of 8 videos have a label" in said
    assert "span 1.2..4.8: taken to be on 1..5; --label-range LOW HIGH says otherwise" in said


def test_a_label_file_joins_without_its_videos(scored: str, tmp_path: Path) -> None:
    (tmp_path / "mos.csv").write_text("".join(f"c{row}.mp4, 8, 25, {mos}\n" for row, mos in enumerate(MOS)))
    given = (str(tmp_path / "mos.csv"), "--labels-format", "konvid-1k", "--run", scored)
    assert call("evaluate", *given, "--output", str(tmp_path / "out"), "--resamples", "100") == 0
    assert read_json(str(tmp_path / "out" / "evaluation.json"))["rows"]["compared"] == len(MOS)


def test_labels_of_no_video_and_videos_without_one_are_counted_and_named(
    scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = labels(tmp_path, "name,mos", lambda row: f"c{row}.mp4" if row else "gone.mp4")
    assert (
        call("evaluate", table, "--run", scored, "--output", str(tmp_path / "out"), "--resamples", "100") == 0
    )
    said = capsys.readouterr()
    assert "7 of 8 videos have a label; no video for 1 label, of 'gone.mp4'" in said.err
    assert "7 of 8 rows compared; left out: 0 failed, 1 without label" in said.out


def test_what_is_said_of_two_runs_alike_is_said_once(
    scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(
        str(tmp_path / "few"),
        [{"video_id": f"id{row}", "uri": uri(row), "score": 9.0 * row} for row in range(6)],
    )
    table = labels(tmp_path, "name,mos", lambda row: f"c{row}.mp4")
    output = ("--output", str(tmp_path / "out"), "--resamples", "100")
    assert call("evaluate", table, "--run", scored, "--run", scored, *output) == 0
    said = capsys.readouterr().err
    assert said.count("8 of 8 videos have a label") == said.count("taken to be on 1..5") == 1
    assert call("evaluate", table, "--run", scored, "--run", str(tmp_path / "few"), *output) == 0
    assert "few: 6 of 6 videos have a label; no video for 2 labels, of" in capsys.readouterr().err


def test_a_finished_run_is_calibrated_to_labels_that_came_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from securevqa_core import weights

    raw = [score / 100 for score in SCORES]
    rows = [
        {"video_id": f"id{row}", "uri": uri(row), "score": score, "raw_score": raw[row]}
        for row, score in enumerate(SCORES)
    ]
    make_run(str(tmp_path / "scored"), rows, checkpoint_id=weights.find("nss-svr").checkpoint_id)
    table = labels(tmp_path, "name,mos", lambda row: f"c{row}.mp4")
    given = ("nss-svr", table, "--run", str(tmp_path / "scored"), "-o", str(tmp_path / "new.safetensors"))
    assert call("weights", "calibrate", *given, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["refit"]["num_rows"] == len(MOS)
    assert said["refit"]["label"] == {"column": "mos", "low": 1, "high": 5}
    assert (tmp_path / "new.safetensors").is_file()


@pytest.mark.parametrize(
    ("header", "row", "label_format"),
    [
        ("vid,MOSFull,MOSChunk00", "c{row},{mos},1", "youtube-ugc"),
        ("flickr_id;mos", "c{row};{mos}", "konvid-1k"),
        ("# made by hand", "c{row}.mp4,8,25,{mos}", "fast-vqa"),
    ],
)
def test_a_label_file_that_is_given_as_a_table_is_read_as_what_it_is(
    header: str, row: str, label_format: str, tmp_path: Path
) -> None:
    lines = [header, *(row.format(row=number, mos=mos) for number, mos in enumerate(MOS))]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines))
    late = read_late_labels(str(path), label_format=None, uri_column="uri")
    joined, said = told(report(*map(uri, range(len(MOS)))), late)
    assert joined[label_column(late.column_names, None)].to_pylist() == MOS
    assert said[0] == f"'{path}' is read as a label file, as with --labels-format {label_format}"
    with pytest.raises(ManifestError, match=r"labels\.csv"):
        read_late_labels(str(path.with_name("no_labels.csv")), label_format=None, uri_column="uri")


def test_a_label_file_as_a_table_keeps_its_columns_and_other_tables_are_no_label_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("vid,MOSFull,MOSChunk00\nc,3,1\n")
    assert read_late_labels(str(path), label_format=None, uri_column="uri").to_pylist() == [
        {"vid": "c", "MOSFull": 3, "MOSChunk00": 1, "mos": 3.0}
    ]
    path.write_text("Flickr_ID,MOS\n007,3\n")
    assert read_late_labels(str(path), label_format=None, uri_column="uri").to_pylist() == [
        {"Flickr_ID": "007", "MOS": 3}
    ]
    for text, rule in (
        ("place,mos\na,3\n", "one of the columns video_id, uri"),
        ("a,mos\nb\n", "line 2: has 1"),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=rule):
            read_late_labels(str(path), label_format=None, uri_column="uri")


def report(*uris: str) -> pa.Table:
    return pa.table({"video_id": [f"id{row}" for row in range(len(uris))], "uri": list(uris)})


def told(report: pa.Table, labels: pa.Table) -> tuple[pa.Table, list[str]]:
    said: list[str] = []
    return joined_labels(report, labels, tell=said.append)[0], said


def test_as_much_of_a_path_as_is_given_tells_files_of_one_name_apart() -> None:
    videos = report("/a/x/1.mp4", "/a/y/1.mp4", "/a/y/2.mp4")
    joined, _ = told(videos, pa.table({"path": ["y/1", "x/1.mp4"], "mos": [3.0, 4.0]}))
    assert joined["mos"].to_pylist() == [4.0, 3.0, None]
    with pytest.raises(ManifestError, match=r"'1.mp4' fits 2 videos, '/a/x/1.mp4', '/a/y/1.mp4'"):
        told(videos, pa.table({"path": ["1.mp4"], "mos": [3.0]}))


def test_a_label_of_another_folder_is_of_no_video() -> None:
    videos = report("/run/x/1.mp4", "/run/y/1.mp4")
    paths = ["/data/x/1.mp4", "/data/y/1.mp4", "/data/z/1.mp4"]
    joined, said = told(videos, pa.table({"path": paths, "mos": [3.0, 4.0, 5.0]}))
    assert joined["mos"].to_pylist() == [3.0, 4.0]
    assert "no video for 1 label, of '/data/z/1.mp4'" in said[0]
    with pytest.raises(ManifestError, match="no video for 1 label, of"):
        told(videos, pa.table({"path": paths[2:3], "mos": [5.0]}))


def test_a_single_namesake_is_taken_where_no_label_has_the_folder_of_a_video() -> None:
    videos = report("/run/ia-batch1/First.mp4", "/run/ia-batch1/Third.mp4")
    paths = ["ia-batch1/First.mp4", "ia-batch2/Third.mp4"]
    joined, said = told(videos, pa.table({"path": paths, "mos": [3.0, 4.0]}))
    assert joined["mos"].to_pylist() == [3.0, None]
    assert "no video for 1 label, of 'ia-batch2/Third.mp4'" in said[0]
    joined, _ = told(videos, pa.table({"path": ["x/First", "x/Third", "y/Third"], "mos": [3.0, 4.0, 5.0]}))
    assert joined["mos"].to_pylist() == [3.0, None]


def test_what_comes_close_is_taken_unless_it_is_another_label_s() -> None:
    videos = report("/a/c.mp4", "/a/10053703034.mp4")
    joined, _ = told(videos, pa.table({"path": ["A\\C.mp4", "1.0053703034e+10"], "mos": [3.0, 4.0]}))
    assert joined["mos"].to_pylist() == [3.0, 4.0]
    joined, said = told(videos, pa.table({"path": ["C.mp4", "c.mp4"], "mos": [3.0, 4.0]}))
    assert joined["mos"].to_pylist() == [4.0, None]
    assert "no video for 1 label, of 'C.mp4'" in said[0]


def test_a_name_with_an_extension_is_no_other_file() -> None:
    with pytest.raises(
        ManifestError, match=r"the run has no video for 1 label, of 'c.avi'; its videos are 'c.mp4'"
    ):
        told(report("/a/c.mp4"), pa.table({"name": ["c.avi"], "mos": [3.0]}))


def test_two_labels_of_a_video_are_refused_unless_they_agree() -> None:
    joined, _ = told(report("/a/c.mp4"), pa.table({"name": ["c.mp4", "c"], "mos": [3.0, 3.0]}))
    assert joined["mos"].to_pylist() == [3.0]
    with pytest.raises(ManifestError, match=r"rows 1 and 2: both of 'c'"):
        told(report("/a/c.mp4"), pa.table({"name": ["c.mp4", "c"], "mos": [3.0, 4.0]}))


def test_a_row_that_repeats_a_video_takes_no_label_from_it() -> None:
    """As a manifest with a video named twice is scored, it serves as labels of its run."""
    videos = report("/a/c.mp4", "/a/c.mp4").append_column("error_code", pa.array([None, "row_repeated"]))
    joined, said = told(videos, pa.table({"uri": ["/a/c.mp4", "/a/c.mp4"], "mos": [3.0, 3.0]}))
    assert joined["mos"].to_pylist() == [3.0, None]
    assert said == ["1 of 2 videos has a label"]


def test_scores_are_not_held_against_themselves(
    scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels in a column `score` gave way to the report's, and everything agreed."""
    given = (labels(tmp_path, "name,score", lambda row: f"c{row}.mp4"), "--run", scored)
    asked = (*given, "--output", str(tmp_path / "out"), "--label-column", "score")
    assert call("evaluate", *asked) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--label-column must not be one that every report has, got 'score': rename it" in said


@pytest.mark.parametrize(
    ("label", "rule"),
    [("'4.6", 'must be a number, got "\'4.6"'), ("6.5", "must be in 1..5, got 6.5")],
)
def test_a_label_that_breaks_a_rule_is_named_by_its_row_of_the_labels_and_its_video(
    label: str, rule: str, scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number was the report's row, which is another one where labels are in another order."""
    (tmp_path / "labels.csv").write_text(f"name,mos\nc7.mp4,4.8\nc2.mp4,2.6\nc0.mp4,1.4\nc5.mp4,{label}\n")
    given = (str(tmp_path / "labels.csv"), "--run", scored, "--where", "status=scored")
    asked = (*given, "--output", str(tmp_path / "out"), "--label-range", "1", "5")
    assert call("evaluate", *asked) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"row 4, video {uri(5)!r}: column 'mos' {rule}" in said


@pytest.mark.parametrize("name", ["MOS", "Mos", "Label"])
def test_the_label_column_is_found_in_any_case(
    name: str, scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = labels(tmp_path, f"filename,{name}", lambda row: f"c{row}.mp4")
    given = (table, "--run", scored, "--output", str(tmp_path / "out"), "--resamples", "100")
    assert call("evaluate", *given) == 0
    assert read_json(str(tmp_path / "out" / "evaluation.json"))["label"]["column"] == name


@pytest.mark.parametrize("asked", [(), ("--label-column", "mos")])
def test_a_label_column_that_is_not_found_is_one_of_the_labels(
    asked: tuple[str, ...], scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All the columns of the report were named, of which none could be it."""
    given = (labels(tmp_path, "name,rating", lambda row: f"c{row}.mp4"), "--run", scored, *asked)
    assert call("evaluate", *given, "--output", str(tmp_path / "out")) == 2
    said = " ".join(capsys.readouterr().err.split())
    rule = "there is no label column 'mos', only" if asked else "--label-column must be given unless"
    assert rule in said
    assert "name, rating" in said
    assert "score" not in said


def test_labels_that_came_later_go_before_those_of_the_report() -> None:
    assert label_column(["uri", "label"], None, late=["name", "mos"]) == "mos"
    assert label_column(["uri", "label"], None, late=["name", "family"]) == "label"


def test_columns_of_the_labels_take_the_place_of_the_report_s_but_for_its_own() -> None:
    videos = report("/a/c.mp4").append_column("mos", pa.array([9.0])).append_column("score", pa.array([50.0]))
    late = pa.table({"video_id": ["id0"], "mos": [3.0], "score": [1.0], "group": ["film"]})
    joined, said = told(videos, late)
    assert joined.to_pylist() == [
        {"video_id": "id0", "uri": "/a/c.mp4", "mos": 3.0, "score": 50.0, "group": "film"}
    ]
    assert said == ["1 of 1 video has a label"]


def test_labels_that_name_no_videos_are_refused(
    scored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text("clip,mos\nc1.mp4,3\n")
    given = (str(tmp_path / "labels.csv"), "--run", scored, "--output", str(tmp_path / "out"))
    assert call("evaluate", *given) == 2
    assert "must name their videos in one of the columns video_id, uri, name" in capsys.readouterr().err
