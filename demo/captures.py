"""Takes pictures of what the main commands print, 80 columns wide, for the documentation: docs/assets/*.svg.

Clips of the demo's kind are scored on two nights, between which one of them was sent again in a worse
version. A picture shows what a command wrote on its standard output, under its command line.
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
from pathlib import Path

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


def _first_night(folder: Path) -> None:
    """Score the uploads into runs/monday, and send one of them again, noisy; a policy lies beside them."""
    uploads = folder / "uploads"
    uploads.mkdir()
    videos = make_backlog(uploads, CLIPS)
    write_manifest(folder / "uploads.csv", videos, base="uploads")
    (folder / "key").write_text("of the documentation, and no secret")
    policy = (ROOT / "examples" / "first_policy.toml").read_text()
    default = json.loads(captured("securevqa weights show secure-vqa-compact --json", folder))
    policy = policy.replace("checkpoints = []", f'checkpoints = ["{default["checkpoint_id"]}"]')
    (folder / "policy.toml").write_text(policy)
    captured(f"{_RUN} runs/monday", folder)
    shutil.copy(uploads / "phone-noisy.mp4", uploads / "phone-clean.mp4")


if __name__ == "__main__":
    main()
