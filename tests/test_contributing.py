"""What contributors are told is so: what the guide names exists, and a commit is checked as by `lint`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_every_file_that_the_guide_names_exists() -> None:
    named = re.findall(r"`((?:deploy|operators|pipeline|securevqa_core|tests)/[\w./-]+)`", GUIDE)
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_every_target_that_the_guide_names_exists_and_is_explained() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    helped = set(re.findall(r'@echo "make ([a-z-]+) ', MAKEFILE))
    named = set(re.findall(r"`make ([a-z-]+)", GUIDE))
    assert {"check", "lint", "ranges", "test-fast"} <= named
    assert sorted(named - targets) == []
    assert sorted(targets - helped) == ["help", "wheel"]


def test_a_commit_runs_what_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for repo in hooks for hook in repo["hooks"]]
    recipe = re.search(r"^lint: install\n\t@set -x\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    lint = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    options = re.compile(r" \.$| --check| --force-exclude")
    assert [options.sub("", options.sub("", entry)) for entry in entries] == [
        options.sub("", options.sub("", line)) for line in lint
    ]
    assert {repo["repo"] for repo in hooks} == {"local"}  # nothing is fetched
