"""`securevqa bench` prints every way of reading side by side, and what is left to guess."""

from __future__ import annotations

import re

import media
import pytest
from typer.testing import CliRunner

from pipeline.commands import bench
from pipeline.commands.bench import bench_app
from securevqa_core.decoding.benchmark import BenchClip


def test_the_table_holds_ffmpeg_each_backend_and_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = (BenchClip(height=180, width=320, codec="h264"), BenchClip(height=1080, width=1920, codec="h264"))
    monkeypatch.setattr(bench, "CLIPS", clips)
    monkeypatch.setattr(bench.console, "width", 160)
    footage = str(media.bundled_clip("bikes"))
    arguments = ["decode", footage, "--seconds", "1", "--repeats", "1", "--max-height", "360"]
    done = CliRunner().invoke(bench_app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "180p h264" in done.output
    assert "1080p" not in done.output
    for row in (
        "FFmpeg to null",
        "PyAV, with fragments",
        "decord, every full frame once",
        "of FFmpeg's speed",
        "1 s of bikes.mp4, best of 1",
        "load over 15 minutes",
    ):
        assert row in done.output


def test_what_is_left_to_guess_is_told_by_length_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.console, "width", 160)
    done = CliRunner().invoke(bench_app, ["draws", "--model", "secure-vqa"], catch_exceptions=False)
    assert done.exit_code == 0
    (frames,) = [line for line in done.output.splitlines() if "guess the frames" in line]
    assert re.findall(r"\d+", frames) == ["0"] * 7 + ["4", "14", "26", "34"]
    (patches,) = [line for line in done.output.splitlines() if "guess the patches" in line]
    assert re.findall(r"\d+", patches) == ["0", "1094", "2013", "2403", "2915"]
