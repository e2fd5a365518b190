"""Owns text that a terminal prints and never obeys."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

__all__ = ["literal", "printable"]


def literal(text: str, console: Console) -> Text:
    """Return text that a terminal prints and never obeys: no markup, control or bidirectional characters."""
    return Text(printable(text).encode(console.encoding, "backslashreplace").decode(console.encoding))


def printable(text: str) -> str:
    """Return text with every control, bidirectional or other unprintable character as its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
