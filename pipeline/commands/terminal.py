"""Owns what commands say to people, and how an interruption of a run that can be finished ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import typer
from rich.console import Console

__all__ = ["EXIT_INTERRUPTED", "complaints", "console", "resumable"]

EXIT_INTERRUPTED = 130

console = Console()
complaints = Console(stderr=True)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """End an interruption of the block with a hint and `EXIT_INTERRUPTED`."""
    try:
        yield
    except KeyboardInterrupt:
        complaints.print("interrupted: run the same command again to finish the rest")
        raise typer.Exit(EXIT_INTERRUPTED) from None
