"""The list of all videos has every one, and sorts and filters them without a server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from browser import BROWSERS, inspect_page
from programs import needs
from reportpage import (
    DAMAGED,
    ODD,
    ROWS,
    WARNINGS,
    listed,
    many,
    page,
    run,
    section,
)

from pipeline.pages import listing


def test_the_list_has_every_video_and_shows_the_first_without_scripts(tmp_path: Path) -> None:
    rows = [*many(130), ROWS[5], DAMAGED | {"score_lower": 99.9}]
    text = page(run(tmp_path, rows))
    found = listed(text)
    assert len(found) == len(rows)
    assert [row["name"] for row in found[:3]] == ["failed.mp4", "0.mp4", "1.mp4"]
    assert found[1]["folder"] == "s3://up/"
    assert found[-1] | {"warnings": WARNINGS, "in_doubt": True, "lower": 99.9} == found[-1]
    shown = section(text, "videos")
    assert shown.count(".mp4") == listing.PAGE_ROWS
    assert "The first 50 are shown." in shown


def test_the_largest_list_says_what_it_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LISTED", 100)
    text = page(run(tmp_path, many(1200)))
    assert len(listed(text)) == 100
    assert "The 100 that failed or are the worst of 1,200" in section(text, "videos")


def test_a_page_of_two_thousand_videos_is_small(tmp_path: Path) -> None:
    rows = [
        row
        | {
            "video_id": hashlib.sha256(row["video_id"].encode()).hexdigest(),
            "uri": f"s3://a-bucket-of-uploads/2026-11-27/{row['video_id']}.mp4",
        }
        for row in many(2000)
    ]
    assert len(page(run(tmp_path, rows)).encode()) < 600_000


USE = """
const section = page.getElementById("videos"), form = section.querySelector("form");
const rows = () => [...section.querySelectorAll("tbody tr")];
const names = () => rows().map(row => row.querySelector(".name").textContent);
const status = () => section.querySelector("[role=status]").textContent;
const heading = label => [...section.querySelectorAll("th button")].find(one => one.textContent === label);
const sort = label => heading(label).click();
const search = text => { form.elements.text.value = text; form.dispatchEvent(new view.Event("input")); };
const show = text => { form.elements.show.value = text; form.dispatchEvent(new view.Event("input")); };
"""


@pytest.mark.slow
@needs(*BROWSERS)
def test_the_list_sorts_filters_and_turns_pages_without_a_server(tmp_path: Path) -> None:
    act = """
    const found = { start: [names().length, status()] };
    sort("lower bound"); found.up = names().slice(0, 2).concat(names().slice(-1));
    sort("lower bound"); found.down = names().slice(0, 2);
    found.sorted = heading("lower bound").parentElement.ariaSort;
    found.unsorted = section.querySelectorAll("th[aria-sort=none]").length;
    section.scrollIntoView = () => { found.turned = status(); };
    section.querySelector("button[name=next]").click();
    section.querySelector("button[name=next]").click();
    found.last = [names().slice(-1)[0], status(), section.querySelector("button[name=next]").disabled];
    search("UP/12 .mp4"); found.search = [names().length, status()];
    search("no such"); found.nothing = [names().length, status()];
    search(""); show("failed"); found.failed = names();
    show("in doubt"); found.doubt = names();
    show("warning interlaced"); found.interlaced = names().sort();
    show("not_a_video"); found.code = names();
    page.querySelector(".tiles a[data-show=warnings]").click(); found.tile = names().sort();
    show(""); found.all = names().length;
    return found;
    """
    target = tmp_path / "page.html"
    target.write_text(page(run(tmp_path, [*many(130), ROWS[5], DAMAGED, ODD])))
    found = inspect_page(target, tmp_path, act=USE + act)["found"]
    assert found == {
        "start": [50, "1 to 50 of 133"],
        "up": ["0.mp4", "1.mp4", "49.mp4"],
        "down": ["129.mp4", "128.mp4"],
        "sorted": "descending",
        "unsorted": 8,
        "turned": "101 to 133 of 133",  # it scrolls to the beginning of the list
        "last": ["failed.mp4", "101 to 133 of 133", True],  # what has no score goes last, whichever way
        "search": [11, "1 to 11 of 11, filtered from 133"],
        "nothing": [0, "none of 0, filtered from 133"],
        "failed": ["failed.mp4"],
        "doubt": ["short.mp4"],
        "interlaced": ["odd.mp4", "short.mp4"],
        "code": ["failed.mp4"],
        "tile": ["odd.mp4", "short.mp4"],
        "all": 50,
    }


@pytest.mark.slow
@needs(*BROWSERS)
def test_hostile_names_stay_names_however_the_list_is_used(tmp_path: Path) -> None:
    names = [
        "</script><script>pwned = 3</script>",
        "<!--<script>",
        "<img src=x onerror=pwned=4>",
        "\u202efdp",
        "x" * 300,
        "\u05e9\u05dc\u05d5\u05dd 12",
        "Z\u0351\u036b\u0343\u036a" * 20,
        "]]>&amp;{{7*7}}${1}",
    ]
    rows = [
        row
        | {"video_id": f"id{number}", "uri": f"/videos/{name}.mp4", "channel": name}
        | {"decode_warnings": [f"damaged_frames: {name}"]}
        for number, (name, row) in enumerate(zip(names * 2, [*many(8), *many(8)], strict=True))
    ]
    rows[8:] = [
        ROWS[5]
        | {
            "video_id": f"f{row['video_id']}",
            "uri": row["uri"],
            "channel": row["channel"],
            "error_message": row["uri"],
        }
        for row in rows[8:]
    ]
    act = """
    for (const button of section.querySelectorAll("th button")) { button.click(); button.click(); }
    search("script"); const scripts = names().length; search("");
    const reach = [...page.querySelectorAll("main *")]
      .filter(one => one.checkVisibility() && !one.closest("svg, .scroll"))
      .filter(one => one.getBoundingClientRect().right > view.innerWidth + 1);
    let made = "HTML";
    try { page.querySelector("main").innerHTML = "<p>"; } catch (error) { made = error.name; }
    const inserted = page.querySelectorAll("main img, main script").length;
    return { scripts, made, inserted, reach: reach.length, names: names() };
    """
    target = tmp_path / "page.html"
    target.write_text(page(run(tmp_path, rows)))
    for width in (390, 1280):
        seen = inspect_page(target, tmp_path, width=width, act=USE + act)
        assert (seen["pwned"], seen["scripts"], seen["width"] <= width) == (None, 2, True)
        found = seen["found"]
        assert (found["made"], found["reach"], found["inserted"]) == ("TypeError", 0, 0)
        assert found["scripts"] == 4
        assert "/videos/<img src=x onerror=pwned=4>.mp4" in found["names"]
        assert "/videos/\\u202efdp.mp4" in found["names"]
