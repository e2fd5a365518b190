"""The page shows a report in any browser, alone, and nothing in a file name is more than a name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import BROWSERS, inspect_page
from cli import call
from matplotlib.image import imread
from programs import needs
from runs import make_run

from pipeline.pages.close_up import CloseUp
from pipeline.pages.page import PAGE_COLUMNS, render_page, shown_videos
from pipeline.pages.plots import group_svg, histogram_svg, map_png
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory

SCRIPT = "<script>pwned = 1</script>"
HOSTILE = f"{SCRIPT}\"'><img src=x onerror='pwned=2'>$x^2$ \u202e\x1b[31m&amp;"
ROWS: list[dict[str, Any]] = [
    {"video_id": f"v{number}", "score": float(number), "score_lower": float(number), "verdict": verdict}
    | {"channel": f"channel {number % 3}", "model_seconds": float(number), "width": 640, "height": 360}
    for number, verdict in ((5, "reject"), (20, "reject"), (45, "review"), (70, "pass"), (95, "pass"))
] + [
    {"video_id": "failed", "error_code": "not_a_video", "error_message": "no container", "channel": None},
    {"video_id": "evil", "error_code": "decode_failed", "error_message": HOSTILE, "channel": HOSTILE}
    | {"uri": f"/videos/{HOSTILE}.mp4"},
]


def run(folder: Path, rows: list[dict[str, Any]] = ROWS) -> RunDirectory:
    return make_run(str(folder / "run"), rows)


def page(directory: RunDirectory, *, group: str | None = "channel", **options: Any) -> str:
    record, report = read_finished_run(directory, columns=None)
    settings: dict[str, Any] = {"count": 2, "pictures": {}, "close_up": None} | options
    return render_page(record, report, uri=directory.shown(), group_column=group, **settings)


def close_up() -> CloseUp:
    rng = np.random.default_rng(0)
    return CloseUp(
        video_id="v95",
        words="another draw",
        seconds=np.linspace(0, 9, 20),
        scores=rng.uniform(0, 100, 20),
        local_scores=rng.uniform(0, 100, (20, 7, 7)),
        pictures=rng.integers(0, 255, (20, 16, 16, 3), dtype=np.uint8),
    )


def test_the_worst_and_the_best_are_shown_and_no_video_twice(tmp_path: Path) -> None:
    _, report = read_finished_run(run(tmp_path), columns=PAGE_COLUMNS)
    low, high = shown_videos(report, 2)
    assert [row["video_id"] for row in low] == ["v5", "v20"]
    assert [row["video_id"] for row in high] == ["v95", "v70"]
    low, high = shown_videos(report, 4)
    assert [row["video_id"] for row in low + high] == ["v5", "v20", "v45", "v70", "v95"]
    assert shown_videos(report, 0) == ([], [])


def test_names_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    text = page(run(tmp_path))
    assert SCRIPT not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;pwned = 1&lt;/script&gt;" in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert "http://www.w3.org" not in text.split("<svg")[0]


def test_counts_and_reasons_are_on_the_page(tmp_path: Path) -> None:
    text = page(run(tmp_path))
    assert "error_code not_a_video" in text
    assert "no allowed container recognises the bytes" in text
    assert "a tenth below 11.0, half below 45.0, a tenth above 85.0" in text
    assert "2 of 2 shown" in text
    assert "channel 0" in text


def test_a_report_without_a_score_has_a_page_too(tmp_path: Path) -> None:
    text = page(run(tmp_path, ROWS[-2:]), group=None)
    assert "No video was scored." in text
    assert "by channel" not in text


def test_secrets_in_addresses_are_not_shown(tmp_path: Path) -> None:
    row = ROWS[0] | {"uri": "https://me:word@host/v.mp4?X-Amz-Signature=s3cr3t"}
    text = page(run(tmp_path, [row]))
    assert "https://host/v.mp4" in text
    assert "s3cr3t" not in text
    assert "word@" not in text


def test_drawings_take_the_page_s_colour_and_hold_their_text_as_text() -> None:
    drawing = histogram_svg({"pass": np.array([70.0, 80.0])}, marks=[40, 60])
    assert drawing.startswith("<svg")
    assert "currentColor" in drawing
    assert "score_lower" in drawing
    assert drawing == histogram_svg({"pass": np.array([70.0, 80.0])}, marks=[40, 60])
    assert "a &lt;b&gt; $x^2$" in group_svg([("a <b> $x^2$", {"pass": 1})])


def test_a_map_has_a_pixel_a_place_from_red_to_green() -> None:
    pixels = imread(io.BytesIO(map_png(np.array([[0.0, 100.0]]))))
    assert pixels.shape == (1, 2, 4)
    assert pixels[0, 0, 0] > pixels[0, 0, 1]
    assert pixels[0, 1, 1] > pixels[0, 1, 0]
    assert 0 < pixels[0, 0, 3] < 1


@pytest.mark.slow
def test_the_command_writes_a_page_with_a_frame_of_each_video(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [ROWS[0] | {"uri": str(videos["bikes_h264.mp4"])}, ROWS[3] | {"uri": str(videos["text.mp4"])}]
    run(tmp_path, rows)
    target = tmp_path / "out.html"
    assert call("report", str(tmp_path / "run"), "--html", str(target), "--group", "channel") == 0
    assert "out.html" in capsys.readouterr().out
    assert (
        target.read_text().count("data:image/jpeg") == 1
    )  # the other is no video, and a card without a frame


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--group", "chanel"), "chanel"),
        (("--pictures", "-1"), "-1"),
        (("--pictures", "0", "--video", "v6"), "v6"),
        (("--pictures", "0", "--video", "v5"), "secure-vqa-compact-0123456789abcdef"),
    ],
)
def test_a_wrong_call_exits_2_and_names_the_value(
    options: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    target = tmp_path / "out.html"
    assert call("report", str(tmp_path / "run"), "--html", str(target), *options) == 2
    assert named in capsys.readouterr().err
    assert not target.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    target = tmp_path / "absent" / "out.html"
    assert call("report", str(tmp_path / "run"), "--html", str(target), "--pictures", "0") == 2
    assert "absent/out.html" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.slow
@needs(*BROWSERS)
def test_a_browser_shows_it_alone_by_keyboard_in_the_dark_and_on_a_phone(tmp_path: Path) -> None:
    picture = np.full((8, 8, 3), 128, np.uint8)
    target = tmp_path / "page.html"
    target.write_text(page(run(tmp_path), pictures={"v5": picture, "v95": picture}, close_up=close_up()))
    phone = inspect_page(target, tmp_path, width=360)
    assert phone["width"] <= 360
    assert (phone["scripts"], phone["pwned"], phone["remote"]) == (0, None, 0)
    assert phone["images"] == phone["loaded"] == 2 + 2 * 12
    assert phone["drawings"] == 3
    assert phone["unlabelled"] == 0
    assert phone["focused"]
    assert SCRIPT in phone["text"]
    dark = inspect_page(target, tmp_path, dark=True)
    assert dark["background"] == "rgb(20, 23, 26)"
    assert dark["color"] != phone["color"]
