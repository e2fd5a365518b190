"""Owns `--quiet` and `--verbose`, which every command has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from pipeline.commands.terminal import events
from securevqa_core.errors import ConfigurationError

__all__ = ["with_loudness"]

_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result and errors.")]
_Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say of every video how it ended, and what is done where.")
]


def with_loudness(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with both options, which set how loud `events` is."""
    if hasattr(command, "has_loudness"):
        return command

    @functools.wraps(command)
    def loud(*, quiet: bool = False, verbose: bool = False, **values: Any) -> None:
        if quiet and verbose:
            raise ConfigurationError("--quiet and --verbose exclude each other")
        events.console.quiet, events.is_verbose = quiet, verbose
        command(**values)

    hints = get_type_hints(command, include_extras=True)
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(name, one.annotation))
        for name, one in inspect.signature(command).parameters.items()
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=False)
        for name, kind in (("quiet", _Quiet), ("verbose", _Verbose))
    ]
    parameters = [*own, *added]
    loud.__annotations__ = {one.name: one.annotation for one in parameters}
    loud.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    loud.has_loudness = True  # type: ignore[attr-defined]
    return loud
