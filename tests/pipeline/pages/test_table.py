"""The report is printed worst first, on any terminal, and no file name can do more than be printed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cli import call
from rich.console import Console

from operators.schema import REPORT
from pipeline.pages.table import show_report
from pipeline.runs.generations import write_report_file
from pipeline.runs.rundir import RunDirectory
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


def test_rows_come_worst_first_and_failures_last(place: str) -> None:
    first = [scored("s3://b/good.mp4", 90), FAILED | {"uri": "s3://b/gone.mp4"}, scored("s3://b/bad.mp4", 10)]
    text = printed(finished_run(place, first, [scored("s3://b/middle.mp4", 50)]))
    names = ("bad.mp4", "middle.mp4", "good.mp4", "gone.mp4")
    positions = [text.index(name) for name in names]
    assert positions == sorted(positions)
    assert "9.0  10.0 review" in text
    assert "fetch_not_found" in text
    assert "100 1280x720" in text
    assert "4 of 4 videos shown, worst first: 3 scored, 1 fetch_not_found" in text


def test_only_the_worst_rows_asked_for_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    rows = [scored(f"/v/{number}.mp4", number) for number in range(20, 60)] + [
        FAILED | {"uri": "/v/gone.mp4"}
    ]
    text = printed(finished_run(str(tmp_path), rows), num_rows=3)
    assert [name in text for name in ("20.mp4", "21.mp4", "22.mp4", "23.mp4", "gone.mp4")] == [True] * 3 + [
        False
    ] * 2
    assert "3 of 41 videos shown, worst first: 40 scored, 1 fetch_not_found" in text


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
    assert "https://host/a/v.mp4" in text
    assert "https://host/b/v.mp4" in text
    assert "secret" not in text
    assert "hidden" not in text


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
    assert call("report", str(tmp_path / "run")) == 1
    complaint = capfd.readouterr().err
    assert str(tmp_path / "run") in complaint
    assert reason in complaint


def test_an_unreachable_store_is_a_failure_of_the_run(silent_store: str) -> None:
    with pytest.raises(OutputError, match=silent_store):
        show_report(RunDirectory(silent_store), console=Console())


def test_the_number_of_rows_must_be_positive(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(tmp_path), "--rows", "0") == 2
    assert "rows must be >= 1, got 0" in capfd.readouterr().err


def test_an_empty_report_is_no_error(tmp_path: Path) -> None:
    assert "0 of 0 videos shown" in printed(finished_run(str(tmp_path)))
