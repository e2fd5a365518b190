"""Owns commands that are imported when they are called: a list of them costs no import."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from pipeline.commands.naming import options_named
from pipeline.commands.output import with_output_options
from pipeline.commands.terminal import EXIT_INTERRUPTED, complaints, console, events

__all__ = ["ExamplesOf", "LazyCommand", "LazyGroup"]

_UsageError: Any = typer.BadParameter.__base__  # Click's, or Typer's own, by its version
EXAMPLE_COLUMNS = 76  # of a line, after two spaces, and before one and a backslash


@dataclass(frozen=True, slots=True)
class ExamplesOf:
    """Two calls of a command of a group."""

    name: str
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyCommand:
    """A command, or a group of them, as its group lists it."""

    name: str
    help: str  # the first line of its own
    place: str  # module below `pipeline.commands`, and the function or the Typer app in it
    panel: str
    examples: tuple[str, ...]
    below: tuple[ExamplesOf, ...] = ()  # of a group, its commands

    def listed(self) -> TyperCommand:
        """Return what a list shows of it."""
        return TyperCommand(name=self.name, help=escape(self.help), rich_help_panel=self.panel)

    def load(self) -> Any:
        """Return the command itself; text in square brackets stays as it is in its help."""
        module, _, attribute = self.place.partition(":")
        with events.doing("loading", is_logged=False):
            found = getattr(importlib.import_module(f".{module}", __package__), attribute)
        parent = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            for registered in found.registered_commands:
                registered.callback = registered.callback and with_output_options(registered.callback)
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name)(with_output_options(found))
        command: Any = typer.main.get_command(parent)
        command = getattr(command, "commands", {}).get(self.name, command)
        _adapt(command)
        _teach(command, self.examples)
        for one in self.below:
            _teach(command.commands[one.name], (one.first, one.second))
        return command


def _teach(command: Any, examples: tuple[str, ...]) -> None:
    """Let help of a command end with examples.

    They are no epilog, whose lines Rich fills with spaces: after a backslash these end a command.
    """
    format_help = command.format_help

    def format_help_and_examples(ctx: Any, formatter: Any) -> None:
        format_help(ctx, formatter)
        text = "\n\n".join([" Examples:", *(f"  {_broken(one)}" for one in examples)])
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    command.format_help = format_help_and_examples


def _broken(example: str) -> str:
    """Return an example in lines that a terminal of 80 columns leaves as they are, and a shell joins."""
    first, *others = re.split(" (?=-)", example)  # an option stays beside its value
    lines = [first]
    for part in others:
        if len(f"{lines[-1]} {part}") > EXAMPLE_COLUMNS:
            lines.append(f"  {part}")
        else:
            lines[-1] += f" {part}"
    return " \\\n  ".join(lines)


class LazyGroup(TyperGroup):
    """A group of the commands in `lazy`, which a subclass sets."""

    lazy: tuple[LazyCommand, ...] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {one.name: one.listed() for one in self.lazy} | dict(self.commands)

    def get_params(self, ctx: Any) -> Any:
        """Return the options, as they are named in help."""
        return [_named(one) for one in super().get_params(ctx)]

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read what stands before the command."""
        with _interruptible():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _interruptible():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command that is called, the command, and what is left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and self.loaded(str(name)), rest

    def loaded(self, name: str) -> Any:
        """Return the command of a name, imported."""
        return next((one.load() for one in self.lazy if one.name == name), self.commands[name])


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """End an interruption with a line and `EXIT_INTERRUPTED`, whenever it comes."""
    try:
        yield
    except KeyboardInterrupt:
        complaints.print("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _unfolded(text: str) -> str:
    """Return paragraphs as one line each, which are as long as a terminal is wide."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _adapt(command: Any) -> None:
    """Let help and errors of a command, and of those below it, say of parameters what people type.

    Rich is kept from taking `securevqa[train]` for a style.
    """
    command.help = command.help and escape(_unfolded(command.help))
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
    invoke = command.invoke

    def invoke_named(ctx: Any) -> Any:
        with options_named(command.params):
            return invoke(ctx)

    command.invoke = invoke_named
    make_context = command.make_context

    def make_context_and_say(*arguments: Any, **options: Any) -> Any:
        try:
            return make_context(*arguments, **options)
        except _UsageError as error:
            error.message = _with_form(error, command.params)
            raise

    command.make_context = make_context_and_say
    parameters = command.get_params
    command.get_params = lambda ctx: [_named(one) for one in parameters(ctx)]  # --help too
    for below in getattr(command, "commands", {}).values():
        _adapt(below)


def _with_form(error: Any, parameters: Iterable[Any]) -> str:
    """Return what is wrong with a call, and of an option of several words how it is written."""
    for one in parameters:
        if one.nargs > 1 and repr(one.opts[0]) in error.format_message():
            message = error.message.rstrip(".")
            return f"{message}. It takes {one.nargs} words: {one.opts[0]} {one.metavar}"
    return str(error.message)


def _named(parameter: Any) -> Any:
    """Call an argument as texts do, RUN_DIR, and let a flag ask for no value."""
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    elif parameter.param_type_name == "argument" and parameter.metavar is None:
        parameter.metavar = parameter.name.upper()
    return parameter
