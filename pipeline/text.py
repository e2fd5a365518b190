"""Owns text that a terminal prints and never obeys, and moments in words."""

from __future__ import annotations

import datetime

from rich.console import Console
from rich.text import Text

__all__ = ["BLANK", "counted", "literal", "moment_words", "printable"]

BLANK = "(blank)"  # in place of a text that has nothing in it


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """Return a number with its noun, which gets an s but for one, or is `nouns`."""
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or f'{noun}s'}"


def literal(text: str, console: Console) -> Text:
    """Return text that a terminal prints and never obeys: no markup, control or bidirectional characters."""
    return Text(printable(text).encode(console.encoding, "backslashreplace").decode(console.encoding))


def printable(text: str) -> str:
    """Return text with every control, bidirectional or other unprintable character as its escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def moment_words(iso: str) -> str:
    """Return an ISO moment as people write it, `27 November 2026, 23:12 UTC`; anything else as it is."""
    try:
        moment = datetime.datetime.fromisoformat(iso)
    except ValueError:
        return iso
    words = f"{moment.day} {_MONTHS[moment.month - 1]} {moment:%Y, %H:%M}"
    return words if moment.tzinfo is None else f"{words} {moment.tzname()}"


# Not the locale's, which a page would mix with its own English.
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
