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

pytestmark = pytest.mark.ray

KEY = {"SECUREVQA_KEY": "a key that outlives the driver"}
ALONE = KEY | {"RAY_ADDRESS": ""}  # few videos, and no cluster: without Ray
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


def interrupt(driver: subprocess.Popen[str], number: signal.Signals, output: Path, *, after: int) -> int:
    """Send a signal after so many commits; return how many there are once the driver has ended."""
    wait_until(lambda: committed(output) >= after or driver.poll() is not None)
    driver.send_signal(number)
    interrupted = finish(driver)
    assert interrupted.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert not (output / "run.json").exists()
    assert after <= committed(output) < NUM_VIDEOS
    return committed(output)


def rows_on_disk(output: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in output.glob("checkpoint/rows/*.parquet")}


def test_a_driver_that_is_interrupted_then_killed_is_resumed_without_scoring_anything_twice(
    backlog: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    call = ("score", str(backlog), "--output", str(output))
    survived = interrupt(start(*call, env=KEY), signal.SIGINT, output, after=2)
    first = rows_on_disk(output)
    survived = interrupt(start(*call, env=KEY), signal.SIGKILL, output, after=survived + 2)
    before = rows_on_disk(output) | first
    securevqa(*call, env=KEY)
    require_complete(output, backlog)
    # What a killed driver leaves behind may still commit what it has at hand; nobody scores that again.
    assert read_json(f"{output}/run.json")["num_scored_now"] <= NUM_VIDEOS - survived
    after = rows_on_disk(output)
    kept = [path for path, content in before.items() if after.get(path) == content]
    assert len(kept) >= survived


def kill_a_worker(driver: subprocess.Popen[str], stage: str, output: Path, *, after: int) -> None:
    """Kill a worker of a stage once it is there and there are so many commits."""
    wait_until(
        lambda: bool(ray_workers(driver, stage) and committed(output) >= after) or driver.poll() is not None
    )
    victims = ray_workers(driver, stage)
    assert victims, f"no worker of {stage} to kill"
    os.kill(victims[0], signal.SIGKILL)


def test_a_killed_worker_of_each_stage_costs_no_row(backlog: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    driver = start("score", str(backlog), "--output", str(output), env=KEY)
    for stage, num_commits in (("MapBatches(Decode)", 0), ("ModelStages", 1)):
        kill_a_worker(driver, stage, output, after=num_commits)
    assert committed(output) < NUM_VIDEOS
    done = finish(driver)
    assert done.returncode == 0, done.stderr
    require_complete(output, backlog)


def test_what_may_pass_is_tried_again_when_asked_and_only_that(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    output, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    call = ("score", str(make_copies(tmp_path / "few", videos, number=3)), "--output", str(output))
    driver = start(*call, "--scratch", str(scratch), env=KEY)
    wait_until(lambda: output.exists() or driver.poll() is not None)
    scratch.rmdir()  # as a disk that goes: no file can be made there
    full = finish(driver)
    assert read_report(str(output))["error_code"].to_pylist() == ["scratch_full"] * 3
    assert "--retry-failed" in full.stdout
    assert "nothing to do" in securevqa(*call, env=ALONE).stdout
    securevqa(*call, "--retry-failed", env=ALONE)
    assert read_report(str(output))["error_code"].to_pylist() == [None, None, "not_a_video"]
    assert read_json(f"{output}/run.json")["generation"] == 2
    assert "nothing to do" in securevqa(*call, "--retry-failed", env=ALONE).stdout


def test_thresholds_score_nothing_again_and_a_looser_limit_only_what_it_kept_out(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    output, folder = str(tmp_path / "run"), make_copies(tmp_path / "few", videos, number=3)
    (folder / "large.mkv").write_bytes((folder / "1.mkv").read_bytes() + bytes(1 << 20))
    call = ("score", str(folder), "--output", output)
    limit = (folder / "large.mkv").stat().st_size - 1
    securevqa(*call, "--max-bytes", str(limit), "--pass-at", "0", "--reject-below", "0", env=KEY)
    first = read_report(output).to_pylist()
    assert [row["error_code"] for row in first] == [None, None, "fetch_too_large", "not_a_video"]
    assert [row["verdict"] for row in first[:2]] == ["pass", "pass"]
    securevqa(*call, "--max-bytes", str(limit), "--pass-at", "100", "--reject-below", "100", env=ALONE)
    judged = read_report(output).to_pylist()
    assert [row["verdict"] for row in judged[:2]] == ["reject", "reject"]
    assert [row | {"verdict": ""} for row in judged] == [row | {"verdict": ""} for row in first]
    assert read_json(f"{output}/run.json")["num_scored_now"] == 0
    securevqa(*call, "--max-bytes", str(limit + 1), "--pass-at", "0", "--reject-below", "0", env=ALONE)
    looser = read_report(output).to_pylist()
    assert [row["status"] for row in looser] == ["scored", "scored", "scored", "failed"]
    assert [looser[place] for place in (0, 1, 3)] == [first[place] for place in (0, 1, 3)]
    assert read_json(f"{output}/run.json")["num_scored_now"] == 1
