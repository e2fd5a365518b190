"""Two installs of one commit hold the same versions: constraints.txt pins all that the project needs."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "constraints.txt").read_text().splitlines()
INSTALLED_EXTRAS = ("dev", "train")  # by `make install`


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in INSTALLED_EXTRAS for line in extras[extra])]
    return [Requirement(line) for line in lines]


def needed(requirements: Iterable[Requirement]) -> set[str]:
    """Names of every distribution that this machine needs for `requirements`, directly or not."""
    found: set[tuple[str, str]] = set()
    left = [(one, "") for one in requirements]
    while left:
        requirement, extra = left.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in found:
                found.add((name, wanted))
                left += [(Requirement(line), wanted) for line in importlib.metadata.requires(name) or []]
    return {name for name, _ in found} - {"securevqa"}


def test_constraints_hold_versions_and_nothing_else() -> None:
    wrong = [line for line in LINES if not re.fullmatch(r"[a-z0-9-]+==[0-9][A-Za-z0-9.]*", line)]
    assert wrong == []
    names = [line.partition("==")[0] for line in LINES]
    assert names == sorted(set(names))


def test_everything_needed_is_pinned_and_installed_as_pinned() -> None:
    pins = dict(line.split("==") for line in LINES)
    names = needed(declared())
    assert {"torch", "ray", "tensorboard", "ruff", "botocore"} <= names
    assert sorted(names - pins.keys()) == []
    differ = {name: found for name in names if (found := importlib.metadata.version(name)) != pins[name]}
    assert differ == {}
