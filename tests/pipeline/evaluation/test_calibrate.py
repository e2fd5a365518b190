"""A refit keeps the weights, changes the calibration to the user's labels, and says how to undo it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli import call
from runs import make_run

from pipeline.evaluation.calibrate import Refit, contestant, refit_lines
from securevqa_core import weights, zoo
from securevqa_core.calibration import Calibration

NAME = "secure-vqa-compact"
OLD = Calibration(midpoint=0.0, scale=1.0)
TRUE = Calibration(low=4, high=97, midpoint=0.2, scale=0.05)
RAW = np.random.default_rng(3).normal(0.2, 0.1, size=80)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    model = zoo.build(NAME, seed=3)
    weights.save(path, model, architecture=NAME, calibration=OLD, status="trained", card={"data": "x"})
    return path


def finished_run(folder: Path, checkpoint: Path, **changes: Any) -> str:
    """A run of the checkpoint over 80 rows labelled 1..5, one more that failed, and one without a label."""
    rows: list[dict[str, Any]] = [
        {
            "video_id": f"v{i}",
            "score": 50.0,
            "raw_score": float(raw),
            "mos": 1 + float(TRUE.to_score(raw)) / 25,
        }
        for i, raw in enumerate(RAW)
    ]
    rows[1] |= changes
    rows += [
        {"video_id": "failed", "score": None, "error_code": "no_frames", "mos": 3.0},
        {"video_id": "unlabelled", "score": 50.0, "raw_score": 9.0, "mos": None},
    ]
    make_run(str(folder / "run"), rows, checkpoint_id=weights.read(checkpoint).checkpoint_id)
    return str(folder / "run")


def test_a_refit_follows_the_labels_and_keeps_the_weights(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new.safetensors"
    run = finished_run(tmp_path, checkpoint)
    arguments = (str(checkpoint), "--run", run, "--output", str(output), "--label-range", "1", "5")
    assert call("weights", "calibrate", *arguments) == 0
    before, after = weights.read(checkpoint), weights.read(output)
    for name, value in TRUE.as_dict().items():
        assert after.calibration.as_dict()[name] == pytest.approx(value, rel=1e-3), name
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(before.tensors[key], after.tensors[key]) for key in before.tensors)
    assert (after.architecture, after.status) == (NAME, "trained")
    assert after.card["data"] == "x"
    note = after.card["refit"]
    assert isinstance(note, dict)
    assert note["source_checkpoint_id"] == before.checkpoint_id != after.checkpoint_id
    assert Calibration.from_dict(note["previous_calibration"]) == OLD
    assert note["num_rows"] == 80
    assert note["label"] == {"column": "mos", "low": 1, "high": 5}
    printed = capsys.readouterr().out
    assert "80 labelled rows" in printed
    was = OLD.to_score(TRUE.to_raw(60))
    assert f"--pass-at 60: where a label of 60 is expected (it was {was:.1f} before the refit)" in printed
    num_pass = int((TRUE.to_score(RAW) >= 60).sum())
    assert f"of {num_pass} rows scored 60 or more, 100% are labelled 60 or more" in printed
    num_reject = int((TRUE.to_score(RAW) < 40).sum())
    assert f"of {num_reject} rows scored below 40, 100% are labelled below 40" in printed
    assert after.checkpoint_id in printed


def test_a_threshold_that_no_score_reaches_is_said(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--run", finished_run(tmp_path, checkpoint), "--output", str(tmp_path / "new.safetensors"))
    scale = ("--label-range", "0", "100", "--pass-at", "99")
    assert call("weights", "calibrate", str(checkpoint), *arguments, *scale) == 0
    printed = capsys.readouterr().out  # labels of 1..5 taken for 0..100
    assert (
        "--pass-at: no score is worth a label of 99, the fit spans 1.2..4.9; no row lies beyond it" in printed
    )


def test_labels_too_few_for_a_fit_are_refused_before_any_video_is_scored(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text("uri,mos\na.mp4,1\nb.mp4,\nc.mp4,5\n")
    output = tmp_path / "new.safetensors"
    given = (str(checkpoint), str(tmp_path / "labels.csv"), "--output", str(output), "--seed", "1")
    assert call("weights", "calibrate", *given) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "a calibration needs at least 5 labelled videos, got 2" in said
    assert "scoring" not in said
    assert not Path(f"{output}.run").exists()


def test_the_run_that_is_scored_is_named_by_its_checkpoint(checkpoint: Path) -> None:
    assert [contestant(one).name for one in (NAME, str(checkpoint))] == [NAME, "mine"]


def test_a_rounding_error_is_printed_as_nothing() -> None:
    fitted = Refit(
        calibration=Calibration(low=7.10543e-15, high=97, midpoint=0.2, scale=0.05),
        raw=np.array([0.1, 0.3]),
        labels=np.array([20.0, 80.0]),
    )
    lines = refit_lines(fitted, weights.find("nss-svr"), thresholds=(60, 40))
    assert any(line.startswith("  after: 0, 97, 0.2, 0.05; RMSE") for line in lines)
    assert any("of 1 row scored 60 or more, 100% are" in line for line in lines)


def test_a_run_of_other_weights_is_refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--run", finished_run(tmp_path, checkpoint), "--output", str(tmp_path / "new.safetensors"))
    assert call("weights", "calibrate", "fast-vqa-m", *arguments) == 1
    complaint = capsys.readouterr().err
    assert weights.read(checkpoint).checkpoint_id in complaint
    assert "fast-vqa-m-" in complaint
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize(
    ("extra", "ending"),
    [
        ([], (2, "give LABELLED_MANIFEST, --run, or both")),
        (["m.csv", "--run", "r"], (2, "labels 'm.csv' cannot be read")),
        (["--run", "r", "--output", "s3://bucket/new.safetensors"], (2, "'s3://bucket/new.safetensors'")),
        (["--run", "r", "--output", "/"], (2, "got '/', which is a folder")),
        (["--run", "/absent/run"], (2, "/absent/run")),
        (["--run", "RUN"], (2, "101, which no usual scale holds")),
        (["--run", "RUN", "--where", "video_id=v3"], (1, "at least 5 points, got 1")),
    ],
)
def test_a_wrong_call_names_the_value(
    extra: list[str],
    ending: tuple[int, str],
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = finished_run(tmp_path, checkpoint, mos=101.0) if "RUN" in extra and "--where" not in extra else ""
    run = run or finished_run(tmp_path, checkpoint)
    arguments = [
        "--output",
        str(tmp_path / "new.safetensors"),
        *(run if one == "RUN" else one for one in extra),
    ]
    assert call("weights", "calibrate", str(checkpoint), *arguments) == ending[0]
    assert ending[1] in capsys.readouterr().err
