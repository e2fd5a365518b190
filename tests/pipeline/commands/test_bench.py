"""`securevqa bench` prints what it measured side by side, and what is left to guess."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import media
import pytest
from cli import call

from pipeline.bench import results
from pipeline.bench.model import Forward
from pipeline.bench.peers import PeerClip
from pipeline.bench.processes import HERE, Cost
from pipeline.commands.terminal import console
from securevqa_core import zoo
from securevqa_core.decoding.bench_config import BenchClip
from securevqa_core.scoring import Precision

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 160)


def told(capsys: Capture, *arguments: str) -> str:
    """What people are told."""
    assert call("bench", *arguments) == 0
    return capsys.readouterr().out


def record(capsys: Capture, *arguments: str) -> Any:
    """What programs are told: all that is printed is one document."""
    return json.loads(told(capsys, *arguments, "--json"))


def test_the_table_holds_ffmpeg_each_backend_and_the_shares(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    clips = (BenchClip(height=180, width=320, codec="h264"), BenchClip(height=1080, width=1920, codec="h264"))
    monkeypatch.setattr(results, "CLIPS", clips)
    footage = str(media.bundled_clip("bikes"))
    arguments = ["decode", footage, "--seconds", "1", "--repeats", "1", "--max-height", "360"]
    printed = told(capsys, *arguments)
    assert "180p h264" in printed
    assert "1080p" not in printed
    for row in (
        "FFmpeg to null",
        "PyAV, with fragments",
        "decord, every full frame once",
        "of FFmpeg's speed",
        "1 s of bikes.mp4, best of 1",
        "load over 15 minutes",
    ):
        assert row in printed
    (clip,) = record(capsys, *arguments)["clips"]
    assert clip["name"] == "180p h264"
    assert clip["share"] == pytest.approx(clip["ffmpeg"] / clip["pyav_fragments"])


def test_what_is_left_to_guess_is_told_by_length_and_size(capsys: Capture) -> None:
    printed = told(capsys, "draws", "--model", "secure-vqa")
    (frames,) = [line for line in printed.splitlines() if "guess the frames" in line]
    assert re.findall(r"\d+", frames) == ["0"] * 7 + ["4", "14", "26", "34"]
    (patches,) = [line for line in printed.splitlines() if "guess the patches" in line]
    assert re.findall(r"\d+", patches) == ["0", "1094", "2013", "2403", "2915"]
    counted = record(capsys, "draws")
    assert counted["model"] == zoo.DEFAULT_MODEL
    assert counted["patches"][0] == {"height": 224, "width": 224, "bits": 0.0}


def test_peers_are_told_with_their_ratio_to_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def compare(clips: tuple[PeerClip, ...], peers: tuple[str, ...], *_: object, **__: object) -> object:
        costs = [
            Cost(processor_seconds=2.0 * (1 + n), wall_seconds=9, peak_bytes={"securevqa": 10**8 * (1 + n)})
            for n in range(len(peers))
        ]
        return {(peer, clip.name): cost for clip in clips for peer, cost in zip(peers, costs, strict=True)}

    monkeypatch.setattr(results, "compare_peers", compare)
    arguments = ["peers", "vsfa", "dover", "--max-height", "540"]
    printed = told(capsys, *arguments)
    assert "1080p" not in printed
    rows = [re.findall(r"[\w.]+", line) for line in printed.splitlines()]
    assert ["vsfa", "2.0", "1.0", "100"] in rows
    assert ["dover", "4.0", "2.0", "200"] in rows
    assert "x: by those of vsfa" in printed
    costs = record(capsys, *arguments)["measured"]
    assert [(one["model"], one["times_the_first"]) for one in costs] == [("vsfa", 1.0), ("dover", 2.0)]


@pytest.mark.slow
def test_forward_passes_are_told_by_those_of_other_code(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(HERE)
    arguments = ["model", "secure-vqa-compact", "--against", str(tmp_path / "copy"), "--repeats", "1"]
    seconds = record(capsys, *arguments)["in_turns"]["secure-vqa-compact"]
    assert [len(one) for one in seconds.values()] == [1, 1]
    assert all(one[0] > 0 for one in seconds.values())


def test_other_code_that_has_no_such_model_is_told(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        made = {"this": [1.0, 3.0, 2.0], "before": [4.0, 4.0, 4.0]}
        patched.setattr(results, "in_turns", lambda *_, **__: made)
        patched.setattr(results, "checkouts", lambda _: {"this": HERE, "before": tmp_path})
        printed = told(capsys, "model", "dover", "--against", str(tmp_path))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert ["dover", "2.000", "4.000", "0.50"] in cells
    assert call("bench", "model", "--against", str(tmp_path)) == 2
    (tmp_path / "securevqa_core").mkdir()
    for name in ("__init__", "scoring", "weights", "zoo"):
        (tmp_path / "securevqa_core" / f"{name}.py").touch()
    monkeypatch.setattr(results, "checkouts", lambda _: {"before": tmp_path})
    assert call("bench", "model", "dover", "--against", str(tmp_path)) == 1
    assert "before cannot run dover: AttributeError" in " ".join(capsys.readouterr().err.split())


def test_memory_is_told_by_process_and_held_against_the_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def peak(height: int, minutes: float, *_: object, with_ray: bool, **__: object) -> Cost:
        peaks = {"securevqa": int(height * minutes * 1e5)} | ({"raylet": 5 * 10**7} if with_ray else {})
        return Cost(processor_seconds=1, wall_seconds=1, peak_bytes=peaks)

    monkeypatch.setattr(results, "peak_memory", peak)
    printed = told(capsys, "memory", "--minutes", "2", "--ray")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert ["one process: securevqa", "216", "432"] in cells
    assert ["Ray: raylet", "50", "50"] in cells
    assert "432 MB, no more than 1500" in printed
    assert "2160 MB, more than 1500" in told(capsys, "memory", "--minutes", "10")
    measured = record(capsys, "memory", "--minutes", "2", "--ray")
    assert measured["largest_bytes"] == 432 * 10**6
    ray = {"way": "Ray", "process": "raylet", "bytes": 5 * 10**7}
    assert {"height": 1080, "minutes": 2.0} | ray in measured["measured"]


def test_forward_passes_are_told_by_the_first_of_their_model(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
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

    monkeypatch.setattr(results, "forwards", measured)
    arguments = ["model", "dover", "--precision", "bfloat16", "--batch", "1", "--batch", "8"]
    printed = told(capsys, *arguments)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert ["dover", "bfloat16", "8", "2", "8.00", "2.00", "1000", "0.050"] in cells
    assert "peak: bfloat16 1 Gflop/s" in printed
    passes = record(capsys, *arguments)["measured"]
    assert [(one["batch"], one["videos_per_second"]) for one in passes] == [(1, 0.25), (8, 2.0)]
    assert call("bench", "model", "--precision", "half") == 2
    assert "precision must be one of float32, bfloat16, got 'half'" in capsys.readouterr().err
