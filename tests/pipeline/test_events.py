"""What commands say while they work goes to stderr: what is done now, how far it is, and nothing if asked."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from cli import call, wait_until
from rich.console import Console

from pipeline import events as shown_events
from pipeline.commands.terminal import events as spoken
from pipeline.events import Count, Events, duration, progress_line
from pipeline.runs.spool import Spool
from pipeline.scoring import score as scoring
from pipeline.scoring import shown
from pipeline.scoring.shown import GaugeHere, names_in, shown_progress, tell_finished


def heard(*, terminal: bool = False) -> tuple[Events, io.StringIO]:
    sink = io.StringIO()
    return Events(Console(file=sink, force_terminal=terminal, width=80, color_system=None)), sink


def test_what_is_being_done_is_a_line_in_a_log_and_gone_from_a_terminal() -> None:
    events, sink = heard()
    with events.doing("starting Ray"):
        pass
    assert sink.getvalue() == "starting Ray\n"
    events, sink = heard(terminal=True)
    with events.doing("loading"):
        with events.doing("starting Ray"):
            pass
        with events.aside():  # a result takes its place for a moment
            pass
    assert "loading" in sink.getvalue()
    assert sink.getvalue().endswith("\x1b[2K")  # erased


# Ray's session begins while a spinner turns and ends long after it.
AT_A_TERMINAL = """
import contextlib
from pipeline.commands.terminal import events
from pipeline.session import _native_messages_aside
with contextlib.ExitStack() as session:
    with events.doing("starting Ray"):
        session.enter_context(_native_messages_aside())
    events.note("said in the session")
events.note("said after it")
"""


def test_a_terminal_is_told_what_goes_on_in_a_session_that_began_under_a_spinner() -> None:
    ours, terminal = pty.openpty()
    given = {"stdin": subprocess.DEVNULL, "stdout": terminal, "stderr": terminal}
    with subprocess.Popen([sys.executable, "-c", AT_A_TERMINAL], **given) as driver:  # type: ignore[call-overload]
        os.close(terminal)
        said = b""
        with contextlib.suppress(OSError):  # the terminal's last holder has ended
            while piece := os.read(ours, 4096):
                said += piece
        os.close(ours)
    assert driver.returncode == 0, said
    for line in (b"starting Ray", b"said in the session", b"said after it"):
        assert line in said


def test_a_line_of_progress_has_count_failures_rate_and_time_left() -> None:
    count = Count(total=6, done=2, failed=1, seconds=4.0)
    assert progress_line("videos", count) == "videos: 2 of 6, 1 failed, 0.50/s, 8 s left"
    assert progress_line("videos", Count(total=6, done=0, failed=0, seconds=9.0)) == "videos: 0 of 6"
    assert progress_line("videos", Count(total=2, done=2, failed=0, seconds=60.0)).endswith("of 2, 2.0/min")
    assert [duration(seconds) for seconds in (8, 100, 11_100)] == ["8 s", "2 min", "3 h 05 min"]


def test_a_log_says_how_far_a_piece_of_work_is_though_none_of_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown_events, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(shown_events, "LOG_SECONDS", 0.05)
    events, sink = heard()
    with events.counting("views", total=2) as count:
        wait_until(lambda: sink.getvalue().count("views: 0 of 2\n") >= 2, seconds=10)
        count(2, 0)
        time.sleep(0.2)
    assert sink.getvalue().count("views: 2 of 2") == 1  # all is said


def test_failures_are_said_as_they_come_and_all_others_to_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {"uri": "/day/a.mp4", "status": "scored", "score": 61.23, "verdict": "pass"},
        {"uri": "s3://day/b.mp4?sig=secret", "status": "failed", "error_code": "not_a_video"},
    ]
    uris = [*(row["uri"] for row in rows), "s3://night/b.mp4"]
    manifest = Spool(tmp_path / "manifest", [pa.table({"uri": pa.array(uris)})])
    names = names_in(manifest)  # as tables call them: two have one name
    for is_verbose, said in ((False, ""), (True, "a.mp4: 61.2, pass\n")):
        events, sink = heard()
        events.is_verbose = is_verbose
        tell_finished(rows, events, names)
        assert sink.getvalue() == f"{said}failed: day/b.mp4, not_a_video\n"
    monkeypatch.setattr(shown_events, "LOG_SECONDS", 0.0)
    events, sink = heard()
    gauge = GaugeHere(total=2)
    with shown_progress(gauge, run_id="r", total=2, events=events, names=names):
        gauge.rows += rows
    assert sink.getvalue().startswith("failed: day/b.mp4, not_a_video\n")
    monkeypatch.setattr(shown, "MOST_NAMES", 2)
    assert names_in(manifest) == {}
    events, sink = heard()
    tell_finished(rows, events, {})
    assert sink.getvalue() == "failed: s3://day/b.mp4, not_a_video\n"
    assert (gauge.read().total, gauge.read().done, gauge.read().failed) == (2, 2, 1)


@pytest.mark.slow
def test_a_quiet_command_says_its_result_alone_and_both_exclude_each_other(
    tmp_path: Path,
    videos: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(scoring, "runs_here", lambda *_: True)
    clip = str(videos["bikes_h264.mp4"])
    assert call("score", clip, "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("bikes_h264.mp4: ")
    assert call("score", clip, "--output", str(tmp_path / "run"), "--seed", "0", "--verbose") == 0
    said = capsys.readouterr()
    assert "without Ray" in said.err
    assert "bikes_h264.mp4: " in said.err
    assert "loading" not in said.out
    assert call("models", "-q", "-v") == 2
    assert "exclude each other" in capsys.readouterr().err
    assert call("models") == 0
    assert not spoken.console.quiet
