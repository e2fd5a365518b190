"""Owns commands that are imported when they are called: a list of them costs no import."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

__all__ = ["LazyCommand", "LazyGroup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyCommand:
    """A command, or a group of them, as its group lists it."""

    name: str
    help: str  # the first line of its own
    place: str  # module below `pipeline.commands`, and the function or the Typer app in it
    panel: str
    examples: tuple[str, ...]

    def listed(self) -> TyperCommand:
        """Return what a list shows of it."""
        return TyperCommand(name=self.name, help=escape(self.help), rich_help_panel=self.panel)

    def load(self) -> Any:
        """Return the command itself; text in square brackets stays as it is in its help."""
        module, _, attribute = self.place.partition(":")
        found = getattr(importlib.import_module(f".{module}", __package__), attribute)
        parent = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name)(found)
        command: Any = typer.main.get_command(parent)
        command = getattr(command, "commands", {}).get(self.name, command)
        _escape_all(command)
        command.epilog = "\n\n".join(["Examples:", *(f"  {escape(example)}" for example in self.examples)])
        return command


class LazyGroup(TyperGroup):
    """A group of the commands in `lazy`, which a subclass sets."""

    lazy: tuple[LazyCommand, ...] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {one.name: one.listed() for one in self.lazy} | dict(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command that is called, the command, and what is left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and self.loaded(str(name)), rest

    def loaded(self, name: str) -> Any:
        """Return the command of a name, imported."""
        return next((one.load() for one in self.lazy if one.name == name), self.commands[name])


def _escape_all(command: Any) -> None:
    """Keep Rich from taking `securevqa[train]` for a style, in a command and those below it."""
    command.help = command.help and escape(command.help)
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
    for below in getattr(command, "commands", {}).values():
        _escape_all(below)
