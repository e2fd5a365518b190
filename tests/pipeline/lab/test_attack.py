"""`securevqa attack`: one row a video, kept when it is called again, and a record of what came out."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import av
import polars
import pytest
from cli import call, securevqa

from pipeline.lab.attack import _chosen, _goals
from pipeline.lab.config import AttackRunConfig, TargetConfig
from pipeline.lab.work import Task, runner
from pipeline.manifests.labelled import EvaluationSettings
from securevqa_core.attacks.attack import AttackConfig
from securevqa_core.errors import ConfigurationError, ManifestError, RunError, UndefinedError


@pytest.mark.slow
def test_every_video_gets_a_row_once_and_other_settings_are_refused(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, output = tmp_path / "manifest.csv", tmp_path / "out"
    manifest.write_text(f"uri\n{videos['bikes_h264.mp4']}\n{videos['text.mp4']}\n")
    arguments = ["attack", str(manifest), "-o", str(output), "--seconds", "0.2", "--draws", "1"]
    arguments += ["--attack", "noise", "--norm", "linf", "--workers", "1"]
    assert call(*arguments, "--epsilon", "2") == 0
    assert "text.mp4: not_a_video" in capsys.readouterr().err

    attacked, failed = polars.read_parquet(output / "attack.parquet").rows(named=True)
    assert (attacked["status"], attacked["linf"], attacked["num_gradients"]) == ("attacked", 2.0, 0)
    assert attacked["num_frames"] == 6 or attacked["num_frames"] == 5
    assert 0 <= attacked["score_clean"] <= 100
    assert (failed["status"], failed["error_code"], failed["score_clean"]) == ("failed", "not_a_video", None)
    record = json.loads((output / "attack.json").read_text())
    assert (record["num_attacked"], record["num_failed"]) == (1, 1)
    change = record["attack"]["signed"]["value"]
    assert change == pytest.approx(attacked["score_attacked"] - attacked["score_clean"])
    floor = record["noise_floor"]["absolute"]["value"]
    assert floor == pytest.approx(abs(attacked["score_clean_again"] - attacked["score_clean"]))

    (kept,) = [one for one in (output / "rows").iterdir() if '"attacked"' in one.read_text()]
    written = kept.stat().st_mtime_ns
    assert call(*arguments, "--epsilon", "2") == 0
    assert kept.stat().st_mtime_ns == written
    assert "attacking 0 videos; 2 videos done before" in capsys.readouterr().err
    assert call(*arguments, "--epsilon", "3") == 1
    assert "holds rows of other settings: attack" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_a_certificate_holds_for_the_attacked_score_and_for_as_many_files_as_were_asked_about(
    tmp_path: Path, videos: dict[str, Path]
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"uri\n{videos['bikes_h264.mp4']}\n")
    arguments = ["attack", str(manifest), "--seconds", "0.1", "--max-height", "64"]
    arguments += ["--model", "nss-svr", "--draws", "16", "--attack", "reroll", "--epsilon", "0.001"]
    arguments += ["--defence", "noise=8", "--defence", "median", "--workers", "1"]
    rows = {}
    for regime in ("no-key", "replay"):
        output = tmp_path / regime
        assert call(*arguments, "--regime", regime, "--queries", "4", "-o", str(output)) == 0
        (rows[regime],) = polars.read_parquet(output / "attack.parquet").rows(named=True)
    for row in rows.values():
        assert row["certified_low"] <= row["score_attacked"] <= row["certified_high"]
    widths = {name: row["certified_high"] - row["certified_low"] for name, row in rows.items()}
    assert widths["replay"] > widths["no-key"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regime": "guess"}, "regime must be one of key, no-key, replay, got 'guess'"),
        ({"num_draws": 0}, r"draws must be in 1\.\.256, got 0"),
        ({"seconds": 0}, r"seconds must be in 0\.01\.\.3600, got 0"),
        ({"seed": -1}, r"seed must be in .*, got -1"),
        ({"max_videos": 0}, r"max_videos must be in .*, got 0"),
        ({"fit_videos": 0}, r"fit_videos must be in .*, got 0"),
        ({"codec_crfs": (23, 60)}, r"codec_crfs must be in 0\.\.51, got 60"),
        ({"attack": AttackConfig(direction="boundary")}, "needs label_column, the name"),
        (
            {
                "attack": AttackConfig(direction="boundary"),
                "labels": EvaluationSettings(label_column="label"),
                "surrogate": TargetConfig(model="nss-svr"),
            },
            "direction boundary needs a surrogate of the target's own weights",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AttackRunConfig(manifest="m.csv", output=tmp_path, **({"attack": AttackConfig()} | settings))


def test_a_surrogate_without_a_name_is_the_target_behind_other_defences() -> None:
    target = TargetConfig(model="nss-svr", checkpoint=Path("mine.safetensors"), defences=("guardian=4",))
    nothing = {"model": None, "checkpoint": None}
    assert target.in_its_place(**nothing, defences=None) is None
    assert target.in_its_place(**nothing, defences=()) == replace(target, defences=())
    assert target.in_its_place(model="vsfa", checkpoint=None, defences=None) == TargetConfig(model="vsfa")


@pytest.mark.slow
def test_a_failure_that_may_pass_is_tried_again_and_no_other_file_takes_its_place(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    video, manifest, output = tmp_path / "video.mp4", tmp_path / "manifest.csv", tmp_path / "out"
    shutil.copy(videos["bikes_h264.mp4"], video)
    manifest.write_text(f"uri,label\n{video},50\n")
    arguments = ["attack", str(manifest), "-o", str(output), "--seconds", "0.2", "--draws", "1"]
    arguments += ["--attack", "noise", "--label-column", "label", "--workers", "1"]
    assert call(*arguments) == 0
    clean, attacked = (next((output / "rows").glob(f"*.{phase}.json")) for phase in ("clean", "attacked"))
    first = json.loads(attacked.read_text())
    for path in (clean, attacked):
        path.write_text(json.dumps({"video_id": "v", "status": "failed", "error_code": "fetch_unreachable"}))
    assert call(*arguments) == 0
    again = json.loads(attacked.read_text())
    assert {**again, "seconds": 0} == {**first, "seconds": 0}

    attacked.unlink()
    shutil.copy(videos["bunny_h264.mp4"], video)
    capsys.readouterr()
    assert call(*arguments) == 1
    assert "has the clean score of another file" in capsys.readouterr().err.replace("\n", " ")
    manifest.write_text(f"uri,label\n{video},51\n")
    assert call(*arguments) == 1
    assert "holds rows of other settings: videos" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_weights_that_were_never_trained_are_said_to_be(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = str(videos["bikes_h264.mp4"].parent / "bikes_h264*.mp4")
    arguments = ["attack", manifest, "-o", str(tmp_path), "--attack", "none"]
    arguments += ["--model", "secure-vqa-compact-intra", "--seconds", "0.2", "--draws", "1"]
    assert call(*arguments, "--workers", "1") == 0
    assert "is untrained: its scores mean nothing" in capsys.readouterr().err.replace("\n", " ")


def test_an_output_that_cannot_be_used_is_refused(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("here")
    assert (
        call(
            *("attack", str(videos["bikes_h264.mp4"].parent / "bikes*.mp4")),
            *("-o", str(tmp_path / "file"), "--workers", "1"),
        )
        == 2
    )
    assert "file', which is a file" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.ray
def test_rows_are_the_same_wherever_they_are_made(tmp_path: Path, videos: dict[str, Path]) -> None:
    names = ("bikes_h264.mp4", "text.mp4", "bunny_h264.mp4", "carphone_h264.mkv")
    manifest = _labelled(tmp_path, [videos[name] for name in names])
    arguments = ("attack", manifest, "--seconds", "0.2", "--draws", "1", "--steps", "1", "--max-height", "64")
    assert call(*arguments, "-o", str(tmp_path / "here"), "--workers", "1") == 0
    securevqa(*arguments, "-o", str(tmp_path / "ray"), "--workers", "2")
    here, there = (polars.read_parquet(tmp_path / name / "attack.parquet") for name in ("here", "ray"))
    assert here["status"].to_list().count("attacked") == len(names)
    assert there.drop("seconds").equals(here.drop("seconds"))


class _Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:::ray.data.context")  # of settings that are Ray's own
def test_a_video_that_kills_every_worker_ends_the_run_by_its_name(tmp_path: Path) -> None:
    config = AttackRunConfig(manifest="m", output=tmp_path, attack=AttackConfig())
    task = Task(config=config, uri="", row={"video_id": "v", "deadly": _Deadly()})
    with runner(2, None) as run, pytest.raises(RunError, match="worker died 3 times over video 'v'"):
        list(run([task]))


@pytest.mark.slow
def test_labels_codecs_and_videos_are_kept_where_asked(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Four labelled videos, one of them not read; a defence that leaves nothing to chance."""
    output = tmp_path / "out"
    names = ("bikes_h264.mp4", "bunny_h264.mp4", "text.mp4", "carphone_h264.mkv")
    manifest = _labelled(tmp_path, [videos[name] for name in names])
    arguments = ["attack", manifest, "-o", str(output), "--attack", "sharpen", "--epsilon", "6"]
    arguments += ["--label-column", "label", "--where", "part=a", "--crf", "30", "--write-videos", "--vmaf"]
    arguments += ["--defence", "grid=fixed", "--defence", "guardian=0", "--seconds", "0.2", "--draws", "1"]
    assert call(*arguments, "--workers", "1") == 0
    assert "srcc clean" in capsys.readouterr().out

    rows = [row for row in polars.read_parquet(output / "attack.parquet").to_dicts() if row["score_clean"]]
    assert [row["label"] for row in rows] == [80.0, 70.0, 50.0]
    assert all(row["score_clean"] == row["score_clean_again"] for row in rows)
    assert all(row["score_attacked_crf30"] != row["score_clean_crf30"] for row in rows)
    record = json.loads((output / "attack.json").read_text())
    assert (record["num_attacked"], record["num_failed"]) == (3, 1)
    assert "is not changed" in record["noise_floor"]["r"]["undefined"]
    assert abs(record["agreement"]["srcc_clean"]["value"]) <= 1
    assert record["codec"]["30"]["num_videos"] == 3
    assert (
        0 < record["spent"]["vmaf_neg"] < record["spent"]["vmaf"] <= 100
    )  # sharpening is what NEG discounts
    assert (output / "difference.png").read_bytes().startswith(b"\x89PNG")
    for row in rows:
        with av.open(str(output / row["attacked_uri"])) as container:
            assert container.streams.video[0].codec_context.name == "ffv1"
            assert sum(1 for _ in container.decode(video=0)) == row["num_frames"]


