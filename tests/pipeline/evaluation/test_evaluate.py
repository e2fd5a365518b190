"""An evaluation from a label file: videos are scored as `score` does it, and the run can be used again."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cli import call, read_json, read_report, securevqa
from media import run_ffmpeg

from pipeline.evaluation.evaluate import contestants, named_runs
from pipeline.evaluation.listed import LabelledSource, read_labelled
from pipeline.manifests.labelled import EvaluationSettings
from securevqa_core.errors import ConfigurationError

NAME = "secure-vqa-compact"


def test_contestants_are_told_apart_by_name() -> None:
    found = contestants(["fast-vqa", "fast-vqa"], ["a/mine.safetensors", "s3://b/mine.safetensors"])
    assert [one.name for one in found] == ["fast-vqa", "fast-vqa-2", "mine", "mine-2"]
    assert [one.checkpoint for one in found][2:] == ["a/mine.safetensors", "s3://b/mine.safetensors"]
    assert [one.name for one in contestants([], [])] == [NAME]
    trained = [f"{place}checkpoint.safetensors" for place in ("tr/", "s3://b/tr5/", "", "./", "other/tr/")]
    names = [one.name for one in contestants([], trained)]
    assert names == ["tr", "tr5", "checkpoint", "checkpoint-2", "tr-2"]
    assert list(named_runs(["/x/mine", "/y/mine/"], taken=["mine"])) == ["mine-2", "mine-3"]
    with pytest.raises(ConfigurationError, match="'vmaf'"):
        contestants(["vmaf"], [])


def test_columns_that_the_report_has_for_itself_are_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,label,width,split\na.mp4,50,640,test\nb.mp4,60,320,train\n")
    source = LabelledSource(location=str(tmp_path / "m.csv"), uri_column="path")
    settings = EvaluationSettings(where=("split=test",), groups=("width", "codec"))
    table, _ = read_labelled(source, settings)
    assert table.column_names[1:] == ["uri", "label", "listed_width", "split"]
    assert table["uri"].to_pylist() == [f"{tmp_path}/a.mp4"]


@pytest.fixture(scope="module")
def label_file(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven qualities of one clip, a file that is no video, one that is not there and one without a MOS."""
    folder = tmp_path_factory.mktemp("konvid")
    lines = [f"c{crf}.mp4, -1, -1, {5 - crf / 13:.2f}" for crf in range(15, 50, 5)]
    for crf in range(15, 50, 5):
        options = f"-t 0.6 -vf scale=160:-2 -c:v libx264 -preset ultrafast -crf {crf} -an"
        run_ffmpeg("-i", str(videos["bikes_h264.mp4"]), *options.split(), str(folder / f"c{crf}.mp4"))
    (folder / "text.mp4").write_text("not a video\n")
    (folder / "unlabelled.mp4").write_text("not a video either\n")
    lines += ["text.mp4, 8, 25, 2.5", "absent.mp4, 8, 25, 3.5", "unlabelled.mp4, 8, 25, -1"]
    path = folder / "labels.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.ray
def test_a_label_file_is_scored_and_compared(
    label_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "evaluation"
    options = ("--labels-format", "konvid-1k", "--seed", "0", "--draws", "2", "--resamples", "100")
    done = securevqa("evaluate", str(label_file), "--output", str(output), *options)
    record = read_json(str(output / "evaluation.json"))
    (model,) = record["models"]
    counts = {"total": 9, "compared": 7, "failed": 1, "pending": 0, "without_label": 1, "not_in_every_run": 0}
    assert record["rows"] == counts
    assert "1 of 10 labelled videos are not there and left out: 'absent.mp4'" in done.stderr
    assert model["failed"] == {"not_a_video": 1}
    assert "not scored: 1 not_a_video" in done.stdout
    assert record["label"] == {"column": "mos", "low": 1, "high": 5}
    report = read_report(str(output / "runs" / NAME)).to_pylist()
    sds = [row["score_sd"] for row in report if row["status"] == "scored"]
    assert model["sd_over_draws"]["mean"] == pytest.approx(sum(sds) / len(sds))
    assert pq.read_table(output / "manifest.parquet").num_rows == 9
    assert (output / "scatter.png").stat().st_size > 10_000

    again = ("--run", str(output / "runs" / NAME), "--output", str(tmp_path / "again"))
    assert call("evaluate", *again, "--labels-format", "konvid-1k", "--resamples", "100") == 0
    assert "7 of 9 rows compared" in capsys.readouterr().out
    assert read_json(str(tmp_path / "again" / "evaluation.json"))["models"][0]["overall"] == model["overall"]
