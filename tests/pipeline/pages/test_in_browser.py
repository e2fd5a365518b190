"""A browser shows the page to everybody: on any screen, in the dark, by keyboard; and obeys no name in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import BROWSERS, inspect_page
from programs import needs
from reportpage import (
    PICTURE,
    ROWS,
    SCRIPT,
    close_up,
    page,
    run,
    written,
)

from pipeline.pages.plots import SIZES


@pytest.mark.slow
@needs(*BROWSERS)
def test_a_browser_shows_it_alone_by_keyboard_in_the_dark_and_on_a_phone(tmp_path: Path) -> None:
    target = written(tmp_path)
    phone = inspect_page(target, tmp_path, width=360)
    assert phone["width"] <= 360
    assert (phone["scripts"], phone["pwned"], phone["remote"]) == (2, None, 0)
    assert phone["images"] == phone["loaded"] == 2 + 2 * 12
    assert phone["drawings"] == 2 * len(SIZES)
    assert phone["unlabelled"] == 0
    assert phone["focused"]
    assert SCRIPT in phone["text"]
    dark = inspect_page(target, tmp_path, dark=True)
    assert dark["background"] == "rgb(20, 23, 26)"
    assert dark["color"] != phone["color"]


LETTERS = """
const boxes = what => [...page.querySelectorAll(what)].filter(one => one.checkVisibility())
  .map(one => one.getBoundingClientRect());
const [ramp] = boxes(".ramp");
return {
  letters: boxes("svg text").map(box => [box.height, box.right]),
  shares: boxes(".chart svg").map(box => box.width / (boxes("#scores h2")[0].width)),
  ticks: boxes(".ticks span").map(box => ((box.left + box.right) / 2 - ramp.left) / ramp.width),
};
"""


@pytest.mark.slow
@needs(*BROWSERS)
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_charts_fill_every_width_in_letters_as_large_as_others(tmp_path: Path, width: int) -> None:
    found = inspect_page(written(tmp_path), tmp_path, width=width, act=LETTERS)["found"]
    assert len(found["letters"]) > 10
    assert min(height for height, _ in found["letters"]) >= 10
    assert max(right for _, right in found["letters"]) <= width
    assert found["shares"] == pytest.approx([1, 1], abs=0.01)
    assert found["ticks"] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.01)  # 30, 40, ... of 30..70


PARTS = """
const lines = text => {
  const range = page.createRange();
  range.selectNodeContents(text);
  return new Set([...range.getClientRects()].map(box => box.top)).size;
};
return [...page.querySelectorAll(".name")].filter(one => one.checkVisibility())
  .map(one => [one.textContent, [...one.childNodes].filter(node => node.nodeType === 3).map(lines)]);
"""


@pytest.mark.slow
@needs(*BROWSERS)
def test_a_telephone_breaks_names_between_their_words(tmp_path: Path) -> None:
    names = ("askanything_yoga_morning.mp4", "sam2-sam2_720px-darkest.mkv", "v" * 60 + ".mp4")
    rows = [row | {"uri": f"/v/{name}", "channel": name} for row, name in zip(ROWS, names, strict=False)]
    target = tmp_path / "page.html"
    target.write_text(page(run(tmp_path, rows)))
    found = inspect_page(target, tmp_path, width=390, act=PARTS)["found"]
    assert {name for name, _ in found} == set(names)
    assert {max(lines) for name, lines in found if name != names[2]} == {1}
    assert any(max(lines) > 1 for name, lines in found if name == names[2])  # which has no better place


SHAPES = """
const boxes = [...page.querySelectorAll(".picture")].map(one => one.getBoundingClientRect());
return boxes.map(box => box.width / box.height);
"""


@pytest.mark.slow
@needs(*BROWSERS)
def test_pictures_have_the_shape_of_their_videos_upright_ones_too(tmp_path: Path) -> None:
    sizes = ((1080, 1920), (1920, 1080), (500, 500), (300, 4000))
    rows = [row | {"width": w, "height": h} for row, (w, h) in zip(ROWS, sizes, strict=False)]
    frames = {row["video_id"]: PICTURE for row in rows}
    target = tmp_path / "page.html"
    target.write_text(page(run(tmp_path, rows), count=4, thumbnails=frames, close_up=close_up("v5")))
    for width in (390, 1280):
        found = inspect_page(target, tmp_path, width=width, act=SHAPES)["found"]
        assert found[:4] == pytest.approx([w / h for w, h in sizes], rel=0.01)
        assert found[4:] == pytest.approx([1080 / 1920] * 12, rel=0.01)


CONTRAST = """
const numbers = color => color.match(/[\\d.]+/g).map(Number);
const light = part => part / 255 <= .04045 ? part / 255 / 12.92 : ((part / 255 + .055) / 1.055) ** 2.4;
const luminance = ([red, green, blue]) => .2126 * light(red) + .7152 * light(green) + .0722 * light(blue);
const ground = one => {
  for (; one; one = one.parentElement) {
    const color = numbers(view.getComputedStyle(one).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
};
return [...page.querySelectorAll("body *")]
  .filter(one => one.checkVisibility() && !one.closest("svg, script, noscript, option, optgroup"))
  .filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  .map(one => {
    const [a, b] = [numbers(view.getComputedStyle(one).color), ground(one)].map(luminance);
    return [one.textContent.slice(0, 40), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
  });
"""


@pytest.mark.slow
@needs(*BROWSERS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(tmp_path: Path, dark: bool) -> None:
    found = inspect_page(written(tmp_path), tmp_path, dark=dark, act=CONTRAST)["found"]
    assert len(found) > 100
    assert [one for one in found if one[1] < 4.5] == []


TABLES = """
return {
  headless: [...page.querySelectorAll("thead th")].filter(one => one.scope !== "col").length,
  nameless: [...page.querySelectorAll("tbody tr")].filter(row => row.cells[0].scope !== "row").length,
  unlabelled: [...page.querySelectorAll("table")].filter(one => !one.closest("[aria-label]")).length,
  fields: [...page.querySelectorAll("input, select")].filter(one => !one.labels.length).length,
  twice: [...page.querySelectorAll("[id]")].map(one => one.id).filter((id, at, ids) => ids.indexOf(id) !== at
    && !page.getElementById(id).closest("svg")),
  lost: [...page.querySelectorAll("a[href^='#']")].filter(one => !page.querySelector(one.hash)).length,
};
"""


@pytest.mark.slow
@needs(*BROWSERS)
def test_tables_and_fields_say_what_they_are_and_links_lead_somewhere(tmp_path: Path) -> None:
    found = inspect_page(written(tmp_path), tmp_path, act=TABLES)["found"]
    assert found == {"headless": 0, "nameless": 0, "unlabelled": 0, "fields": 0, "twice": [], "lost": 0}


@pytest.mark.slow
@needs(*BROWSERS)
def test_a_script_that_came_through_all_the_same_would_not_run(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    through = "<script>pwned = 5</script><img src=x onerror='pwned = 6'>"
    target.write_text(page(run(tmp_path)).replace("</main>", f"{through}</main>"))
    seen = inspect_page(target, tmp_path)
    assert (seen["scripts"], seen["pwned"]) == (3, None)
    open_page = target.read_text().replace("Content-Security-Policy", "No-Policy")
    target.write_text(open_page)
    assert inspect_page(target, tmp_path)["pwned"] in ("5", "6")  # so the policy it was
