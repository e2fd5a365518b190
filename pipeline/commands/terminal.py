"""Owns what commands say to people, and how an interruption of a run that can be finished ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from operators.uris import local_path, scheme_of
from pipeline.events import Events
from pipeline.results import Result
from pipeline.text import literal, printable
from securevqa_core.errors import OutputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "EXIT_INTERRUPTED",
    "complaints",
    "console",
    "events",
    "interrupted",
    "print_json",
    "resumable",
    "say",
    "show",
    "warn",
    "write_csv",
]

EXIT_INTERRUPTED = 130


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Say in a line that a full disk, say, does not take a result; a reader that is gone needs no word."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is held back would fail once more at the end
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


class _Results(Console):
    """Prints results to standard output."""

    def print(self, *objects: Any, **options: Any) -> None:
        with _written():
            super().print(*objects, **options)


console = _Results()
complaints = Console(stderr=True)  # errors, which --quiet leaves
events = Events(Console(stderr=True))


def say(line: str) -> None:
    """Print a line as it is, however long, whatever names are in it."""
    with events.aside():
        console.print(literal(line, console), soft_wrap=True)


def warn(line: str) -> None:
    """Say on standard error, also with --quiet, what may well be wrong with what was given."""
    with events.aside():
        complaints.print(literal(line, complaints), soft_wrap=True)


def show(result: Result) -> None:
    """Print a result for people."""
    for one in result.shown:
        if isinstance(one, str):
            say(one)
        else:
            with events.aside():
                console.print(one)


def print_json(value: Any) -> None:
    """Print a value for programs."""
    from pipeline.tables import json_text  # noqa: PLC0415 - Arrow, which help need not wait for

    console.print(json_text(value, indent=2, is_ascii=True), markup=False, highlight=False, soft_wrap=True)


def write_csv(table: pa.Table) -> None:
    """Print a table for spreadsheets; a terminal is given nothing to obey."""
    from pipeline.tables import csv_bytes  # noqa: PLC0415 - as above

    text = csv_bytes(table).decode()
    if console.is_terminal:
        text = "".join(f"{printable(line)}\n" for line in text.splitlines())
    with _written():
        sys.stdout.write(text.encode(console.encoding, "backslashreplace").decode(console.encoding))
        sys.stdout.flush()


_INTERRUPTED = "interrupted"
_TO_GO_ON = f"{_INTERRUPTED}: run the same command again to finish the rest"


def interrupted(output: str) -> str:
    """Return the hint of a run, which is begun once its output is there; a store is not asked."""
    is_begun = scheme_of(output) != "file" or Path(local_path(output)).exists()
    return _TO_GO_ON if is_begun else _INTERRUPTED


@contextlib.contextmanager
def resumable(hint: str | Callable[[], str] = _TO_GO_ON) -> Iterator[None]:
    """End an interruption of the block with a hint and `EXIT_INTERRUPTED`."""
    try:
        yield
    except KeyboardInterrupt:
        complaints.print(hint if isinstance(hint, str) else hint())
        raise typer.Exit(EXIT_INTERRUPTED) from None
