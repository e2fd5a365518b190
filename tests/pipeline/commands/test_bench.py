"""`securevqa bench` prints what it measured side by side, and what is left to guess."""

from __future__ import annotations

import re

import media
import pytest
from typer.testing import CliRunner

from pipeline.bench.model import Forward
from pipeline.bench.peers import PeerClip
from pipeline.bench.processes import Cost
from pipeline.commands import bench
from pipeline.commands.bench import bench_app
from securevqa_core.decoding.benchmark import BenchClip
from securevqa_core.errors import ConfigurationError
from securevqa_core.scoring import Precision


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


def test_peers_are_told_with_their_ratio_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(clips: tuple[PeerClip, ...], peers: tuple[str, ...], *_: object, **__: object) -> object:
        costs = [
            Cost(processor_seconds=2.0 * (1 + n), wall_seconds=9, peak_bytes={"securevqa": 10**8 * (1 + n)})
            for n in range(len(peers))
        ]
        return {(peer, clip.name): cost for clip in clips for peer, cost in zip(peers, costs, strict=True)}

    monkeypatch.setattr(bench, "compare_peers", compare)
    monkeypatch.setattr(bench.console, "width", 160)
    done = CliRunner().invoke(bench_app, ["peers", "vsfa", "dover", "--max-height", "540"])
    assert done.exit_code == 0
    assert "1080p" not in done.output
    rows = [re.findall(r"[\w.]+", line) for line in done.output.splitlines()]
    assert ["vsfa", "2.0", "1.0", "100"] in rows
    assert ["dover", "4.0", "2.0", "200"] in rows
    assert "x: by those of vsfa" in done.output


def test_memory_is_told_by_process_and_held_against_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(height: int, minutes: float, *_: object, with_ray: bool, **__: object) -> Cost:
        peaks = {"securevqa": int(height * minutes * 1e5)} | ({"raylet": 5 * 10**7} if with_ray else {})
        return Cost(processor_seconds=1, wall_seconds=1, peak_bytes=peaks)

    monkeypatch.setattr(bench, "peak_memory", peak)
    monkeypatch.setattr(bench.console, "width", 160)
    done = CliRunner().invoke(bench_app, ["memory", "--minutes", "2", "--ray"], catch_exceptions=False)
    assert done.exit_code == 0
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.output.splitlines()]
    assert ["one process: securevqa", "216", "432"] in cells
    assert ["Ray: raylet", "50", "50"] in cells
    assert "432 MB, no more than 1500" in done.output
    done = CliRunner().invoke(bench_app, ["memory", "--minutes", "10"], catch_exceptions=False)
    assert "2160 MB, more than 1500" in done.output


def test_forward_passes_are_told_by_the_first_of_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(
        models: tuple[str, ...], precisions: tuple[Precision, ...], batches: tuple[int, ...], **_: object
    ) -> list[Forward]:
        return [
            Forward(
                model=name,
                precision=precision,
                batch=batch,
                seconds=4.0 / batch,
                flops=1e9,
                peak_flops=1e9,
                memory_bytes=10**9,
                points=0.05,
            )
            for name in models
            for precision in precisions
            for batch in batches
        ]

    monkeypatch.setattr(bench, "forwards", measured)
    monkeypatch.setattr(bench.console, "width", 160)
    call = ["model", "dover", "--precision", "bfloat16", "--batch", "1", "--batch", "8"]
    done = CliRunner().invoke(bench_app, call, catch_exceptions=False)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.output.splitlines()]
    assert ["dover", "bfloat16", "8", "2", "8.00", "2.00", "1000", "0.050"] in cells
    assert "peak: bfloat16 1 Gflop/s" in done.output
    with pytest.raises(ConfigurationError, match="precision must be one of float32, bfloat16, got 'half'"):
        CliRunner().invoke(bench_app, ["model", "--precision", "half"], catch_exceptions=False)
