"""The report is printed worst first, on any terminal, and no file name can do more than be printed."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cli import call
from rich.console import Console
from runs import make_run

from operators.schema import REPORT
from pipeline.pages.table import show_report
from pipeline.runs.generations import write_report_file
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import file_names
from securevqa_core.errors import OutputError

SCORED = {
    "status": "scored",
    "verdict": "review",
    "width": 1280,
    "height": 720,
    "num_frames": 100,
    "decode_warnings": [],
    "checkpoint_status": "untrained",
}
FAILED = {
    "status": "failed",
    "verdict": "review",
    "error_code": "fetch_not_found",
    "checkpoint_status": "untrained",
}


def scored(uri: str, score: float, **columns: Any) -> dict[str, Any]:
    return SCORED | {"uri": uri, "score": score, "score_lower": score - 1} | columns


def finished_run(uri: str, *files: list[dict[str, Any]]) -> RunDirectory:
    directory = RunDirectory(uri)
    tables = [pa.Table.from_pylist(rows, schema=REPORT) for rows in files]
    named = [
        write_report_file(directory, table, number, generation=1, writer="test")
        for number, table in enumerate(tables)
    ]
    directory.write_json(
        {"generation": 1, "fingerprint": "0", "files": named, "finished_at": "2026-01-02T03:04:05"},
        "run.json",
    )
    return directory


def printed(
    directory: RunDirectory,
    *,
    num_rows: int = 20,
    width: int = 120,
    encoding: str = "utf-8",
    tty: bool = False,
) -> str:
    sink = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=sink, width=width, force_terminal=tty, color_system="standard" if tty else None)
    show_report(directory, num_rows=num_rows, console=console)
    sink.seek(0)
    return sink.read()


def test_failures_come_first_then_the_worst_rows(place: str) -> None:
    first = [scored("s3://b/good.mp4", 90), FAILED | {"uri": "s3://b/gone.mp4"}, scored("s3://b/bad.mp4", 10)]
    text = printed(finished_run(place, first, [scored("s3://b/middle.mp4", 50)]))
    names = ("gone.mp4", "bad.mp4", "middle.mp4", "good.mp4")
    positions = [text.index(name) for name in names]
    assert positions == sorted(positions)
    assert ["bad.mp4", "9.0", "10.0", "review", "100", "1280x720", "scored"] in [
        line.split() for line in text.splitlines()
    ]
    assert "fetch_not_found" in text
    assert "100 1280x720" in text
    assert "4 of 4 videos shown, failed first, then worst: 3 scored, 1 fetch_not_found" in text


def test_only_the_worst_rows_asked_for_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    rows = [scored(f"/v/{number}.mp4", number) for number in range(20, 60)] + [
        FAILED | {"uri": "/v/gone.mp4"}
    ]
    text = printed(finished_run(str(tmp_path), rows), num_rows=3)
    shown = [name in text for name in ("gone.mp4", "20.mp4", "21.mp4", "22.mp4")]
    assert shown == [True, True, True, False]
    assert "3 of 41 videos shown, failed first, then worst: 40 scored, 1 fetch_not_found" in text


def test_what_failed_leaves_no_row_to_others_and_what_is_not_shown_of_it_is_counted(tmp_path: Path) -> None:
    rows = [FAILED | {"uri": f"/v/gone{number}.mp4"} for number in range(3)]
    rows += [scored(f"/v/bad{number}.mp4", number + 1) for number in range(3)]
    directory = finished_run(str(tmp_path), rows)
    text = printed(directory, num_rows=2)
    assert (text.count("gone"), text.count("bad")) == (2, 0)
    assert "2 of 6 videos shown, failed first (2 of 3), then worst: 3 scored, 3 fetch_not_found" in text
    text = printed(directory, num_rows=4)
    assert (text.count("gone"), text.count("bad")) == (3, 1)
    assert "4 of 6 videos shown, failed first, then worst: 3 scored" in text


def test_names_stand_beside_ids_that_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    ids = ["0123456789a", "0123456789b", "ff"]
    rows = [scored(f"/v/{number}.mp4", 50, video_id=one) for number, one in enumerate(ids)]
    lines = printed(finished_run(str(tmp_path), rows), width=80).splitlines()
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["0.mp4", ids[0]],
        ["1.mp4", ids[1]],
        ["2.mp4", "ff"],
    ]
    alone = printed(finished_run(str(tmp_path / "alone"), rows[:1]), width=80)
    assert "01234567 " in alone
    assert "012345678" not in alone


def test_untrained_weights_are_named(tmp_path: Path) -> None:
    assert "checkpoint_status = untrained" in printed(finished_run(str(tmp_path), [scored("/v/a.mp4", 50)]))
    trained = scored("/v/a.mp4", 50, checkpoint_status="trained")
    assert "checkpoint_status =" not in printed(finished_run(str(tmp_path / "other"), [trained]))


HOSTILE_NAMES = {
    "markup": ("[red]<script>.mp4", "[red]<script>.mp4"),
    "open bracket": ("a[bold.mp4", "a[bold.mp4"),
    "emoji code": (":warning:.mp4", ":warning:.mp4"),
    "escape sequence": ("\x1b[31mred.mp4", r"\x1b[31mred.mp4"),
    "one-byte escape": ("\x9b31mred.mp4", r"\x9b31mred.mp4"),
    "carriage return": ("a\rpass.mp4", r"a\rpass.mp4"),
    "line break": ("a\nb.mp4", r"a\nb.mp4"),
    "right to left": ("a\u202e4pm.exe", r"a\u202e4pm.exe"),
    "bell": ("\a.mp4", r"\x07.mp4"),
}


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize(("name", "shown"), HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_names_are_printed_and_never_obeyed(tmp_path: Path, name: str, shown: str, tty: bool) -> None:
    warning = scored(f"s3://b/{name}", 50, decode_warnings=[f"odd: {name}"])
    plain = scored("s3://b/plain", 50, decode_warnings=["odd: plain"])
    text = printed(finished_run(str(tmp_path / "hostile"), [warning]), tty=tty)
    assert text.count(shown) == 2
    assert name == shown or name not in text
    usual = printed(finished_run(str(tmp_path / "usual"), [plain]), tty=tty)
    assert text.count("\x1b") == usual.count("\x1b")
    assert text.count("\n") == usual.count("\n")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_it_fits_80_columns_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    row = scored(
        "/v/überlänge-映画-and-a-long-name-besides.mp4", 50, decode_warnings=["stream_short: 60 of 100"]
    )
    text = printed(finished_run(str(tmp_path), [row]), width=80, encoding=encoding)
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("report: "))
    assert "stream_short" in text


def test_rows_with_one_file_name_show_where_they_are_and_no_secret(tmp_path: Path) -> None:
    uris = ("https://me:secret@host/a/v.mp4?token=hidden", "https://host/b/v.mp4?token=hidden")
    text = printed(finished_run(str(tmp_path), [scored(uri, 50) for uri in uris]))
    assert sorted(re.findall(r"^\S+/v\.mp4", text, re.MULTILINE)) == ["a/v.mp4", "b/v.mp4"]
    assert "secret" not in text
    assert "hidden" not in text


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        (["/up/a/v.mp4", "/up/b/v.mp4", "/up/b/w.mp4"], ["a/v.mp4", "b/v.mp4", "w.mp4"]),
        (["/x/a/v.mp4", "/y/a/v.mp4", "/x/b/v.mp4"], ["x/a/v.mp4", "y/a/v.mp4", "b/v.mp4"]),
        (["s3://one/v.mp4", "s3://two/v.mp4"], ["one/v.mp4", "two/v.mp4"]),
        (["s3://one/v.mp4", "gs://one/v.mp4"], ["s3://one/v.mp4", "gs://one/v.mp4"]),
        (["/v.mp4", "/up/v.mp4", "v.mp4"], ["/v.mp4", "up/v.mp4", "v.mp4"]),
        (["/up/v.mp4", "/up/v.mp4", "", ""], ["/up/v.mp4", "/up/v.mp4", "", ""]),
    ],
)
def test_names_have_as_many_folders_as_tell_them_apart(uris: list[str], names: list[str]) -> None:
    assert file_names(uris) == names


def no_run(directory: Path) -> str:
    directory.mkdir()
    return "run.json"


def interrupted_run(directory: Path) -> str:
    finished_run(str(directory), [scored("/v/a.mp4", 50)])
    (directory / "run.json").unlink()
    return "run.json"


def foreign_run(directory: Path) -> str:
    directory.mkdir()
    (directory / "run.json").write_text("[]")
    return "run.json"


def lost_file(directory: Path) -> str:
    finished_run(str(directory), [scored("/v/a.mp4", 50)])
    (directory / "report" / "report-0001-test-00000.parquet").unlink()
    return "is not there"


def damaged_file(directory: Path) -> str:
    finished_run(str(directory), [scored("/v/a.mp4", 50)])
    (directory / "report" / "report-0001-test-00000.parquet").write_bytes(b"PAR1")
    return "4 are there"


@pytest.mark.parametrize(
    "make",
    [no_run, interrupted_run, foreign_run, lost_file, damaged_file],
    ids=lambda f: f.__name__,
)
def test_what_is_no_finished_run_is_refused(
    tmp_path: Path, make: Callable[[Path], str], capfd: pytest.CaptureFixture[str]
) -> None:
    reason = make(tmp_path / "run")
    assert call("report", str(tmp_path / "run")) == (2 if make in {no_run, interrupted_run} else 1)
    complaint = capfd.readouterr().err
    assert str(tmp_path / "run") in complaint
    assert reason in complaint


@pytest.mark.slow
def test_an_unreachable_store_is_a_failure_of_the_run(silent_store: str) -> None:
    with pytest.raises(OutputError, match=silent_store):
        show_report(RunDirectory(silent_store), num_rows=20, console=Console())


def test_the_number_of_rows_must_be_positive(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(tmp_path), "--rows", "0") == 2
    assert "rows must be >= 1, got 0" in capfd.readouterr().err


def test_an_empty_report_is_no_error(tmp_path: Path) -> None:
    text = printed(finished_run(str(tmp_path)))
    assert "0 of 0 videos shown" in text
    assert text.endswith("report, finished 2 January 2026, 03:04\n")


LONG = "a_recording-of.the-long_and winding road_that.leads-to_your-door.mp4"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_words_are_not_broken_where_they_need_not_be(tmp_path: Path, width: int) -> None:
    rows = [
        scored(
            f"/v/{LONG}",
            50,
            video_id="0123456789ab",
            decode_warnings=["fallback: pyav failed, decord read it"],
        ),
        FAILED | {"uri": "/v/b.mp4", "video_id": "b", "error_code": "fetch_redirect_refused"},
        FAILED | {"uri": "/v/c.mp4", "video_id": "c", "error_code": "display_not_understood"},
    ]
    lines = printed(finished_run(str(tmp_path), rows), width=width).splitlines()
    table = [line for line in lines if not line.startswith("report: ")]
    assert max(map(len, table)) <= width
    found = " ".join(" ".join(table).split())
    for word in (
        "fetch_redirect_refused",
        "display_not_understood",
        "fallback:",
        "decord",
        "recording",
        "winding",
    ):
        assert word in found
    assert "verdict" in lines[0] + lines[1]


def test_why_a_video_failed_is_said_once_with_its_code_whole(tmp_path: Path) -> None:
    code = "display_not_understood"
    row = FAILED | {"uri": f"/v/{LONG}", "video_id": "0123456789ab", "error_code": code}
    row |= {
        "error_message": "a hand-made matrix",
        "decode_warnings": [f"{code}: a hand-made matrix", "odd: e"],
    }
    broken = FAILED | {"uri": "/v/b.mp4", "error_code": "not_a_video", "error_message": "no moov box"}
    text = " ".join(printed(finished_run(str(tmp_path), [row, broken]), width=80).split())
    table = text.partition(" videos shown")[0]
    assert [table.count(one) for one in (code, "matrix", "odd:", "no moov box")] == [1, 1, 1, 1]


def test_a_video_is_found_without_its_extension_or_guessed_and_its_clips_are_rounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        scored("/v/tokenflow_wolf.mp4", 50, video_id="aaaa", clip_scores=[0.1, 0.7654321]),
        scored("/v/b.mp4", 50, video_id="bbbb"),
    ]
    run = str(finished_run(str(tmp_path), rows).uri)
    assert call("report", run, "--video", "tokenflow_wolf") == 0
    assert "[0.1, 0.765432]" in capsys.readouterr().out
    assert call("report", run, "--video", "tokenflow_wolfe") == 2
    assert "got 'tokenflow_wolfe' (did you mean 'tokenflow_wolf.mp4'?)" in capsys.readouterr().err


def test_a_name_longer_than_the_terminal_is_broken_and_lost_nowhere(tmp_path: Path) -> None:
    name = "x" * 200
    text = printed(finished_run(str(tmp_path), [scored(f"/v/{name}", 50)]), width=80)
    assert max(len(line) for line in text.splitlines() if not line.startswith("report: ")) <= 80
    assert text.count("x") == 200


BY = [
    scored("s3://b/one/v.mp4", 50, video_id="aaaa1111"),
    scored("s3://b/two/v.mp4", 60, video_id="aaaa2222"),
    scored("s3://b/two/w.mp4?token=hidden", 70, video_id="v"),
    FAILED | {"uri": "s3://b/two/x.mp4", "video_id": "bbbb", "error_message": "no object there"},
    scored("https://me:word@host/one/y.mp4?token=hidden", 80, video_id="cccc1111"),
    scored("https://me:word@host/two/y.mp4?token=hidden", 81, video_id="cccc2222"),
    scored("s3://b/\u202efdp.\x1b[31mé映.mp4", 82, video_id="dddd1111"),
    scored("s3://b/\\u202efdp.mp4", 83, video_id="\u05d0\x07eeee1111"),
]


@pytest.mark.parametrize(
    ("video", "row"),
    [
        ("aaaa2222", 1),
        ("aaaa2", 1),
        ("s3://b/one/v.mp4", 0),
        ("one/v.mp4", 0),
        ("b/two/w.mp4", 2),
        ("two/y.mp4", 5),
        ("e/v.mp4", "got 'e/v.mp4'"),
        ("w.mp4", 2),
        ("s3://b/two/w.mp4", 2),
        ("v", 2),
        ("bbbb", 3),
        ("x.mp4", 3),
        ("https://host/two/y.mp4", 5),
        ("\u202efdp.\x1b[31mé映.mp4", 6),
        (r"\u202efdp.\x1b[31mé映.mp4", 6),
        (r"\u202efdp.\x1b[31m\xe9\u6620.mp4", 6),
        (r"s3://b/\u202efdp.\x1b[31mé映.mp4", 6),
        (r"\u202efdp.mp4", 7),
        (r"\u05d0\x07eeee", 7),
        ("aaaa", "which 2 have: one/v.mp4 (aaaa1111), two/v.mp4 (aaaa2222)"),
        ("v.mp4", "which 2 have"),
        ("b", 3),
        ("bbbc", "got 'bbbc'"),
        ("absent.mp4", "got 'absent.mp4'"),
    ],
)
def test_a_video_is_found_by_what_the_table_shows(
    tmp_path: Path, video: str, row: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(str(tmp_path), BY)
    code = call("report", str(tmp_path), "--video", video)
    out, err = capsys.readouterr()
    if isinstance(row, str):
        assert code == 2
        assert row in err.replace("\n", " ")
        return
    assert code == 0
    assert f"{BY[row]['score'] - 1:.6g}" in out if "score" in BY[row] else BY[row]["video_id"] in out
    if row == 3:
        assert "no object there" in out
    else:
        assert ["score_lower", str(BY[row]["score_lower"])] in [line.split() for line in out.splitlines()]


def test_every_name_that_a_short_table_shows_finds_its_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(str(tmp_path), BY)
    lines = printed(RunDirectory(str(tmp_path)), num_rows=2, width=140).splitlines()
    shown = [line.split()[0] for line in lines[3:] if not line.startswith(" ")][:2]
    assert shown == ["x.mp4", "one/v.mp4"]  # there is another v.mp4, which is not shown
    for name in shown:
        assert call("report", str(tmp_path), "--video", name) == 0
        assert name in capsys.readouterr().out


COPIES = [
    scored("/v/first.mp4", 50, video_id="aaaa1111"),
    scored("/v/again.mp4", 60, video_id="bbbb2222", near_copy_of="aaaa1111", near_copies=1),
    scored("/v/old.mp4", 70, video_id="cccc3333", near_copy_of="dddd4444eeee", near_copies=2),
    FAILED | {"uri": None, "video_id": None, "error_code": "row_incomplete"},
]


def test_near_copies_are_named_in_the_list_and_of_one_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = finished_run(str(tmp_path), COPIES)
    text = " ".join(printed(directory).split())
    assert "scored near copy of first.mp4" in text
    assert "scored near copy of dddd4444, of an earlier report" in text
    assert "2 near copies of earlier videos" in text
    assert call("report", str(tmp_path), "--video", "again.mp4") == 0
    assert re.search(r"near_copy_of +aaaa1111 *\n +first\.mp4", capsys.readouterr().out)
    assert "near cop" not in printed(finished_run(str(tmp_path), COPIES[:1]))


def test_a_row_without_a_uri_is_named_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(finished_run(str(tmp_path), COPIES))
    assert next(line.split()[:2] for line in text.splitlines() if "row_incomplete" in line) == ["row", "4"]
    assert call("report", str(tmp_path), "--video", "row 4") == 0
    assert "row_incomplete" in capsys.readouterr().out


def test_programs_get_json_and_spreadsheets_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(str(tmp_path), [*BY, scored("/v/=1+1.mp4", math.nan, video_id="=1+1")])
    assert call("report", str(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (found["rows"], found["kinds"]) == (9, {"scored": 8, "fetch_not_found": 1})
    assert [row["video_id"] for row in found["videos"]][:2] == ["bbbb", "aaaa1111"]
    assert call("report", str(tmp_path), "--csv", "--rows", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ",".join(f'"{name}"' for name in REPORT.names)
    assert [line.split(",")[0] for line in lines[1:]] == ['"bbbb"', '"aaaa1111"']
    assert call("report", str(tmp_path), "--csv") == 0
    assert '"\'=1+1"' in capsys.readouterr().out
    assert call("report", str(tmp_path), "--json", "--video", "w.mp4") == 0
    (row,) = json.loads(capsys.readouterr().out)["videos"]
    assert (row["video_id"], row["num_frames"]) == ("v", 100)


def test_programs_get_the_whole_row_but_for_embeddings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "video_id": "a",
        "score": 50.0,
        "score_sd": 1.5,
        "codec": "h264",
        "channel": "news",
        "fused": [0.5],
    }
    run = make_run(str(tmp_path), [row | {"clip_scores": [49.0, 51.0], "content_sha256": "ab"}])
    record = json.loads((tmp_path / "run.json").read_text())
    record["config"]["embeddings"] = {"features": ["fused"]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert call("report", run.uri, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["videos"]
    assert list(found) == [*REPORT.names, "channel"]
    assert (found["score_sd"], found["codec"], found["content_sha256"]) == (1.5, "h264", "ab")
    assert found["clip_scores"] == [49.0, 51.0]
    assert call("report", run.uri, "--csv") == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.endswith(',"channel"')
    assert line.endswith(',"news"')
    assert call("report", run.uri, "--video", "a", "--json") == 0
    assert json.loads(capsys.readouterr().out)["videos"][0]["fused"] == [0.5]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--json", "--csv"), "--json and --csv exclude each other"),
        (("--html", "{folder}/p.html", "--json"), "--html and --json exclude each other"),
        (("--group", "channel"), "--group is of the page"),
        (("--pictures", "0"), "--pictures is of the page"),
        (("--checkpoint", "x"), "--checkpoint is of the page"),
        (("--key-file", "x", "--video", "v"), "--key-file is of the page"),
        (("--rows", "3", "--video", "v"), "got 3"),
        (("--video", ""), "got ''"),
        (("--html", "s3://bucket/page.html"), "html must be a local file, got 's3://bucket/page.html'"),
        (("--html", "{folder}"), "which is a folder"),
        (("--html", "{folder}/absent/page.html"), "which is in no folder that exists"),
        (("--html", "{folder}/p.html", "--video", "absent"), "got 'absent'"),
    ],
)
def test_options_that_would_be_ignored_and_places_that_cannot_be_written_are_refused(
    tmp_path: Path, options: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(str(tmp_path / "run"), BY)
    given = [one.format(folder=tmp_path) for one in options]
    assert call("report", str(tmp_path / "run"), *given) == 2
    assert named in capsys.readouterr().err.replace("\n", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_report_of_one_video_says_video(tmp_path: Path) -> None:
    text = printed(make_run(str(tmp_path), [{"video_id": "v", "score": 50.0, "score_lower": 50.0}]))
    assert "1 of 1 video shown" in text
