"""A wrong call is refused at once: exit code 2 for the call, 1 for the run, and nothing is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli import call
from safetensors.numpy import save_file

from securevqa_core import weights, zoo

# Each takes a second to import, and scoring needs none of them.
SLOW_MODULES = ("torchvision", "torch._dynamo", "matplotlib", "sklearn")
Call = Callable[[Path], tuple[list[str], str]]


def manifest(folder: Path, text: str) -> str:
    path = folder / "manifest.csv"
    path.write_text(text)
    return str(path)


def lines(folder: Path, text: str) -> str:
    path = folder / "manifest.jsonl"
    path.write_text(text)
    return str(path)


WRONG_CALLS: dict[str, Call] = {
    "no such video or manifest": lambda folder: ([str(folder / "absent.csv")], "absent.csv"),
    "no uri column": lambda folder: ([manifest(folder, "url\na.mp4\n")], "url"),
    "empty manifest": lambda folder: ([manifest(folder, "uri\n")], "manifest.csv"),
    "duplicate ids": lambda folder: (
        [manifest(folder, "video_id,uri\n7,a.mp4\n7,b.mp4\n"), "--strict"],
        "'7'",
    ),
    "scheme not allowed": lambda folder: ([manifest(folder, "uri\nftp://host/a.mp4\n"), "--strict"], "ftp"),
    "column taken": lambda folder: ([manifest(folder, "uri,score\na.mp4,1\n")], "score"),
    "draws out of range": lambda folder: ([manifest(folder, "uri\na.mp4\n"), "--draws", "0"], "draws"),
    "unknown precision": lambda folder: ([manifest(folder, "uri\na.mp4\n"), "--precision", "int4"], "int4"),
    "unknown model": lambda folder: ([manifest(folder, "uri\na.mp4\n"), "--model", "vmaf"], "vmaf"),
    "thresholds crossed": lambda folder: ([manifest(folder, "uri\na.mp4\n"), "--reject-below", "90"], "90"),
    "output among the videos": lambda folder: ([str(folder.parent)], "inside"),
    "output among globbed videos": lambda folder: ([f"{folder.parent}/**"], "inside"),
    "column that Parquet cannot hold": lambda folder: (
        [lines(folder, '{"uri": "a.mp4", "tags": {}}')],
        "tags",
    ),
    "fetch timeout of nothing": lambda folder: (
        [manifest(folder, "uri\na.mp4\n"), "--fetch-timeout", "0"],
        "0",
    ),
    "fraction above one GPU": lambda folder: (
        [manifest(folder, "uri\na.mp4\n"), "--gpus-per-actor", "1.5"],
        "1.5",
    ),
    "short key": lambda folder: (
        [manifest(folder, "uri\na.mp4\n"), "--key-file", manifest(folder, "ab")],
        "16",
    ),
    "key and seed": lambda folder: (
        [manifest(folder, "uri\na.mp4\n"), "--key-file", "k", "--seed", "1"],
        "--seed",
    ),
    "unknown option": lambda folder: ([manifest(folder, "uri\na.mp4\n"), "--frames", "1"], "--frames"),
    "output not writable": lambda folder: (
        [manifest(folder, "uri\na.mp4\n"), "--output", "/proc/run"],
        "'/proc' allows no writing",
    ),
    "output in a file": lambda folder: (
        [manifest(folder, "uri\na.mp4\n"), "--output", str(folder / "manifest.csv" / "run")],
        "manifest.csv",
    ),
}


def other_architecture(folder: Path) -> str:
    model = zoo.build("fast-vqa-m")
    path = folder / "fast.safetensors"
    calibration = zoo.spec("fast-vqa-m").calibration
    weights.save(path, model, architecture="fast-vqa-m", calibration=calibration, status="untrained", card={})
    return str(path)


def foreign_file(folder: Path) -> str:
    path = folder / "foreign.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, path)
    return str(path)


def damaged_file(folder: Path) -> str:
    path = folder / "damaged.safetensors"
    path.write_bytes(b"not a checkpoint")
    return str(path)


FAILED_RUNS: dict[str, Call] = {
    "damaged checkpoint": lambda folder: (
        ["--checkpoint", damaged_file(folder)],
        "damaged.safetensors is not a safetensors file",
    ),
    "foreign checkpoint": lambda folder: (
        ["--checkpoint", foreign_file(folder)],
        "foreign.safetensors has no 'securevqa' header",
    ),
    "other architecture": lambda folder: (
        ["--checkpoint", other_architecture(folder), "--model", "secure-vqa-compact"],
        "fast-vqa-m",
    ),
    "no such cluster": lambda _folder: (["--address", "127.0.0.1:1"], "127.0.0.1:1"),
}


@pytest.mark.slow
def test_the_command_line_is_there_before_what_few_commands_need() -> None:
    code = f"import sys, pipeline.cli; print(*set({SLOW_MODULES}) & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_a_wrong_call_exits_2_and_names_the_value(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, named = WRONG_CALLS[case](tmp_path)
    if "--output" not in arguments:
        arguments += ["--output", str(tmp_path / "run")]
    assert call("score", *arguments) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", FAILED_RUNS)
def test_a_run_that_cannot_start_exits_1_before_any_video_is_touched(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, named = FAILED_RUNS[case](tmp_path)
    if "--output" not in arguments:
        arguments += ["--output", str(tmp_path / "run")]
    assert call("score", manifest(tmp_path, "uri\na.mp4\n"), *arguments) == 1
    assert named in capsys.readouterr().err
    assert not list(tmp_path.glob("run/report/*"))