def test_goals_lie_on_the_other_side_of_the_label() -> None:
    """With scores that are the labels themselves, every goal is the far end of the scale."""
    config = AttackRunConfig(
        manifest="m.csv",
        output=Path("out"),
        attack=AttackConfig(direction="boundary"),
        labels=EvaluationSettings(label_column="label"),
    )
    labels = (10.0, 30.0, 60.0, 90.0)
    rows = [
        {"video_id": str(label), "status": "scored", "label": label, "raw_clean": label / 50 - 1}
        for label in labels
    ]
    lost = {"video_id": "lost", "status": "failed"}
    assert _goals(config, [*rows, lost]) == [*map(pytest.approx, (1.0, 1.0, -1.0, -1.0)), None]
    with pytest.raises(UndefinedError, match=r"labels that differ, got \[10.0\]"):
        _goals(config, rows[:1])


def test_videos_to_fit_to_are_others(tmp_path: Path, videos: dict[str, Path]) -> None:
    manifest = _labelled(tmp_path, [videos["bikes_h264.mp4"]] * 5)
    base = AttackRunConfig(
        manifest=manifest, output=tmp_path, attack=AttackConfig(attack="universal"), fit_videos=2
    )
    attacked, fitted = _chosen(base, tell=print)
    assert (len(attacked), len(fitted)) == (4, 2)
    assert not {one["video_id"] for one in attacked} & {one["video_id"] for one in fitted}
    with pytest.raises(ManifestError, match="7 videos to fit to and 1 to attack, got 6"):
        _chosen(replace(base, fit_videos=7), tell=print)


def test_rows_chosen_by_a_column_need_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("attack", "m.csv", "-o", str(tmp_path), "--where", "split=test") == 2
    assert "--where needs --label-column, got 'split=test'" in capsys.readouterr().err.replace("\n", " ")


def _labelled(folder: Path, paths: list[Path]) -> str:
    lines = [f"{path},{number},{80 - 10 * number},a" for number, path in enumerate(paths)]
    manifest = folder / "labelled.csv"
    manifest.write_text("\n".join(["uri,video_id,label,part", *lines, f"{paths[0]},last,0,b"]) + "\n")
    return str(manifest)
