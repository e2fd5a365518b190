"""Owns text that a terminal prints and never obeys, and the names by which people know videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from operators.storage import redact

__all__ = ["file_names", "literal", "printable", "short_ids"]

ID_LETTERS = 8


def literal(text: str, console: Console) -> Text:
    """Return text that a terminal prints and never obeys: no markup, control or bidirectional characters."""
    return Text(printable(text).encode(console.encoding, "backslashreplace").decode(console.encoding))


def printable(text: str) -> str:
    """Return text with every control, bidirectional or other unprintable character as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def file_names(uris: Sequence[str]) -> list[str]:
    """Return the file names of URIs; the whole URI where another of them has the same file name."""
    names = [redact(uri).rstrip("/").rpartition("/")[2] for uri in uris]
    times = Counter(names)
    return [name if name and times[name] == 1 else redact(uri) for name, uri in zip(names, uris, strict=True)]


def short_ids(ids: Sequence[str]) -> list[str]:
    """Return the beginnings of ids, as short as tells them apart, but of `ID_LETTERS` at least."""
    longest = max(map(len, ids), default=0)
    num_ids = len(set(ids))
    letters = ID_LETTERS
    while letters < longest and len({one[:letters] for one in ids}) < num_ids:
        letters += 1
    return [one[:letters] for one in ids]
