"""Makes pages of reports, with rows of every kind, and reads what they show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from runs import make_run

from pipeline.pages.close_up import CloseUp
from pipeline.pages.page import render_page
from pipeline.pages.thumbnails import Thumbnail
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory

__all__ = [
    "DAMAGED",
    "HOSTILE",
    "ODD",
    "PICTURE",
    "ROWS",
    "SCRIPT",
    "WARNINGS",
    "close_up",
    "listed",
    "many",
    "page",
    "run",
    "section",
    "written",
]

SCRIPT = "<script>pwned = 1</script>"
HOSTILE = f"{SCRIPT}\"'><img src=x onerror='pwned=2'>$x^2$ \u202e\x1b[31m&amp;"
WARNINGS = ["stream_short: 51 of 248 declared frames are present", "interlaced: fields are shown as frames"]
ROWS: list[dict[str, Any]] = [
    {"video_id": f"v{number}", "score": float(number), "score_lower": float(number), "verdict": verdict}
    | {"channel": f"channel {number % 3}", "model_seconds": float(number), "width": 640, "height": 360}
    for number, verdict in ((5, "reject"), (20, "reject"), (45, "review"), (70, "pass"), (95, "pass"))
] + [
    {"video_id": "failed", "error_code": "not_a_video", "error_message": "no container", "channel": None},
    {"video_id": "evil", "error_code": "decode_failed", "error_message": HOSTILE, "channel": HOSTILE}
    | {"uri": f"/videos/{HOSTILE}.mp4"},
]
DAMAGED = ROWS[3] | {"video_id": "short", "verdict": "review", "decode_warnings": WARNINGS}
ODD = ROWS[3] | {"video_id": "odd", "score_lower": 69.0, "decode_warnings": WARNINGS[1:]}
PICTURE = Thumbnail(pixels=np.full((8, 8, 3), 128, np.uint8))


def run(folder: Path, rows: list[dict[str, Any]] = ROWS) -> RunDirectory:
    return make_run(str(folder / "run"), rows)


def page(directory: RunDirectory, *, group: str | None = "channel", **options: Any) -> str:
    record, report = read_finished_run(directory, columns=None)
    record |= options.pop("record", {})
    settings: dict[str, Any] = {"count": 2, "thumbnails": {}, "close_up": None} | options
    return render_page(record, report, uri=directory.shown(), group_column=group, **settings)


def close_up(video_id: str = "v95", *, is_of_report: bool = True) -> CloseUp:
    rng = np.random.default_rng(0)
    return CloseUp(
        video_id=video_id,
        num_draws=4,
        is_of_report=is_of_report,
        seconds=np.linspace(0, 9, 20),
        scores=rng.uniform(0, 100, 20),
        local_scores=rng.uniform(31, 69, (20, 7, 7)),
        pictures=rng.integers(0, 255, (20, 16, 16, 3), dtype=np.uint8),
    )


def many(count: int) -> list[dict[str, Any]]:
    return [
        ROWS[0]
        | {"video_id": f"{number:08d}", "score_lower": number / count * 100, "uri": f"s3://up/{number}.mp4"}
        for number in range(count)
    ]


def section(text: str, name: str) -> str:
    """Return what a reader is shown of a section, without marks."""
    found = re.search(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    return "" if found is None else " ".join(re.sub(r"<[^>]*>", " ", found[0].replace("<wbr>", "")).split())


def listed(text: str) -> list[dict[str, Any]]:
    """Return the rows that the list's script is given."""
    data = json.loads(re.findall(r'<script type="application/json" id="rows">(.*?)</script>', text)[0])
    return [{name: row[place] for name, place in data["at"].items()} for row in data["rows"]]


def written(folder: Path, **options: Any) -> Path:
    """Write a page with all that one can have."""
    rows = [*ROWS, DAMAGED, ODD]
    frames = {"v5": PICTURE, "v95": PICTURE}
    settings: dict[str, Any] = {"thumbnails": frames, "close_up": close_up()} | options
    target = folder / "page.html"
    target.write_text(page(run(folder, rows), **settings))
    return target
