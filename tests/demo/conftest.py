"""The demo's own modules, which lie outside the packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "demo"


def loaded(name: str) -> ModuleType:
    """A program of the folder, which finds the others as when it is run."""
    spec = importlib.util.spec_from_file_location(f"securevqa_demo_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def demo() -> ModuleType:
    return loaded("run")


@pytest.fixture(scope="session")
def captures() -> ModuleType:
    return loaded("captures")
