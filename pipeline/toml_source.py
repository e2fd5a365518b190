"""Owns where in a TOML text a value stands, so that what is wrong with it can be said by line."""

from __future__ import annotations

import datetime
import pathlib
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from securevqa_core.errors import ConfigurationError

__all__ = ["Path", "TomlSource", "read_notes", "written"]

Path = tuple[str | int, ...]  # of a value in the document: names of tables, places in arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlSource:
    """The text of a TOML file."""

    name: str  # of the file, for people
    text: str

    def document(self) -> dict[str, Any]:
        """Return what the text holds.

        Raises:
            ValueError: it is not TOML; the message begins with the line.
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(self._syntax_error(str(error))) from error

    def line_of(self, path: Path) -> int:
        """Return the line on which the statement begins that brings `path`, or what would hold it, about.

        The parser tells no positions, so the text is parsed up to each line until the value is there.
        """
        while path:
            if (line := self._first_line(path)) is not None:
                return line
            path = path[:-1]
        return 1

    def _first_line(self, path: Path) -> int | None:
        lines = self.text.splitlines(keepends=True)
        start = 1
        for end in range(1, len(lines) + 1):
            try:
                document = tomllib.loads("".join(lines[:end]))
            except tomllib.TOMLDecodeError:  # within a value of several lines
                continue
            if _has(document, path):
                return start
            start = end + 1
        return None

    def _syntax_error(self, message: str) -> str:
        place = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", message, re.DOTALL)
        if place is None:
            return f"line 1: not readable TOML: {message}"
        number, lines = int(place[2] or 0), self.text.splitlines()
        written = f": {lines[number - 1].strip()}" if number else ""
        return f"line {number or len(lines) or 1}: not readable TOML: {place[1]}{written}"


def written(value: Any) -> str:
    """Return a value as a TOML file has it, and "nothing" for None."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {written(one)}' for name, one in value.items())} }}"
    return repr(value)


def read_notes(path: pathlib.Path) -> dict[str, Any]:
    """Return text by name.

    Raises:
        ConfigurationError: the file cannot be read, or holds anything but text by name.
    """
    try:
        found = TomlSource(name=str(path), text=path.read_text()).document()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"notes {str(path)!r} cannot be read: {error}") from error
    for name, value in found.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"notes {str(path)!r} must hold text, got {name} = {value!r}")
    return found


def _has(document: Any, path: Path) -> bool:
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return False
        elif not isinstance(document, dict) or step not in document:
            return False
        document = document[step]
    return True
