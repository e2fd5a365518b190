"""Nights over a backlog that grows: only what is new is scored, budgets end cleanly, one writer at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli import call, read_json, read_report, securevqa

from pipeline.lock import locked
from pipeline.rundir import RunDirectory

KEY = {"SECUREVQA_KEY": "a key that lasts for all nights"}
SILENT = "https://127.0.0.1:1/silent.mp4"  # may answer another time
ABSENT = "absent.mp4"


def listed(folder: Path, *uris: str) -> str:
    path = folder / "manifest.csv"
    path.write_text("\n".join(["uri", *uris]) + "\n")
    return str(path)


def statuses(output: Path) -> dict[str, Any]:
    return {row["uri"].rpartition("/")[2]: row["status"] for row in read_report(str(output)).to_pylist()}


def test_a_week_of_nights(videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = [SILENT, str(videos["carphone_h264.mkv"]), ABSENT, str(videos["text.mp4"])]
    nights = [tmp_path / f"night{number}" for number in range(5)]
    shared = ("--incremental", str(tmp_path / "state"), "--max-tries", "2")

    def night(number: int, *options: str) -> dict[str, Any]:
        securevqa("score", str(tmp_path / "manifest.csv"), "--output", str(nights[number]), *options, env=KEY)
        return read_json(f"{nights[number]}/run.json")

    listed(tmp_path, *uris)
    record = night(0, *shared, "--time-budget", "0.001s")  # over before anything is begun
    assert (record["rows"], record["num_scored_now"], record["num_left"]) == (4, 0, 4)
    assert set(statuses(nights[0]).values()) == {"pending"}

    record = night(1, *shared, "--max-videos", "2")
    assert (record["num_scored_now"], record["num_left"]) == (2, 2)
    assert list(statuses(nights[1]).values()) == ["failed", "scored", "pending", "pending"]
    first = read_report(str(nights[1])).to_pylist()[1]

    listed(tmp_path, *uris, str(videos["carphone_vp9.webm"]))
    record = night(2, *shared)
    assert (record["rows"], record["num_scored_now"], record["num_left"]) == (5, 4, 0)  # the silent one again
    assert list(statuses(nights[2]).values()) == ["failed", "scored", "failed", "failed", "scored"]
    assert read_report(str(nights[2])).to_pylist()[1] == first

    # The silent one has had its two tries, and nothing else is left: neither night needs Ray.
    monkeypatch.setenv("SECUREVQA_KEY", KEY["SECUREVQA_KEY"])
    for number, options in ((3, shared), (4, ("--since-run", str(nights[3]), "--max-tries", "2"))):
        assert call("score", str(tmp_path / "manifest.csv"), "--output", str(nights[number]), *options) == 0
        assert read_json(f"{nights[number]}/run.json")["num_scored_now"] == 0
        assert read_report(str(nights[number])).equals(read_report(str(nights[2])))


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
