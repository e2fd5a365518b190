"""Imports point down only, between packages and between folders of each: pyproject.toml holds the layers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("securevqa_core", "operators", "pipeline")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the import rules on the packages in `root`."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=root, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages and their rules, to be spoilt."""
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "checkpoints")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_of_the_packages_points_down() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("securevqa_core/errors.py", "import ray.data", "the core runs where Ray is not installed"),
        ("securevqa_core/scoring.py", "from operators import schema", "nothing imports upwards"),
        ("operators/schema.py", "from pipeline.runs import lock", "nothing imports upwards"),
        ("pipeline/runs/lock.py", "from pipeline.scoring import run", "a command calls the jobs"),
        ("pipeline/gate/policy.py", "from pipeline.pages import plots", "a command calls the jobs"),
        ("securevqa_core/types.py", "from securevqa_core import zoo", "what a clip is"),
        ("securevqa_core/decoding/wire.py", "from securevqa_core.datasets import vmaf", "what a clip is"),
        (
            "securevqa_core/decoding/wire.py",
            "from securevqa_core.decoding import child",
            "no module or package imports itself",
        ),
        ("operators/uris.py", "from operators import storage", "no module or package imports itself"),
    ],
)
def test_an_import_upwards_is_refused_even_for_types(tree: Path, file: str, line: str, rule: str) -> None:
    with (tree / file).open("a") as module:
        module.write(f"\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {line}\n")
    done = lint(tree)
    broken = [text for text in " ".join(done.stdout.split()).split("KEPT") if "BROKEN" in text]
    assert done.returncode == 1
    assert rule in " ".join(broken)


def test_a_new_module_has_to_be_given_its_layer(tree: Path) -> None:
    (tree / "pipeline" / "shelf.py").write_text('"""Owns nothing yet."""\n')
    done = lint(tree)
    assert done.returncode == 1
    assert "shelf" in done.stdout
