"""The page says what was scored, stands alone, and nothing in a file name is more than a name."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from cli import call
from reportpage import (
    DAMAGED,
    HOSTILE,
    ROWS,
    SCRIPT,
    listed,
    page,
    run,
    section,
)

MANIFEST = "s3://uploads/2026-11-27/manifest.csv"


def test_the_title_says_what_was_scored_and_when_in_words(tmp_path: Path) -> None:
    record = {"config": {"manifest": MANIFEST}, "finished_at": "2026-11-27T23:12:10.022734+00:00"}
    text = page(run(tmp_path), record=record)
    assert "<title>2026-11-27/manifest.csv: 5 of 7 videos scored - SecureVQA</title>" in text
    assert "27 November 2026, 23:12 UTC</time>" in text
    assert f'Videos from</dt><dd><bdi dir="ltr">{MANIFEST}' in text
    clips = {"config": {"manifest": "/v/a.mp4", "more_videos": ["/v/b.mp4", "/v/c.mp4"]}}
    assert "<title>a.mp4 and 2 more: 5 of 7" in page(run(tmp_path), record=clips)
    assert "<title>run: 5 of 7" in page(run(tmp_path)).replace(tmp_path.name + "/", "")


def test_a_report_without_a_score_has_a_page_too(tmp_path: Path) -> None:
    text = page(run(tmp_path, ROWS[-2:]), group=None)
    assert "No video was scored." in text
    assert "by channel" not in text
    assert section(text, "worst") == ""
    assert "There are none." in page(run(tmp_path, []), group=None)


def test_names_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    text = page(run(tmp_path, [*ROWS, DAMAGED | {"decode_warnings": [HOSTILE]}]))
    assert SCRIPT not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;pwned = 1&lt;/script&gt;" in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    assert "http://www.w3.org" not in text.split("<svg")[0]
    assert any("<script>pwned" in row["folder"] for row in listed(text))


def test_only_the_page_s_own_script_may_run(tmp_path: Path) -> None:
    text = page(run(tmp_path))
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0]
    (own,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    assert text.count("<script") == 2


def test_secrets_in_addresses_are_not_shown(tmp_path: Path) -> None:
    row = ROWS[0] | {"uri": "https://me:word@host/v.mp4?X-Amz-Signature=s3cr3t"}
    text = page(run(tmp_path, [row]), group="uri")
    assert "https://host/v.mp4" in text
    assert "s3cr3t" not in text
    assert "word@" not in text


@pytest.mark.slow
def test_the_command_shows_frames_of_the_bytes_that_were_scored_alone(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [videos[name] for name in ("bikes_h264.mp4", "bunny_h264.mp4", "text.mp4")]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    digests[1] = "0" * 64  # it was another file then
    rows = [
        row | {"uri": str(path), "content_sha256": digest}
        for row, path, digest in zip(
            ROWS, [*paths, tmp_path / "gone.mp4"], [*digests, "1" * 64], strict=False
        )
    ]
    run(tmp_path, rows)
    target = tmp_path / "out.html"
    assert call("report", str(tmp_path / "run"), "--html", str(target), "--group", "channel") == 0
    assert "out.html" in capsys.readouterr().out
    text = target.read_text()
    assert text.count("data:image/jpeg") == 1
    assert "A frame of bikes_h264.mp4" in text
    shown = section(text, "worst")
    for reason in ("the file is not the one that was scored", "not_a_video", "fetch_not_found"):
        assert f"no frame: {reason}" in shown


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (("--group", "chanel"), 2, "got 'chanel' (did you mean 'channel'?)"),
        (("--pictures", "-1"), 2, "-1"),
        (("--pictures", "0", "--video", "v6"), 2, "v6"),
        (("--pictures", "0", "--video", "failed.mp4"), 2, "got 'failed.mp4' (not_a_video)"),
        (("--pictures", "0", "--video", "v5.mp4"), 2, "secure-vqa-compact-0123456789abcdef"),
    ],
)
def test_a_wrong_call_exits_2_and_names_the_value(
    options: tuple[str, ...], code: int, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, [ROWS[0] | {"content_sha256": "0" * 64}, *ROWS[1:]])
    target = tmp_path / "out.html"
    assert call("report", str(tmp_path / "run"), "--html", str(target), *options) == code
    assert named in capsys.readouterr().err.replace("\n", " ")
    assert not target.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    target = tmp_path / "absent" / "out.html"
    assert call("report", str(tmp_path / "run"), "--html", str(target), "--pictures", "0") == 2
    assert "absent/out.html" in capsys.readouterr().err.replace("\n", "")
