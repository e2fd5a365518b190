"""Opens a page in a real browser, headless, and asks it what it made of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

__all__ = ["BROWSERS", "browser", "inspect_page", "screenshot"]

SECONDS = 90
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WRAPPER = """<!doctype html><body>
<iframe id="f" src="{page}" style="width: {width}px; height: 3000px; border: 0"></iframe>
<pre id="answer"></pre><script>
document.getElementById("f").onload = () => {{
  const view = document.getElementById("f").contentWindow, page = view.document;
  const images = [...page.images], links = [...page.querySelectorAll("a, summary, [tabindex]")];
  links.forEach(one => one.focus());
  document.getElementById("answer").textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    text: page.body.innerText,
    scripts: page.scripts.length,
    pwned: view.pwned === undefined ? null : String(view.pwned),
    images: images.length,
    loaded: images.filter(one => one.naturalWidth > 0).length,
    remote: [...page.querySelectorAll("[src], link")]
      .filter(one => !(one.src || one.href).startsWith("data:")).length,
    drawings: page.querySelectorAll("svg").length,
    focusable: links.length,
    focused: page.activeElement === links[links.length - 1],
    unlabelled: images.filter(one => !one.alt).length,
    background: view.getComputedStyle(page.body).backgroundColor,
    color: view.getComputedStyle(page.body).color,
    found: (() => {{ {act} }})(),
  }});
}};
</script></body>
"""


def browser() -> str | None:
    """The path of a browser, None where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def inspect_page(
    page: Path, folder: Path, *, width: int = 1000, dark: bool = False, act: str = ""
) -> dict[str, Any]:
    """Load `page` from its file in a frame `width` pixels wide; return what the browser says of it.

    Args:
        page: to load.
        folder: for files of the browser's.
        width: of the frame.
        dark: whether its reader likes dark pages.
        act: script that uses the page as its reader would, once it is there; `page` is its document, `view`
            its window, and what it returns is `found` of the answer.
    """
    wrapper = folder / "wrapper.html"
    wrapper.write_text(_WRAPPER.format(page=page.as_uri(), width=width, act=act))
    done = _run(
        folder, "--dump-dom", f"--blink-settings=preferredColorScheme={0 if dark else 1}", wrapper.as_uri()
    )
    found = re.search(r'<pre id="answer">(.*?)</pre>', done, re.DOTALL)
    assert found is not None, done[-2000:]
    answer: dict[str, Any] = json.loads(unescape(found[1]))
    return answer


def screenshot(page: Path, picture: Path, folder: Path, *, size: str = "1000,1600") -> None:
    """Save what a window of `size` (width,height) shows of the page as a PNG."""
    _run(folder, f"--screenshot={picture}", f"--window-size={size}", "--hide-scrollbars", page.as_uri())


def _run(folder: Path, *options: str) -> str:
    found = browser()
    assert found is not None, "no browser"
    command = [
        found,
        "--headless",
        "--no-sandbox",  # which root, and containers, do not have
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
        f"--user-data-dir={folder / 'profile'}",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout
