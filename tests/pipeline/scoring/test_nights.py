"""Nights over a backlog that grows, on Ray or without: only what is new is scored, one writer at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli import call, finish, read_json, read_report, securevqa, start, wait_until
from processes import descendants, title
from runs import make_run
from s3server import S3Server

from pipeline.runs.lock import locked
from pipeline.runs.rundir import RunDirectory

KEY = {"SECUREVQA_KEY": "a key that lasts for all nights"}
ALONE = {"RAY_ADDRESS": ""}  # few videos, and no cluster: without Ray
SILENT = "https://127.0.0.1:1/silent.mp4"  # may answer another time


# Null in a report of a run that shares no rows.
NEAR_COPIES = ("near_copy_of", "near_copies", "near_copy_best_score")


def listed(folder: Path, *uris: str) -> str:
    path = folder / "manifest.csv"
    path.write_text("\n".join(["uri", *uris]) + "\n")
    return str(path)


def outcomes(output: Path) -> dict[str, Any]:
    """What became of every video, by name: its error code, or else its status."""
    rows = read_report(str(output)).to_pylist()
    return {row["uri"].rpartition("/")[2]: row["error_code"] or row["status"] for row in rows}


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_week_of_nights(
    videos: dict[str, Path],
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uploads = f"{s3.bucket_uri}/{tmp_path.name}"
    video, nights = videos["carphone_h264.mkv"].read_bytes(), tmp_path / "nights"
    shared = ("--incremental", str(tmp_path / "state"), "--max-tries", "2")

    def upload(name: str, content: bytes) -> str:
        s3.fs.pipe_file(f"{uploads}/{name}", content)
        return f"{uploads}/{name}"

    def arguments(day: str, *options: str) -> tuple[str, ...]:
        return ("score", str(tmp_path / "manifest.csv"), "--output", str(nights / day), *(options or shared))

    def night(day: str, *options: str, where: dict[str, str] = ALONE) -> tuple[int, int]:
        """Score; return how many videos were worked on, and how many left."""
        securevqa(*arguments(day, *shared, *options), env=KEY | where)
        record = read_json(f"{nights / day}/run.json")
        return record["num_scored_now"], record["num_left"]

    uris = [SILENT, upload("a", video), f"{uploads}/absent", upload("text", b"no video")]
    listed(tmp_path, *uris)
    assert night("1-monday", "--time-budget", "0.001s") == (0, 4)  # over before anything is begun
    assert set(outcomes(nights / "1-monday").values()) == {"pending"}

    assert night("2-tuesday", "--max-videos", "2", where={}) == (2, 2)
    known = {"silent.mp4": "fetch_unreachable", "a": "scored"}
    assert outcomes(nights / "2-tuesday") == known | {"absent": "pending", "text": "pending"}

    listed(tmp_path, *uris, f"{uploads}/b")
    upload("b", video + b"b")
    with s3.stopped():
        assert night("3-wednesday") == (4, 0)
    assert outcomes(nights / "3-wednesday") == known | dict.fromkeys(
        ("absent", "text", "b"), "fetch_unreachable"
    )

    uris += [upload(name, video + name.encode()) for name in "bcd"]
    listed(tmp_path, *uris)
    driver = start(*arguments("4-thursday"), env=KEY)
    wait_until(lambda: any("Decode" in title(pid) for pid in descendants(driver.pid)))
    driver.kill()
    finish(driver)
    assert not (nights / "4-thursday" / "run.json").exists()
    worked_on, left = night("4-thursday", where={})
    assert (worked_on <= 5, left) == (True, 0)  # the silent one has had its two tries
    known |= {"absent": "fetch_not_found", "text": "not_a_video", "b": "scored", "c": "scored", "d": "scored"}
    assert outcomes(nights / "4-thursday") == known

    upload("a", video + b"another")
    listed(tmp_path, *uris, upload("e", video + b"e"))
    assert night("5-friday") == (2, 0)
    assert outcomes(nights / "5-friday") == known | {"e": "scored"}
    before, after = (read_report(str(nights / day)).to_pylist() for day in ("4-thursday", "5-friday"))
    differing = [old["uri"] for old, new in zip(before, after, strict=False) if old != new]
    assert differing == [f"{uploads}/a"]

    # Nothing is left to do: neither night needs Ray.
    monkeypatch.setenv("SECUREVQA_KEY", KEY["SECUREVQA_KEY"])
    since = arguments("7-sunday", "--since-run", str(nights / "6-saturday"), "--max-tries", "2")
    alone = since, [row | dict.fromkeys(NEAR_COPIES) for row in after]
    for call_, rows in ((arguments("6-saturday"), after), alone):
        assert call(*call_) == 0
        assert read_json(f"{call_[3]}/run.json")["num_scored_now"] == 0
        assert read_report(call_[3]).to_pylist() == rows
    capsys.readouterr()
    assert call("runs", str(nights), "--json") == 0
    runs = json.loads(capsys.readouterr().out)
    assert [(one["rows"], one["num_left"], one["status"].get("scored", 0)) for one in runs] == [
        (4, 4, 0),
        (4, 2, 1),
        (5, 0, 1),
        (7, 0, 4),
        (8, 0, 5),
        (8, 0, 5),
        (8, 0, 5),
    ]


@pytest.mark.parametrize("held", ["run", "state"])
def test_a_second_writer_is_refused_and_starts_nothing(
    held: str, videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = listed(tmp_path, str(videos["text.mp4"]))
    (tmp_path / held).mkdir()
    options = ("--output", str(tmp_path / "run"), "--incremental", str(tmp_path / "state"))
    with locked(RunDirectory(str(tmp_path / held))):
        assert call("score", manifest, *options, "--seed", "0") == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert str(tmp_path / held) in said
    assert "one writer at a time" in said
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--time-budget", "soon"), "soon"),
        (("--max-videos", "0"), "0"),
        (("--incremental", "/a", "--since-run", "/b"), "/b"),
        (("--incremental", "BESIDE"), "incremental must not lie inside"),
    ],
)
def test_a_wrong_call_exits_2_and_names_the_value(
    options: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    given = [str(tmp_path / "videos" / "state") if one == "BESIDE" else one for one in options]
    where = ("--output", str(tmp_path / "run"), "--seed", "0")
    assert call("score", str(tmp_path / "videos"), *where, *given) == 2
    assert named in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_the_output_of_a_run_is_no_state_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").touch()
    make_run(str(tmp_path / "night"), [{"video_id": "a", "score": 50.0}])
    before = sorted(tmp_path.rglob("*"))
    where = ("--output", str(tmp_path / "run"), "--incremental", str(tmp_path / "night"), "--seed", "0")
    assert call("score", str(tmp_path / "a.mp4"), *where) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "incremental must be a folder of its own" in said
    assert "holds run.json" in said
    assert sorted(tmp_path.rglob("*")) == before
