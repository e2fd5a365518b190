"""Each section of a page shows what it promises, of few videos and of many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reportpage import (
    DAMAGED,
    ODD,
    ROWS,
    WARNINGS,
    close_up,
    many,
    page,
    run,
    section,
)

from pipeline.pages.page import PAGE_COLUMNS
from pipeline.pages.sections import shown_videos
from pipeline.runs.finished import read_finished_run


def test_counts_are_tiles(tmp_path: Path) -> None:
    text = section(page(run(tmp_path, [*ROWS, DAMAGED, ODD])), "counts")
    for tile in (
        "videos 9 7 scored",
        "pass 3",
        "review 4 2 failed, 1 in doubt",
        "reject 2",
        "failed 2",
        "damaged or odd 2 1 in doubt",
    ):
        assert tile in text
    assert "pending" not in text
    left = {"video_id": "left", "status": "pending", "score": 0.0}
    assert "pending 1" in section(page(run(tmp_path, [*ROWS, left])), "counts")


def test_every_warning_of_every_damaged_video_is_shown_what_is_in_doubt_first(tmp_path: Path) -> None:
    refused = ROWS[5] | {"video_id": "no", "decode_warnings": ["display_not_understood: alpha"]}
    text = section(page(run(tmp_path, [*ROWS, ODD, DAMAGED, refused])), "damaged")
    assert (
        "stream_short 1 1 interlaced 2 0 display_not_understood 1 0"
        in " ".join(re.findall(r"(?:stream_short|interlaced|display_not_understood) \d \d", text))
        or "stream_short 1 1" in text
    )
    rows = text.partition("One by one")[2]
    assert rows.index("short.mp4") < rows.index("odd.mp4")
    assert f"{WARNINGS[0]} in doubt {WARNINGS[1]}" in rows
    assert "display_not_understood: alpha" in rows
    assert section(page(run(tmp_path)), "damaged") == ""


@pytest.mark.parametrize(
    ("count", "heading"),
    [
        (20, "<details open><summary>One by one"),
        (21, "<details><summary>One by one"),
        (250, "<details><summary>The first 100 of 250"),
    ],
)
def test_long_lists_are_folded(tmp_path: Path, count: int, heading: str) -> None:
    rows = [ROWS[5] | {"video_id": f"f{number}"} for number in range(count)]
    text = page(run(tmp_path, rows), group=None)
    assert heading in " ".join(text.split()).replace("<details >", "<details>")
    assert section(text, "failed").count(".mp4") == min(count, 100)


def test_the_worst_and_the_best_are_shown_and_no_video_twice(tmp_path: Path) -> None:
    _, report = read_finished_run(run(tmp_path), columns=PAGE_COLUMNS)
    low, high = shown_videos(report, 2)
    assert [row["video_id"] for row in low] == ["v5", "v20"]
    assert [row["video_id"] for row in high] == ["v95", "v70"]
    for count in (3, 4, 8):
        low, high = shown_videos(report, count)
        assert [row["video_id"] for row in low] == ["v5", "v20", "v45", "v70", "v95"]
        assert high == []
    assert shown_videos(report, 0) == ([], [])


@pytest.mark.parametrize(
    ("num_scored", "count", "titles"),
    [
        (1, 8, ["The only one that was scored"]),
        (4, 8, ["All 4 that were scored, worst first"]),
        (4, 2, ["The worst", "The best"]),
        (5, 2, ["The worst", "The best"]),
        (5, 0, []),
    ],
)
def test_few_videos_are_all_shown_once(
    tmp_path: Path, num_scored: int, count: int, titles: list[str]
) -> None:
    text = page(run(tmp_path, ROWS[:num_scored]), count=count)
    assert "No video was scored" not in text
    assert re.findall(r"<h3>(The .*?|All .*?)</h3>", text) == titles
    assert section(text, "worst").count(".mp4") == min(num_scored, 2 * count)


def test_reasons_and_scores_are_on_the_page(tmp_path: Path) -> None:
    text = page(run(tmp_path), record={"config": {"thresholds": {"pass_at": 61.5, "reject_below": 40.0}}})
    assert "not_a_video 1 no allowed container recognises the bytes" in section(text, "failed")
    assert "Lower bounds from 5.0 to 95.0, half below 45.0." in text
    assert "reject below 40, pass from 61.5" in section(text, "scores")
    assert "channel 0 0 1 0 1" in " ".join(section(text, "groups").split())
    assert "a tenth below 9.9, half below 49.5, a tenth above 89.1" in page(run(tmp_path, many(101)))


def test_the_legend_says_what_the_colours_stand_for(tmp_path: Path) -> None:
    text = section(page(run(tmp_path), close_up=close_up()), "close-look")
    assert "worse 30 40 50 60 70 better" in text
    assert "Close look at v95.mp4" in text


def test_a_close_look_says_that_the_report_counts_and_whether_its_score_is_made_of_these_moments(
    tmp_path: Path,
) -> None:
    directory = run(tmp_path, [*ROWS[:4], ROWS[4] | {"score": 96.4}])
    own = section(page(directory, close_up=close_up()), "close-look")
    assert "What counts is the report's row : score 96.4, lower bound 95.0, pass ." in own
    assert "made of the 20 moments below, of all 4 draws." in own
    other = close_up(is_of_report=False)
    text = section(page(directory, close_up=other), "close-look")
    assert "score 96.4, lower bound 95.0, pass . The 20 moments below are of other draws" in text
    assert f"their mean, {other.scores.mean():.1f}, may differ from it by chance" in text


def test_one_video_is_one_and_thousands_have_their_commas(tmp_path: Path) -> None:
    text = page(run(tmp_path, ROWS[:1]))
    assert "1 of 1 video scored" in text
    assert "video 1 1 scored" in section(text, "counts")
    assert "The lower bound of the one video is 5.0." in section(text, "scores")
    assert "1,200 of 1,200 videos scored</h1>" in (large := page(run(tmp_path, many(1200))))
    assert "videos 1,200 1,200 scored" in section(large, "counts")


def test_what_nobody_measured_is_not_among_the_slowest(tmp_path: Path) -> None:
    text = page(run(tmp_path, ROWS))
    shown = section(text, "slowest")
    assert "v95.mp4 v95 95.00 95.00 v70.mp4" in shown  # neither fetched nor decoded, as far as is known
    assert "failed.mp4" not in shown
    empty = page(
        run(tmp_path, ROWS[5:6]), record={"config": {"thresholds": {"pass_at": 60, "reject_below": 40}}}
    )
    assert 'id="slowest"' not in empty
    assert "#slowest" not in empty  # no link to it
    assert "dotted lines" not in empty


def test_groups_of_the_same_size_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ("b", "channel 10", "channel 9", "a", "2")
    rows = [ROWS[0] | {"video_id": name, "channel": name} for name in names]
    shown = section(page(run(tmp_path, rows)), "groups")
    assert re.findall(r"(2|a|b|channel \d+) 0 0 1 1", shown) == ["2", "a", "b", "channel 9", "channel 10"]


def test_near_copies_have_a_section_where_there_are_any(tmp_path: Path) -> None:
    copies = [
        ROWS[1] | {"near_copy_of": "v5", "near_copies": 3, "near_copy_best_score": 5.0},
        ROWS[2] | {"near_copy_of": "elsewhere", "near_copies": 12},
    ]
    text = page(run(tmp_path, [ROWS[0], *copies]))
    found = section(text, "copies")
    assert "2 of earlier videos" in found
    assert found.index("v45.mp4 v45 elsewhere 12") < found.index("v20.mp4 v20 v5.mp4 v5 3 20.0 5.0")
    assert '<a href="#copies">' in text
    assert section(page(run(tmp_path)), "copies") == ""


def test_rows_and_groups_without_a_name_are_called_something(tmp_path: Path) -> None:
    text = page(run(tmp_path, [*ROWS[:2], ROWS[5] | {"uri": None, "channel": ""}]))
    assert "row 3" in section(text, "failed")
    assert "(blank)" in section(text, "groups")
