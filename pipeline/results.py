"""Owns what a command came to: a value for programs, and lines and tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

__all__ = ["Result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command prints, in either form."""

    record: Any  # of what JSON can hold
    shown: Sequence[RenderableType]  # text is printed as it is
