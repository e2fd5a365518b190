"""Weights learn from clean videos how far those fall, and only then can notice what falls further."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from cli import call
from noticing import write_noticing
from runs import make_run

from pipeline.evaluation import evaluate
from pipeline.scoring.config import ScoreConfig
from securevqa_core import weights
from securevqa_core.rendition import Rendition
from securevqa_core.suspicion import clean_drops, fit_clean_drops

SCORES = np.random.default_rng(0).uniform(10, 90, 220)
DROPS = np.random.default_rng(1).normal(2, 1, 220)


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ScoreConfig]:
    """Have videos scored as if by the model; return the settings that it was asked with."""
    asked: list[ScoreConfig] = []

    def score(config: ScoreConfig, *, events: Any) -> None:
        asked.append(config)
        lower = np.zeros(220) if config.as_delivered is None else DROPS
        rows: list[dict[str, Any]] = [
            {"video_id": f"v{number}", "score": float(one)} for number, one in enumerate(SCORES - lower)
        ]
        one_failed = {"video_id": "failed", "score": None, "error_code": "no_frames"}
        failed = one_failed if config.as_delivered else {"video_id": "failed", "score": 50.0}
        make_run(config.output, [*rows, failed])

    monkeypatch.setattr(evaluate, "score", score)
    return asked


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "clean.csv"
    lines = [f"/videos/{number}.mp4,{'val' if number else 'train'},640" for number in range(3)]
    path.write_text("\n".join(["uri,split,width", *lines]))
    return path


def test_a_checkpoint_learns_how_far_clean_videos_fall(
    scored: list[ScoreConfig], manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "noticing.safetensors"
    call_ = ("weights", "suspicion", "secure-vqa-compact", str(manifest), "-o", str(output), "--seed", "3")
    assert call(*call_, "--where", "split=val", "--rendition", "av1:35") == 0
    assert [one.as_delivered for one in scored] == [None, "av1:35"]
    assert len({one.key.key_id for one in scored}) == 1
    assert read_rows(scored[0].manifest) == ["/videos/1.mp4", "/videos/2.mp4"]
    default, made = weights.find(), weights.read(output)
    found = clean_drops(made.card, Rendition.parse("av1:35"), num_draws=4, name="made")
    falls = SCORES - (SCORES - DROPS)  # as rounded
    assert found == fit_clean_drops(SCORES, falls, rendition=Rendition.parse("av1:35"), num_draws=4)
    assert all(torch.equal(made.tensors[key], one) for key, one in default.tensors.items())
    assert made.card == default.card | {"suspicion": made.card["suspicion"]}
    printed = " ".join(capsys.readouterr().out.split())
    assert "220 clean videos, as av1:35, 4 draws" in printed
    assert f"of those that score 50, 1 in 100 falls by more than {found.limit(50):.1f} points" in printed
    assert made.checkpoint_id in printed
    assert call(*call_) == 2
    assert "must not be there yet" in capsys.readouterr().err


def read_rows(manifest: str) -> list[str]:
    uris: list[str] = pq.read_table(manifest)["uri"].to_pylist()
    return uris


def test_a_checkpoint_that_knows_of_none_is_refused_before_any_work(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.safetensors"
    weights.rewrite(plain, weights.find(), additions={"suspicion": {}})
    output = tmp_path / "run"
    call_ = ("score", str(videos["bikes_h264.mp4"]), "--seed", "1", "--checkpoint", str(plain))
    for asked, more in (("--notice", ()), ("--notice", ("--output", str(output))), ("--cap", ())):
        assert call(*call_, asked, "x264:23", *more) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"error: {asked} needs a checkpoint that was fitted to it: " in said
        assert "does not know how far clean videos fall as x264:23, of none" in said
        assert "`securevqa weights suspicion`" in said
    assert not output.exists()


def test_what_was_noticed_is_printed(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noticing = write_noticing(tmp_path / "noticing.safetensors")
    call_ = ("score", str(videos["bikes_h264.mp4"]), "--seed", "1", "--draws", "2", "--notice", "x264:23")
    assert call(*call_, "--checkpoint", str(noticing)) == 0
    assert " points when it is encoded as x264:23; of clean videos " in capsys.readouterr().out
    assert call(*call_, "--checkpoint", str(noticing), "--json") == 0
    row = json.loads(capsys.readouterr().out)
    clean = clean_drops(weights.read(noticing).card, Rendition.parse("x264:23"), num_draws=2, name="")
    assert row["suspicion"] == clean.judged(row["score"], row["rendition_score"]).suspicion


def test_what_ships_notices_without_more(videos: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    clean = clean_drops(weights.find().card, Rendition.parse("x264:23"), num_draws=4, name="what ships")
    assert clean.num_videos >= 300
    assert call("score", str(videos["bikes_h264.mp4"]), "--seed", "1", "--notice", "x264:23", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["suspicion"] == clean.judged(row["score"], row["rendition_score"]).suspicion


def test_what_ships_caps_without_more(videos: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    clean = clean_drops(weights.find().card, Rendition.parse("x264:28"), num_draws=4, name="what ships")
    assert call("score", str(videos["bikes_h264.mp4"]), "--seed", "1", "--cap", "x264:28", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["score"] == min(row["upload_score"], clean.cap(row["rendition_score"]))
