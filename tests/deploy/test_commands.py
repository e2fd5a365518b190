"""What the container runs, run outside it, and a runbook that leaves out no error code."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from securevqa_core.errors import ERROR_CODES

DEPLOY = Path(__file__).parents[2] / "deploy"
NIGHT = DEPLOY / "bin" / "securevqa-night"
SETTINGS = {
    "SECUREVQA_MANIFEST": "s3://uploads/backlog.parquet",
    "SECUREVQA_RUNS": "s3://scores/nightly/",
    "SECUREVQA_KEY_FILE": "/run/key",
    "SECUREVQA_NIGHT": "2026-11-23",
}


def night(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the night's script with a `securevqa` that tells what it was called with."""
    told = folder / "securevqa"
    told.write_text('#!/bin/sh\necho "$RAY_ADDRESS"\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    known = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment = known | settings | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [str(NIGHT), *arguments], env=environment, text=True, capture_output=True, check=False, timeout=30
    )


def test_a_night_scores_what_is_new_and_joins_the_cluster_it_is_on(tmp_path: Path) -> None:
    done = night(tmp_path, "--draws", "4", **SETTINGS)
    assert done.stdout.splitlines() == [
        "auto",
        "score",
        "s3://uploads/backlog.parquet",
        "--output",
        "s3://scores/nightly/2026-11-23",
        "--incremental",
        "s3://scores/nightly/state",
        "--key-file",
        "/run/key",
        "--draws",
        "4",
    ]


@pytest.mark.parametrize(
    ("now", "begins", "name"),
    [
        ("2026-11-23 22:00", "22", "2026-11-23"),
        ("2026-11-24 00:30", "22", "2026-11-23"),
        ("2026-11-24 21:59", "22", "2026-11-23"),
        ("2026-11-24 22:00", "22", "2026-11-24"),
        ("2026-11-23 21:00", None, "2026-11-23"),
        ("2026-11-24 05:00", None, "2026-11-23"),
        ("2026-03-01 00:10", None, "2026-02-28"),
        ("2026-11-24 00:30", "0", "2026-11-24"),
    ],
)
def test_a_night_is_called_by_the_date_on_which_it_began_also_after_midnight(
    now: str, begins: str | None, name: str, tmp_path: Path
) -> None:
    clock = tmp_path / "date"
    clock.write_text(f'#!/bin/sh\nexec {shutil.which("date")} -u -d "{now} UTC $3" "$4"\n')
    clock.chmod(0o755)
    settings = {name: value for name, value in SETTINGS.items() if name != "SECUREVQA_NIGHT"}
    done = night(tmp_path, **settings, **({"SECUREVQA_NIGHT_BEGINS": begins} if begins else {}))
    assert done.stdout.splitlines()[4] == f"s3://scores/nightly/{name}"


def test_a_night_is_called_by_todays_or_yesterdays_date(tmp_path: Path) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "SECUREVQA_NIGHT"}
    before = datetime.now(UTC) - timedelta(hours=12)
    (_, _, _, _, output, *_) = night(tmp_path, **settings).stdout.splitlines()
    after = datetime.now(UTC) - timedelta(hours=12)
    assert output in {f"s3://scores/nightly/{moment:%Y-%m-%d}" for moment in (before, after)}


@pytest.mark.parametrize("begins", ["24", "-1", "late", "1.5"])
def test_a_night_that_begins_at_no_hour_is_refused(begins: str, tmp_path: Path) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "SECUREVQA_NIGHT"}
    done = night(tmp_path, **settings, SECUREVQA_NIGHT_BEGINS=begins)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"must be an hour in 0..23, got '{begins}'" in done.stderr


@pytest.mark.parametrize("missing", ["SECUREVQA_MANIFEST", "SECUREVQA_RUNS", "SECUREVQA_KEY_FILE"])
def test_a_night_that_lacks_a_setting_names_it_and_starts_nothing(missing: str, tmp_path: Path) -> None:
    done = night(tmp_path, **{name: value for name, value in SETTINGS.items() if name != missing})
    assert done.returncode != 0
    assert missing in done.stderr
    assert not done.stdout


@pytest.mark.slow
def test_the_command_line_knows_every_option_that_is_used(tmp_path: Path) -> None:
    entrypoints = re.findall(r"^ *entrypoint: (.+)$", _rendered(), re.MULTILINE)
    assert entrypoints
    said = night(tmp_path, **SETTINGS).stdout + " ".join(entrypoints)
    known = subprocess.run(
        [str(Path(sys.executable).with_name("securevqa")), "score", "--help"],
        env=os.environ | {"COLUMNS": "200"},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    ).stdout
    options = set(re.findall(r"--[a-z-]+", said))
    assert {"--incremental", "--key-file", "--scratch"} <= options
    assert [option for option in options if option not in known] == []


@pytest.mark.slow
def test_the_check_of_the_image_s_build_works() -> None:
    (check,) = set(
        re.findall(r"^RUN python -c \"(.+)\"$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    )
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_costs_of_every_stage_are_measured(videos: dict[str, Path]) -> None:
    costs = runpy.run_path(str(DEPLOY / "costs.py"))["costs"]
    found = costs(videos["carphone_h264.mkv"], "secure-vqa-compact")
    assert list(found) == ["fetch", "decode", "fragments", "inter", "intra"]
    assert all(0 < found[stage] < 60 for stage in ("decode", "inter", "intra"))


def test_the_image_is_built_of_files_that_are_there_and_runs_as_no_root() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", text, re.MULTILINE)
    root = DEPLOY.parent
    assert [name for line in copied for name in line.split() if not (root / name).exists()] == []
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["10001:10001"]
    assert re.findall(r"^FROM runtime AS (\w+)$", text, re.MULTILINE) == ["cpu", "cuda"]


def test_the_file_for_ray_up_keeps_work_off_the_head_and_asks_for_a_token() -> None:
    cluster = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
    (head,) = [line for line in cluster["head_start_ray_commands"] if "--head" in line]
    assert "--num-cpus 0" in head
    assert any("RAY_AUTH_MODE=token" in option for option in cluster["docker"]["run_options"])
    assert cluster["max_workers"] == len(cluster["provider"]["worker_ips"])


def test_the_runbook_says_of_every_error_code_what_to_do_and_whether_it_is_tried_again() -> None:
    told: dict[str, str] = {}
    for line in (DEPLOY / "README.md").read_text().splitlines():
        if found := re.match(r"\| ((?:`\w+`(?:, )?)+) \| (yes|no) \| .+ \|$", line):
            told |= dict.fromkeys(re.findall(r"`(\w+)`", found[1]), found[2])
    assert told == {code: "yes" if one.retryable else "no" for code, one in ERROR_CODES.items()}


def _rendered() -> str:
    return "\n".join(path.read_text() for path in (DEPLOY / "kuberay" / "rendered").glob("*.yaml"))
