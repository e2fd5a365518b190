"""Whoever uploads nearly the same video again and again is told of, by nights that share their rows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cli import call, read_report, securevqa
from media import bundled_clip, run_ffmpeg

from pipeline.scoring import score

COLUMNS = ("near_copy_of", "near_copies", "near_copy_best_score")
TRIES = ("-crf 20", "-crf 34", "-vf noise=alls=2:allf=t -crf 12", "-vf hflip,scale=120:-2 -crf 23")


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "runs_here", lambda *_: True)


def upload(folder: Path, name: str, options: str) -> None:
    folder.mkdir(exist_ok=True)
    small = f"-t 2 {options} -c:v libx264 -preset ultrafast -pix_fmt yuv420p -an"
    run_ffmpeg("-i", str(bundled_clip("bikes")), *small.split(), str(folder / f"{name}.mp4"))


def told(output: Path) -> dict[str, dict[str, Any]]:
    return {Path(row["uri"]).stem: row for row in read_report(str(output)).to_pylist()}


def scored(uploads: Path, output: Path, *options: str) -> dict[str, dict[str, Any]]:
    shared = ("--draws", "1", "--seed", "1")
    assert call("score", f"{uploads}/", "--output", str(output), *shared, *options) == 0
    return told(output)


@pytest.mark.slow
def test_copies_are_counted_within_a_night_and_over_nights(
    videos: dict[str, Path], tmp_path: Path, without_ray: None
) -> None:
    uploads, nightly = tmp_path / "uploads", ("--incremental", str(tmp_path / "state"))
    for number, options in enumerate(TRIES[:2]):
        upload(uploads, f"try-{number}", options)
    shutil.copy(videos["carphone_h264.mkv"], uploads / "unlike.mkv")
    monday = scored(uploads, tmp_path / "monday", *nightly)
    assert [monday[name]["near_copies"] for name in ("try-0", "try-1", "unlike")] == [0, 1, 0]
    for number, options in list(enumerate(TRIES))[2:]:
        upload(uploads, f"try-{number}", options)
    shutil.copy(uploads / "try-0.mp4", uploads / "again.mp4")
    tuesday = scored(uploads, tmp_path / "tuesday", *nightly)
    tries = [tuesday[f"try-{number}"] for number in range(4)]
    assert [row["near_copies"] for row in tries] == [0, 1, 2, 3]
    assert {row["near_copy_of"] for row in tries[1:]} == {tries[0]["video_id"]}
    for number, row in enumerate(tries[1:], start=1):
        assert row["near_copy_best_score"] == max(one["score"] for one in tries[:number])
    # The same bytes are the same video, whatever they are called.
    assert [tuesday[name]["near_copies"] for name in ("again", "unlike")] == [0, 0]
    for column in COLUMNS:
        assert [tuesday[name][column] for name in monday] == [monday[name][column] for name in monday]


@pytest.mark.ray
def test_on_ray_a_flood_of_one_night_is_counted_too(tmp_path: Path) -> None:
    uploads, output = tmp_path / "uploads", tmp_path / "output"
    for number, options in enumerate(TRIES[:3]):
        upload(uploads, f"try-{number}", options)
    shared = ("--draws", "1", "--seed", "1", "--incremental", str(tmp_path / "state"))
    securevqa("score", f"{uploads}/", "--output", str(output), *shared)
    assert sorted(row["near_copies"] for row in told(output).values()) == [0, 1, 2]


@pytest.mark.slow
def test_a_run_that_shares_no_rows_takes_no_fingerprints(tmp_path: Path, without_ray: None) -> None:
    uploads = tmp_path / "uploads"
    upload(uploads, "try-0", TRIES[0])
    row = scored(uploads, tmp_path / "output")["try-0"]
    assert row["status"] == "scored"
    assert [row[name] for name in ("picture_fingerprint", *COLUMNS)] == [None] * 4
