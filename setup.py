"""Owns where packages go in a wheel: below `securevqa`, as nobody may own a name like `pipeline`.

in the repository, and where it is installed as editable     in a wheel
pipeline/  operators/  securevqa/  securevqa_core/           securevqa/pipeline/  securevqa/operators/  ...

Their imports are rewritten on the way. They are all of one form, `from pipeline.x import y`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

PARENT = "securevqa"
MOVED = ("pipeline", "operators")
FROM = re.compile(rf"^(\s*from )({'|'.join(MOVED)})(?=[. ])", re.MULTILINE)
OTHER = re.compile(rf"^\s*import ({'|'.join(MOVED)})\b", re.MULTILINE)


class BuildBelowParent(build_py):
    """Builds modules where a wheel takes them from."""

    def run(self) -> None:
        """Build, then move and rewrite; an editable install stays as the repository is."""
        super().run()
        if self.editable_mode:
            return
        built = Path(self.build_lib)
        for name in MOVED:
            shutil.rmtree(built / PARENT / name, ignore_errors=True)
            shutil.move(built / name, built / PARENT / name)
        for path in (built / PARENT).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if OTHER.search(text):
                raise ValueError(f"{path} must import as `from NAME import ...` does")
            path.write_text(FROM.sub(rf"\1{PARENT}.\2", text), encoding="utf-8")


class NamesOfParent(egg_info):
    """Writes metadata that claims the names which a wheel owns."""

    def run(self) -> None:
        """Write it, without what was moved."""
        super().run()
        names = Path(self.egg_info) / "top_level.txt"
        names.write_text("".join(f"{name}\n" for name in names.read_text().split() if name not in MOVED))


setup(cmdclass={"build_py": BuildBelowParent, "egg_info": NamesOfParent})
