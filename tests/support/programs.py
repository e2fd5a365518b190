"""Programs that are not Python's, which some tests need: `make tools` installs them."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["needs"]


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test where no program of these names is installed; in CI, where one should be, let it fail."""
    is_absent = not any(map(shutil.which, names)) and not os.environ.get("CI")
    return pytest.mark.skipif(is_absent, reason=f"no {names[0]} on this machine: make tools installs it")
