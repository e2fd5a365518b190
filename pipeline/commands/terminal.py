"""Owns what commands say to people, and how an interruption of a run that can be finished ends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Console

from pipeline.text import literal

__all__ = ["EXIT_INTERRUPTED", "complaints", "console", "print_json", "resumable", "say"]

EXIT_INTERRUPTED = 130

console = Console()
complaints = Console(stderr=True)


def say(line: str) -> None:
    """Print a line as it is, however long, whatever names are in it."""
    console.print(literal(line, console), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    console.print(json.dumps(value, indent=2), markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def resumable(hint: str = "interrupted: run the same command again to finish the rest") -> Iterator[None]:
    """End an interruption of the block with a hint and `EXIT_INTERRUPTED`."""
    try:
        yield
    except KeyboardInterrupt:
        complaints.print(hint)
        raise typer.Exit(EXIT_INTERRUPTED) from None
