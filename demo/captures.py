"""Takes pictures of what the main commands print, and of a report's page, for the documentation: docs/assets.

Clips of the demo's kind are scored on two nights, between which one of them was sent again in a worse
version. A picture shows what a command wrote on its standard output, 80 columns wide, under its command line.
The page is that of all the demo's clips, in Chromium, where there is one.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text
from run import make_backlog, write_manifest

__all__ = ["ASSETS", "CAPTURES", "captured", "main", "picture"]

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs" / "assets"
COLUMNS = 80
CLIPS = {"bunny": "bigbuckbunny", "phone": "carphone_pristine"}
_RUN = "securevqa score uploads.csv --key-file key --output"
# Name of the picture -> the command line, in a folder with what `_first_night` leaves there.
CAPTURES = {
    "help": "securevqa --help",
    "score-clip": "securevqa score uploads/bunny-clean.mp4 --key-file key",
    "score-run": f"{_RUN} runs/tuesday",
    "report": "securevqa report runs/tuesday",
    "runs": "securevqa runs runs",
    "compare": "securevqa compare runs/monday runs/tuesday",
    "gate": "securevqa gate runs/tuesday --policy policy.toml --dry-run",
    "models": "securevqa models",
    "weights-verify": "securevqa weights verify secure-vqa-compact",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Windows of one size onto a page, side by side."""

    width: int  # pixels
    height: int
    anchors: tuple[str, ...] = ("",)  # where each begins
    is_dark: bool = False


PAGES = {
    "examples/report.png": _Page(width=1280, height=1400),
    "docs/assets/report-820-dark.png": _Page(width=820, height=1430, anchors=("#damaged",), is_dark=True),
    "docs/assets/report-390-light.png": _Page(width=390, height=1240, anchors=("", "#close-look")),
}
_GAP = 20  # pixels
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PROGRAM = "import sys; sys.argv[0] = 'securevqa'; from securevqa.__main__ import main; main()"
_WEB_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # pages load nothing from the network


def main() -> None:
    """Write every picture."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _first_night(folder)
        for name, command in CAPTURES.items():
            print(f"$ {command}", flush=True)
            printed = captured(command, folder)
            (ASSETS / f"{name}.svg").write_text(picture(printed, title=command, name=name))
        _page(folder / "2026-11-27")


def _page(folder: Path) -> None:
    """Write the pictures of the page of the demo's clips."""
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        print(f"no pictures of the page: {' nor '.join(_BROWSERS)} is installed")
        return
    _send_uploads(folder)
    captured(f"{_RUN} scored", folder)
    command = (
        "securevqa report scored --html page.html --group recipe --video bunny-starved.mp4 --key-file key"
    )
    captured(command, folder)
    wrapper = folder / "windows.html"
    for name, page in PAGES.items():
        print(name, flush=True)
        style = f"width: {page.width}px; height: {page.height}px; border: 0; margin-right: {_GAP}px"
        windows = "".join(f'<iframe src="page.html{one}" style="{style}"></iframe>' for one in page.anchors)
        wrapper.write_text(f'<body style="margin: 0; background: #c8c8d0; white-space: nowrap">{windows}')
        width = len(page.anchors) * (page.width + _GAP) - _GAP
        options = (
            *("--headless", "--no-sandbox", "--hide-scrollbars", "--allow-file-access-from-files"),
            f"--user-data-dir={folder / 'browser'}",
            f"--window-size={width},{page.height}",
            f"--blink-settings=preferredColorScheme={0 if page.is_dark else 1}",
            f"--screenshot={ROOT / name}",
        )
        subprocess.run([browser, *options, wrapper.as_uri()], check=True, capture_output=True)
        with Image.open(ROOT / name) as taken:  # in few colours: a third of the bytes
            taken.convert("RGB").quantize(256).save(ROOT / name, optimize=True)


def captured(command: str, folder: Path) -> str:
    """Return what a command prints in `folder` on a terminal, colours and all.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    names = ("SECUREVQA_KEY", "RAY_ADDRESS", "NO_COLOR")
    given = {name: value for name, value in os.environ.items() if name not in names}
    environment = given | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *shlex.split(command)[1:]],
        cwd=folder,
        env=environment | {"TERM": "xterm-256color"},
        capture_output=True,  # on standard error are moving signs of progress
        text=True,
        check=True,
    ).stdout


def picture(printed: str, *, title: str, name: str) -> str:
    """Return a terminal as SVG; `name` keeps its styles from those of others on the same page."""
    terminal = Console(record=True, width=COLUMNS, file=io.StringIO())
    terminal.print(Text.from_ansi(printed.rstrip("\n")))
    return _WEB_FONT.sub("", terminal.export_svg(title=title, theme=MONOKAI, unique_id=name))


def _send_uploads(folder: Path, *clips: dict[str, str]) -> Path:
    """Make uploads of the demo's kind, of all its clips by default, with a manifest and a key beside them."""
    uploads = folder / "uploads"
    uploads.mkdir(parents=True)
    write_manifest(folder / "uploads.csv", make_backlog(uploads, *clips), base="uploads")
    (folder / "key").write_text("of the documentation, and no secret")
    return uploads


def _first_night(folder: Path) -> None:
    """Score the uploads into runs/monday, and send one of them again, noisy; a policy lies beside them."""
    uploads = _send_uploads(folder, CLIPS)
    policy = (ROOT / "examples" / "first_policy.toml").read_text()
    default = json.loads(captured("securevqa weights show secure-vqa-compact --json", folder))
    policy = policy.replace("checkpoints = []", f'checkpoints = ["{default["checkpoint_id"]}"]')
    (folder / "policy.toml").write_text(policy)
    captured(f"{_RUN} runs/monday", folder)
    shutil.copy(uploads / "phone-noisy.mp4", uploads / "phone-clean.mp4")


if __name__ == "__main__":
    main()
