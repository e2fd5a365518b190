"""Owns what workers tell while a run goes on: an actor, in a module that imports next to nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operators.schema import Row

__all__ = ["Tally"]

MAX_TOLD = 10_000  # videos that a person is told of, one by one


class Tally:
    """Counts finished videos, and writes down which were begun; a Ray actor, as the stages run elsewhere.

    Args:
        begun: file of the driver's node; what is there stays.
    """

    def __init__(self, begun: str) -> None:
        self._counts: Counter[str] = Counter()
        self._rows: list[Row] = []
        self._begun = Path(begun)
        self._write("")  # ends a line that another left half written

    def add(self, statuses: dict[str, int], rows: Sequence[Row] = ()) -> None:
        """Count finished videos, by status; of some it is said which."""
        self._counts.update(statuses)
        self._rows += rows[: MAX_TOLD - len(self._rows)]

    def counts(self) -> dict[str, int]:
        """Return finished videos by status."""
        return dict(self._counts)

    def finished(self, after: int) -> list[Row]:
        """Return what was said of finished videos, but the first `after` of them."""
        return self._rows[after:]

    def begin(self, row_key: str) -> None:
        """Write down that a video is begun; who asks begins it once this has come back."""
        self._write(row_key)

    def _write(self, line: str) -> None:
        with self._begun.open("a", encoding="utf-8") as file:  # in the kernel's hands, once it is closed
            file.write(f"{line}\n")
