"""`securevqa attack`: one row a video, kept when it is called again, and a record of what came out."""

from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest
from cli import call

from pipeline.attack import AttackRunConfig
from securevqa_core.attacks.attack import AttackConfig
from securevqa_core.errors import ConfigurationError


def test_every_video_gets_a_row_once_and_other_settings_are_refused(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, output = tmp_path / "manifest.csv", tmp_path / "out"
    manifest.write_text(f"uri\n{videos['bikes_h264.mp4']}\n{videos['text.mp4']}\n")
    arguments = ["attack", str(manifest), "-o", str(output), "--seconds", "0.2", "--draws", "1"]
    arguments += ["--attack", "noise", "--norm", "linf"]
    assert call(*arguments, "--epsilon", "2") == 0
    assert "not_a_video" in capsys.readouterr().out

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
    capsys.readouterr()
    assert call(*arguments, "--epsilon", "3") == 1
    assert "holds rows of other settings: attack" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regime": "guess"}, "regime must be one of key, no-key, got 'guess'"),
        ({"num_draws": 0}, r"draws must be in 1\.\.256, got 0"),
        ({"seconds": 0}, r"seconds must be in 0\.01\.\.3600, got 0"),
        ({"seed": -1}, r"seed must be in .*, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AttackRunConfig(manifest="m.csv", output=tmp_path, attack=AttackConfig(), **settings)


def test_an_output_that_cannot_be_used_is_refused(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("here")
    assert (
        call("attack", str(videos["bikes_h264.mp4"].parent / "bikes*.mp4"), "-o", str(tmp_path / "file")) == 1
    )
    assert "file' cannot be used" in capsys.readouterr().err.replace("\n", " ")
