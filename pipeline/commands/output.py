"""Owns the options of every command for what it says, and in which form: `--quiet`, `--verbose`, `--json`.

def command(...) -> Result    ->    --json prints the result's record; else people are shown the result
def command(...) -> None      ->    prints for itself, and has a --json of its own
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from pipeline.commands.terminal import events, print_json, show
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError

__all__ = ["with_output_options"]

_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the result and errors.")]
_Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say of every video how it ended, and what is done where."),
]
_MoreVerbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, where there is more to say.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]


def with_output_options(command: Callable[..., Result | None]) -> Callable[..., None]:
    """Return the command with the options: what it returns is printed, as loud and in the form asked for."""
    if hasattr(command, "has_output_options"):
        return command  # type: ignore[return-value]  # it was returned from here
    hints = get_type_hints(command, include_extras=True)
    returns_result = hints.get("return") is Result

    @functools.wraps(command)
    def printing(*, quiet: bool = False, verbose: bool = False, **values: Any) -> None:
        if quiet and verbose:
            raise ConfigurationError("--quiet and --verbose exclude each other")
        events.console.quiet, events.is_verbose = quiet, verbose
        if not returns_result:
            command(**values)
            return
        is_json = values.pop("json")
        result = command(**values)
        assert result is not None
        if is_json:
            print_json(result.record)
        else:
            show(result)

    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(name, one.annotation))
        for name, one in inspect.signature(command).parameters.items()
    ]
    scores = "decoder" in hints  # how videos are read, and so what there is to say of each
    added: list[tuple[str, Any]] = [("quiet", _Quiet), ("verbose", _Verbose if scores else _MoreVerbose)]
    added += [("json", _Json)] if returns_result else []
    parameters = own + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=False)
        for name, kind in added
    ]
    printing.__annotations__ = {one.name: one.annotation for one in parameters}
    printing.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    printing.has_output_options = True  # type: ignore[attr-defined]
    return printing
