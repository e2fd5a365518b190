"""`securevqa gate`: lists that programs can read, exit codes for a workflow, nothing written unless meant."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from cli import call, read_json
from runs import make_run
from s3server import S3Server

from pipeline.runs.lock import locked
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import csv_bytes, json_lines

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
        assert lists["hold"][0]["reason"] == "poor: score_lower 28 < 40"
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
        io.BytesIO(csv_bytes(table)),
        convert_options=pacsv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    assert written["name"].to_pylist() == ["'=1+1", "'-x", "'+y", "'@z", "'\t=1", "a=b", "", None]
    assert written["number"].to_pylist() == [-1.5] * 8
    lines = json_lines(table).splitlines()
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
    lines = said.splitlines()
    assert (
        "review good.mp4 (good): not published, randomness is 'public' (good: score_lower 88 >= 60)" in lines
    )
    assert "hold poor.mp4 (poor): poor: score_lower 28 < 40" in lines
    assert "review middling.mp4 (middling): no rule holds: good: score_lower 48 < 60" in lines
    reason = "no rule holds: failed (fetch_not_found); good: score_lower is missing"
    assert f"review gone.mp4 (gone): {reason}" in lines
    assert "nothing written" in said
    assert "\x1b" not in said
    assert not (tmp_path / "run" / "gate").exists()


def test_the_summary_is_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(str(tmp_path / "run"))
    assert call("gate", report, "--policy", policy(tmp_path), "--dry-run", "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["decisions"]["publish"] == 2
    assert about["dry_run"] is True
    assert [row["video_id"] for row in about["videos"]] == [name for one in EXPECTED.values() for name in one]
    assert [row["decision"] for row in about["videos"]] == ["publish"] * 2 + ["hold"] + ["review"] * 2
    assert (about["videos"][2]["rule"], about["videos"][2]["reason"]) == ("poor", "poor: score_lower 28 < 40")
    assert about["report"]["generation"] == 1


def test_what_if_prints_a_row_a_threshold_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    options = ("--what-if", "good", "--thresholds", "50,66.5,99")
    assert call("gate", report, "--policy", policy(tmp_path), *options, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    found = [(row["threshold"], row["publish"], row["is_present"]) for row in rows]
    assert found == [(50, 2, False), (60, 2, True), (66.5, 1, False), (99, 0, False)]
    assert call("gate", report, "--policy", policy(tmp_path), *options) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["threshold", "publish", "hold", "review"]
    assert lines[2:6] == [
        ["50", "2", "40.0%", "1", "20.0%", "2", "40.0%"],
        ["60*", "2", "40.0%", "1", "20.0%", "2", "40.0%"],
        ["66.5", "1", "20.0%", "1", "20.0%", "3", "60.0%"],
        ["99", "0", "0.0%", "1", "20.0%", "4", "80.0%"],
    ]
    assert " ".join(lines[-1]) == "never published, whatever the threshold: 1 unscored"
    run(report, randomness="public")
    assert call("gate", report, "--policy", policy(tmp_path), *options) == 0
    assert "whatever the threshold: 5 public_seed, 1 unscored" in capsys.readouterr().out
    assert not (tmp_path / "run" / "gate").exists()


def test_what_if_says_where_a_limit_would_publish_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    limited = policy(tmp_path, POLICY + "[limits]\nmin_rows = 100\nmin_publish_share = 0.3\n")
    options = ("--policy", limited, "--what-if", "good", "--thresholds", "50,99")
    assert call("gate", report, *options) == 3
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[2:5]] == ["50", "60*!", "99"]
    assert "* the threshold now; counts are before the limits" in said
    assert said.count("!") == 5
    words = " ".join(said.split())
    assert "! nothing is published: limit min_rows = 100 is broken: 5, at every threshold" in words
    assert "! nothing is published: limit min_publish_share = 0.3 is broken: 0 at 99" in words
    assert call("gate", report, *options, "--json") == 3
    broken = [[one["limit"] for one in row["broken_limits"]] for row in json.loads(capsys.readouterr().out)]
    assert broken == [["min_rows"], ["min_rows"], ["min_rows", "min_publish_share"]]
    kept = policy(tmp_path, POLICY + "[limits]\nmin_publish_share = 0.1\n")
    assert call("gate", report, "--policy", kept, "--what-if", "good", "--thresholds", "99") == 0


GROUPED = POLICY.replace(
    "at_least = 60", "at_least = { default = 60, by = 'channel', values = { film = 90 } }"
)


def test_what_if_has_a_column_a_group_and_marks_the_threshold_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    options = ("--what-if", "good", "--thresholds", "60,80,90")
    assert call("gate", report, "--policy", policy(tmp_path, GROUPED), *options) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    lines = said.splitlines()
    assert lines[0].split()[:2] == ["threshold", "all"]
    assert lines[0].split()[-2:] == ["film", "news"]
    film = {line.split()[0]: line.split()[-4:-2] for line in lines[2:5]}
    assert film == {"60": ["1", "50.0%"], "80": ["1", "50.0%"], "90": ["0", "0.0%*"]}
    assert lines[2].endswith("0   0.0%*")
    percents = {tuple(at for at, letter in enumerate(line) if letter == "%") for line in lines[2:5]}
    assert len(percents) == 1  # with a mark and without
    assert lines[5] == "publish by rule 'good', of each group; * its threshold now"
    assert max(map(len, lines)) <= 80


def test_groups_that_do_not_fit_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"video_id": str(n), "score": 50.0, "channel": f"channel {n % 30}"} for n in range(40)]
    make_run(str(tmp_path / "run"), rows)
    options = ("--policy", policy(tmp_path, GROUPED), "--what-if", "good")
    assert call("gate", str(tmp_path / "run"), *options) == 0
    out, err = capsys.readouterr()
    assert "27 smaller groups left out, for want of room: --json has all" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "no row has channel 'film'; the default 60 goes for 'channel 0' (2)" in err
    assert "and 20 more" not in err
    assert "'channel 9' (2), 20 more" in err


MISSPELT = GROUPED.replace("film = 90", "flim = 90, news = 50")


def test_a_group_that_no_row_has_is_said_loudly_and_refused_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    given = ("gate", report, "--policy", policy(tmp_path, MISSPELT))
    assert call(*given) == 0
    said = capsys.readouterr().err
    assert "not understood: policy " in said
    assert "line 13, rule 'good': no row has channel 'flim' (did you mean 'film'?); the default 60" in said
    assert "goes for 'film' (2), " in said
    (told,) = read_json(str(tmp_path / "run" / "gate" / "gate.json"))["unmatched"]
    assert "'flim'" in told
    assert call(*given, "--what-if", "good") == 0
    assert "'flim'" in capsys.readouterr().err
    assert call(*given, "--strict", "--output", str(tmp_path / "other")) == 2
    assert "'flim'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    right = policy(tmp_path, MISSPELT.replace("flim", "film"))
    assert call("gate", report, "--policy", right, "--strict") == 0
    assert capsys.readouterr().err == ""


def test_a_threshold_that_is_a_share_of_one_is_said_and_refused_where_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    given = ("gate", report, "--policy", policy(tmp_path, POLICY.replace("at_least = 60", "at_least = 0.6")))
    assert call(*given) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "rule 'good': score_lower is in 0..100, and 0.6 is nearly its least (did you mean 60?)" in said
    assert call(*given, "--strict") == 2
    zero = POLICY.replace("at_least = 60", "at_least = 0")
    assert call("gate", report, "--policy", policy(tmp_path, zero), "--strict") == 0


@pytest.mark.parametrize(
    ("text", "meant"),
    [("stream_shrt", "stream_short"), ("stream_shrt: 4", "stream_short"), ("x_fallback:", "fallback")],
)
def test_a_warning_that_there_is_not_is_said_and_refused_where_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, meant: str
) -> None:
    report = run(str(tmp_path / "run"))
    asked = POLICY.replace('"score_lower", below = 40', f'"decode_warnings", contains = "{text}"')
    given = ("gate", report, "--policy", policy(tmp_path, asked))
    assert call(*given) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    name = text.partition(":")[0]
    assert f"rule 'poor': no warning is named '{name}' (did you mean '{meant}'?) " in said
    assert call(*given, "--strict") == 2


@pytest.mark.parametrize("text", ["stream_short", "stream_short: 41", "short:", "41 of 100 declared", "x"])
def test_a_warning_that_there_is_or_may_be_is_taken(tmp_path: Path, text: str) -> None:
    report = run(str(tmp_path / "run"))
    asked = POLICY.replace('"score_lower", below = 40', f'"decode_warnings", contains = "{text}"')
    assert call("gate", report, "--policy", policy(tmp_path, asked), "--strict") == 0


def test_a_value_that_is_like_one_of_the_manifest_is_said_and_another_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    for value, is_said in (("flim", True), ("serials", False), ("film", False)):
        asked = POLICY.replace(
            'column = "score_lower", below = 40', f'column = "channel", one_of = ["{value}"]'
        )
        assert call("gate", report, "--policy", policy(tmp_path, asked)) == 0
        said = f"line 8, rule 'poor': no row has channel '{value}' (did you mean 'film'?)"
        assert (said in capsys.readouterr().err) == is_said


def test_lists_name_their_files_by_digest_and_another_gate_is_kept_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    given = ("gate", report, "--policy", policy(tmp_path), "--output", str(tmp_path / "lists"))
    assert call(*given) == 0
    about = read_json(str(tmp_path / "lists" / "gate.json"))
    assert about["sha256"] == {
        name: hashlib.sha256((tmp_path / "lists" / name).read_bytes()).hexdigest() for name in about["files"]
    }
    with locked(RunDirectory(str(tmp_path / "lists"))):
        assert call(*given) == 1
    assert str(tmp_path / "lists") in capsys.readouterr().err.replace("\n", "")


def test_json_lines_hold_no_nan(tmp_path: Path) -> None:
    table = pa.table(
        {"mos": [math.nan, 1.5], "deep": [{"a": [math.inf]}, None], "small": pa.array([1, 2], pa.float16())}
    )
    lines = [json.loads(one, parse_constant=pytest.fail) for one in json_lines(table).splitlines()]
    assert lines == [
        {"mos": None, "deep": {"a": [None]}, "small": 1.0},
        {"mos": 1.5, "deep": None, "small": 2.0},
    ]


def test_columns_that_csv_and_json_have_no_place_for_are_text(tmp_path: Path) -> None:
    odd = pa.array([2**60], pa.timestamp("s"))  # in a year that Python has no date of
    table = pa.table({"at": odd, "tags": pa.array([["=x"]], pa.list_view(pa.string_view())), "raw": [b"="]})
    (line,) = json_lines(table).splitlines()
    assert json.loads(line)["tags"] == ["=x"]
    header, row = csv_bytes(table).decode().splitlines()
    assert header == '"at","tags","raw"'
    assert '"[""=x""]"' in row


@pytest.mark.parametrize("is_encoded", [False, True])
def test_moments_of_a_zone_that_the_machine_does_not_know_are_those_of_utc(is_encoded: bool) -> None:
    at: Any = pa.array([0, None], pa.timestamp("ms", tz="Mars/Olympus"))
    table = pa.table({"at": at.dictionary_encode() if is_encoded else at})
    lines = [json.loads(one)["at"] for one in json_lines(table).splitlines()]
    assert lines == ["1970-01-01 00:00:00+00:00", None]
    assert csv_bytes(table).decode().splitlines()[1:] == ["1970-01-01 00:00:00.000Z", ""]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--thresholds", "1,two", "--what-if", "good"), "1,two"),
        (("--thresholds", "1,nan", "--what-if", "good"), "1,nan"),
        (("--thresholds", "1,inf", "--what-if", "good"), "1,inf"),
        (("--what-if", "best"), "best"),
        (("--format", "xml"), "xml"),
        (("--format", "xml", "--dry-run"), "xml"),
        (("--thresholds", "40,50"), "'40,50'"),
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


@pytest.mark.parametrize(
    "wrong",
    [
        MISSPELT,
        POLICY.replace("at_least = 60", "at_least = 0.6"),
        POLICY.replace('"score_lower", below = 40', '"decode_warnings", contains = "stream_shrot"'),
        POLICY.replace("abcdef", "abcdee"),
    ],
    ids=["group", "share", "warning", "checkpoint"],
)
def test_what_was_not_understood_is_said_to_a_quiet_gate_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    given = ("gate", run(str(tmp_path / "run")), "--policy", policy(tmp_path, wrong))
    assert call(*given, "--quiet") == 0
    assert "did you mean" in capsys.readouterr().err
    assert call(*given, "--quiet", "--strict") == 2


def test_a_misspelt_checkpoint_is_named_with_its_line_and_what_rows_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    wrong = POLICY.replace("abcdef", "abcdee")
    assert call("gate", report, "--policy", policy(tmp_path, wrong)) == 0
    said = capsys.readouterr().err
    hint = f"no row has checkpoint '{CHECKPOINT[:-1]}e' (did you mean '{CHECKPOINT}'?); rows have"
    assert f"policy.toml', line 2: {hint} '{CHECKPOINT}' (5)" in said
    assert call("gate", report, "--policy", policy(tmp_path, wrong), "--strict") == 2
    beside = POLICY.replace(f'["{CHECKPOINT}"]', f'["{CHECKPOINT}", "secure-vqa-compact-fedcba9876543210"]')
    assert call("gate", report, "--policy", policy(tmp_path, beside), "--strict") == 0
    another = POLICY.replace("0123456789abcdef", "fedcba9876543210")
    capsys.readouterr()
    assert call("gate", report, "--policy", policy(tmp_path, another), "--strict") == 2
    said = capsys.readouterr().err
    assert "did you mean" not in said  # of the same model, and yet another one
    assert f"rows have '{CHECKPOINT}' (5)" in said
    allowed = another + '[allow]\nunknown_checkpoint = "publish on scores of any checkpoint"\n'
    assert call("gate", report, "--policy", policy(tmp_path, allowed), "--strict") == 0


def test_a_file_in_the_place_of_the_lists_folder_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, file = run(str(tmp_path / "run")), tmp_path / "afile"
    file.touch()
    assert call("gate", report, "--policy", policy(tmp_path), "--output", str(file)) == 2
    assert f"--output must be a folder, got '{file}', which is a file" in capsys.readouterr().err


def test_a_misspelt_name_is_told_the_one_that_is_meant_and_no_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(str(tmp_path / "run"))
    given = policy(tmp_path, POLICY.replace('"channel", "dec', '"chanel", "dec'))
    assert call("gate", report, "--policy", given) == 2
    assert capsys.readouterr().err.endswith("the report has no column 'chanel' (did you mean 'channel'?)\n")
    given = policy(tmp_path, POLICY.replace('"channel", "dec', '"zzz", "dec'))
    assert call("gate", report, "--policy", given) == 2
    assert "no column 'zzz', only video_id, uri" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("at_least = 2026-11-22", "days and moments of CSV and JSON manifests are text"),
        ("is = 2026-11-22", "days and moments of CSV and JSON manifests are text"),
        ("is = true", 'truths of CSV manifests are text, as in is = "true"'),
    ],
)
def test_dates_and_truths_of_a_text_column_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], condition: str, hint: str
) -> None:
    report = run(str(tmp_path / "run"))
    asked = POLICY.replace('"score_lower", below = 40', f'"channel", {condition}')
    assert call("gate", report, "--policy", policy(tmp_path, asked)) == 2
    assert hint in capsys.readouterr().err
