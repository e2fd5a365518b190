"""`securevqa gate`: lists that programs can read, exit codes for a workflow, nothing written unless meant."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from cli import call, read_json
from runs import make_run
from s3server import S3Server

from pipeline.gate.lists import FORMATS

CHECKPOINT = "secure-vqa-compact-0123456789abcdef"
POLICY = f"""version = 1
checkpoints = ["{CHECKPOINT}"]
columns = ["channel", "decode_warnings"]

[[rules]]
name = "poor"
decision = "hold"
when = {{ column = "score_lower", below = 40 }}

[[rules]]
name = "good"
decision = "publish"
when = {{ column = "score_lower", at_least = 60 }}
"""
HOSTILE = 'a,"b"\n[red]=1+1\x1b[31m'
ROWS: list[dict[str, Any]] = [
    {"video_id": "good", "score": 90.0, "score_lower": 88.0, "channel": "film"},
    {"video_id": HOSTILE, "score": 70.0, "score_lower": 65.0, "channel": HOSTILE, "decode_warnings": ["x"]},
    {"video_id": "poor", "score": 30.0, "score_lower": 28.0, "channel": "film"},
    {"video_id": "middling", "score": 50.0, "score_lower": 48.0, "channel": None},
    {"video_id": "gone", "error_code": "fetch_not_found", "channel": "news"},
]
EXPECTED = {"publish": ["good", HOSTILE], "hold": ["poor"], "review": ["middling", "gone"]}


def run(uri: str, **provenance: str) -> str:
    for row in ROWS:
        row.setdefault("content_sha256", "ab" * 32)
    rows = [row | {"checkpoint_id": CHECKPOINT, "checkpoint_status": "trained"} for row in ROWS]
    make_run(uri, [row | {"randomness": "keyed"} | provenance for row in rows])
    return uri


def policy(folder: Path, text: str = POLICY) -> str:
    path = folder / "policy.toml"
    path.write_text(text)
    return str(path)


def contents(folder: Path, suffix: str) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name in EXPECTED:
        path = folder / f"{name}.{suffix}"
        if suffix == "jsonl":
            found[name] = [json.loads(line) for line in path.read_text().splitlines()]
        elif suffix == "csv":
            options = pacsv.ParseOptions(newlines_in_values=True)
            found[name] = pacsv.read_csv(path, parse_options=options).to_pylist()
        else:
            found[name] = pq.read_table(path).to_pylist()
    return found


def test_every_format_lists_every_video_once_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    formats = [part for one in ("parquet", "csv", "jsonl") for part in ("--format", one)]
    assert call("gate", report, "--policy", policy(tmp_path), *formats) == 0
    folder = tmp_path / "run" / "gate"
    for suffix in ("parquet", "csv", "jsonl"):
        lists = contents(folder, suffix)
        assert {name: [row["video_id"] for row in rows] for name, rows in lists.items()} == EXPECTED
        rows = [row for rows in lists.values() for row in rows]
        assert all(row["reason"] for row in rows)
        assert lists["hold"][0]["reason"] == "poor: score_lower 28 below 40"
        assert lists["hold"][0]["rule"] == "poor"
        assert lists["publish"][1]["channel"] == HOSTILE
        assert lists["publish"][0]["content_sha256"] == "ab" * 32
    about = read_json(str(folder / "gate.json"))
    assert about["decisions"] == {"publish": 2, "hold": 1, "review": 2}
    assert about["rules"] == {"good": 2, "poor": 1}
    assert (about["rows"], about["by_default"], len(about["files"])) == (5, 2, 9)
    assert "decision publish" in capsys.readouterr().out


def test_a_spreadsheet_takes_no_name_for_a_formula_and_programs_get_it_unchanged() -> None:
    names = ["=1+1", "-x", "+y", "@z", "\t=1", "a=b", "", None]
    table = pa.table(
        {"name": pa.array(names).dictionary_encode(), "tags": [["=1"]] * 8, "number": [-1.5] * 8}
    )
    written = pacsv.read_csv(
        io.BytesIO(FORMATS["csv"](table)),
        convert_options=pacsv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    assert written["name"].to_pylist() == ["'=1+1", "'-x", "'+y", "'@z", "'\t=1", "a=b", "", None]
    assert written["number"].to_pylist() == [-1.5] * 8
    lines = FORMATS["jsonl"](table).splitlines()
    assert [json.loads(line)["name"] for line in lines] == names


def test_a_policy_that_is_wrong_exits_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    wrong = policy(tmp_path, POLICY.replace("below", "under"))
    assert call("gate", report, "--policy", wrong) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "policy.toml', line 8, rule 'poor'" in said
    assert not (tmp_path / "run" / "gate").exists()


def test_lists_go_to_object_storage_and_are_withdrawn_before_they_change(
    s3: S3Server, tmp_path: Path
) -> None:
    report = run(f"{s3.bucket_uri}/{tmp_path.name}")
    assert call("gate", report, "--policy", policy(tmp_path), "--format", "csv") == 0
    assert call("gate", report, "--policy", policy(tmp_path), "--format", "jsonl") == 0
    names = sorted(path.rpartition("/")[2] for path in s3.fs.find(f"{s3.bucket}/{tmp_path.name}/gate"))
    assert names == ["gate.json", "hold.jsonl", "publish.jsonl", "review.jsonl"]


def test_a_broken_limit_exits_3_and_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    strict = policy(tmp_path, POLICY + "[limits]\nmin_publish_share = 0.9\n")
    assert call("gate", report, "--policy", strict, "--output", str(tmp_path / "lists")) == 3
    about = read_json(str(tmp_path / "lists" / "gate.json"))
    assert about["decisions"] == {"publish": 0, "hold": 1, "review": 4}
    assert about["broken_limits"] == [{"limit": "min_publish_share", "wanted": 0.9, "found": 0.4}]
    assert "min_publish_share = 0.9 is broken: 0.4" in capsys.readouterr().out


def test_a_dry_run_says_why_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(str(tmp_path / "run"), randomness="public")
    assert call("gate", report, "--policy", policy(tmp_path), "--dry-run") == 0
    said = capsys.readouterr().out
    assert "review good: not published, randomness is 'public'" in said.replace("\n", " ")
    assert "nothing written" in said
    assert "\x1b" not in said
    assert not (tmp_path / "run" / "gate").exists()


def test_the_summary_is_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(str(tmp_path / "run"))
    assert call("gate", report, "--policy", policy(tmp_path), "--dry-run", "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["decisions"]["publish"] == 2
    assert about["dry_run"] is True
    assert about["report"]["generation"] == 1


def test_what_if_prints_a_table_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    options = ("--what-if", "good", "--thresholds", "50,66.5,99")
    assert call("gate", report, "--policy", policy(tmp_path), *options, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["threshold"], row["publish"]) for row in rows] == [(50, 2), (66.5, 1), (99, 0)]
    assert call("gate", report, "--policy", policy(tmp_path), *options) == 0
    assert "66.5" in capsys.readouterr().out
    assert not (tmp_path / "run" / "gate").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--thresholds", "1,two", "--what-if", "good"), "1,two"),
        (("--what-if", "best"), "best"),
        (("--format", "xml"), "xml"),
    ],
)
def test_a_wrong_call_exits_2_and_names_the_value(
    options: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    assert call("gate", report, "--policy", policy(tmp_path), *options) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run" / "gate").exists()


def test_a_report_that_is_not_what_its_run_json_says_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    record = tmp_path / "run" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"rows": 7}))
    assert call("gate", report, "--policy", policy(tmp_path)) == 1
    assert "5 rows and its run.json says 7" in capsys.readouterr().err.replace("\n", " ")
