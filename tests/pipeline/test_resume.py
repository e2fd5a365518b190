"""Interrupted runs: whatever is killed, the same command ends with exactly one row per input."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from cli import finish, read_json, read_report, securevqa, start, wait_until
from media import make_copies
from processes import descendants, title

KEY = {"SECUREVQA_KEY": "a key that outlives the driver"}
NUM_VIDEOS = 16


@pytest.fixture
def backlog(videos: dict[str, Path], tmp_path: Path) -> Path:
    return make_copies(tmp_path / "backlog", videos, number=NUM_VIDEOS)


def committed(output: Path) -> int:
    """Row files that Ray Data has committed so far."""
    return len([path for path in output.glob("checkpoint/ids/*.parquet") if ".pending." not in path.name])


def require_complete(output: Path, backlog: Path) -> None:
    report = read_report(str(output))
    assert sorted(report["uri"].to_pylist()) == sorted(str(path) for path in backlog.iterdir())
    assert report["status"].to_pylist().count("scored") == NUM_VIDEOS - 1
    assert read_json(f"{output}/run.json")["rows"] == NUM_VIDEOS


def ray_workers(driver: subprocess.Popen[str], stage: str) -> list[int]:
    """Processes of the driver's cluster whose title names a stage."""
    return [pid for pid in descendants(driver.pid) if title(pid).startswith("ray::") and stage in title(pid)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_driver_is_resumed_without_scoring_anything_twice(
    number: signal.Signals, backlog: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    driver = start("score", str(backlog), "--output", str(output), env=KEY)
    wait_until(lambda: committed(output) >= 2 or driver.poll() is not None)
    driver.send_signal(number)
    interrupted = finish(driver)
    assert interrupted.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert not (output / "run.json").exists()
    survived = committed(output)
    before = {path: path.read_bytes() for path in output.glob("checkpoint/rows/*.parquet")}
    securevqa("score", str(backlog), "--output", str(output), env=KEY)
    require_complete(output, backlog)
    assert 2 <= survived < NUM_VIDEOS
    scored_now = read_json(f"{output}/run.json")["num_scored_now"]
    left = NUM_VIDEOS - survived
    # What a killed driver leaves behind may still commit what it has at hand; nobody scores that again.
    assert scored_now == left or (number == signal.SIGKILL and scored_now < left)
    kept = [path for path, content in before.items() if path.exists() and path.read_bytes() == content]
    assert len(kept) >= survived


@pytest.mark.parametrize("stage", ["MapBatches(Decode)", "InterFeature", "FusedScore"])
def test_a_killed_worker_costs_no_row(stage: str, backlog: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    driver = start("score", str(backlog), "--output", str(output), env=KEY)
    wait_until(lambda: bool(ray_workers(driver, stage)) or driver.poll() is not None)
    wait_until(lambda: committed(output) >= 1 or stage == "MapBatches(Decode)" or driver.poll() is not None)
    victims = ray_workers(driver, stage)
    assert victims, f"no worker of {stage} to kill"
    os.kill(victims[0], signal.SIGKILL)
    done = finish(driver)
    assert done.returncode == 0, done.stderr
    require_complete(output, backlog)


def test_what_may_pass_is_tried_again_when_asked_and_only_that(backlog: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    call = ("score", str(backlog), "--output", str(output))
    full = securevqa(*call, "--scratch", str(tmp_path / "no such folder"), env=KEY)
    assert read_report(str(output))["error_code"].to_pylist() == ["scratch_full"] * NUM_VIDEOS
    assert "--retry-failed" in full.stdout
    assert "nothing to do" in securevqa(*call, env=KEY).stdout
    securevqa(*call, "--retry-failed", env=KEY)
    require_complete(output, backlog)
    assert read_json(f"{output}/run.json")["generation"] == 2
    assert "nothing to do" in securevqa(*call, "--retry-failed", env=KEY).stdout
