"""Tries a wheel with the oldest and with the newest versions that it allows, on each of several Pythons."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMOKE = Path(__file__).with_name("smoke.py")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
ENDS = {"oldest": "lowest-direct", "newest": "highest"}  # of each direct dependency, in uv's words
EXTRA = "train"


def main() -> int:
    """Try every end on every Python, whatever becomes of the others; returns 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="of SecureVQA")
    parser.add_argument("--python", nargs="+", required=True, help="names or paths of interpreters")
    parser.add_argument("--end", nargs="+", choices=sorted(ENDS), default=sorted(ENDS))
    asked = parser.parse_args()
    failed = []
    for python in asked.python:
        for end in asked.end:
            started = time.monotonic()
            print(f"{python}, {end}:", flush=True)
            if not works(asked.wheel.resolve(), python, ENDS[end]):
                failed.append(f"{python}, {end}")
            print(f"  {time.monotonic() - started:.0f} s", flush=True)
    print(f"failed: {'; '.join(failed)}" if failed else "every end of every range works")
    return 1 if failed else 0


def works(wheel: Path, python: str, resolution: str) -> bool:
    """Install into an environment of its own, which is removed again, and say whether all went well."""
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as folder:
        interpreter = f"{folder}/bin/python"
        install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", interpreter]
        steps: list[list[str | Path]] = [
            [uv, "venv", "--quiet", "--clear", "--python", python, folder],
            # Of a wheel's dependencies only the wheel would count as direct, and all else be the newest.
            [*install, "--resolution", resolution, "--extra", EXTRA, "--requirements", PROJECT],
            [*install, "--no-deps", wheel],
            [interpreter, SMOKE],
        ]
        return all(subprocess.run(step, check=False).returncode == 0 for step in steps)


if __name__ == "__main__":
    sys.exit(main())
