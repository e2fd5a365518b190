"""Owns how workers come by seeds without the key: they ask at a desk, and whoever has the key answers there.

    a worker       ask(("ab12...", 4))  ->  waits  ->  the seeds of four draws
    the key's own  questions()  ->  [("ab12...", 4), ...]  ->  answer({("ab12...", 4): [...], ...})

The desk is a Ray actor: it needs no port of its own, and it is sent seeds alone. A worker that is taken over
can ask for seeds for as long as the run lasts; it cannot take the key away and make them afterwards.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from securevqa_core.randomness import VideoDraw

__all__ = ["AskedSeeds", "Question", "SeedDesk"]

POLL_SECONDS = 5.0  # a call that waits longer for questions comes back with none
ANSWER_SECONDS = 300.0

Question = tuple[str, int]  # content_sha256, number of draws


class SeedDesk:
    """Questions that wait for their answers; an actor that many workers call at once."""

    def __init__(self) -> None:
        self._open: dict[Question, asyncio.Future[tuple[VideoDraw, ...]]] = {}
        self._news = asyncio.Event()

    async def ask(self, question: Question) -> tuple[VideoDraw, ...]:
        """Wait for the seeds of one video."""
        if question not in self._open:
            self._open[question] = asyncio.get_running_loop().create_future()
            self._news.set()
        return await asyncio.shield(self._open[question])  # others may ask for the same

    async def questions(self) -> list[Question]:
        """Wait until there are questions, and return all that have no answer."""
        try:
            await asyncio.wait_for(self._news.wait(), POLL_SECONDS)
        except TimeoutError:
            return []
        return list(self._open)

    async def answer(self, answers: dict[Question, tuple[VideoDraw, ...]]) -> None:
        """Give those who wait their answers."""
        for question, seeds in answers.items():
            if question in self._open:
                self._open.pop(question).set_result(seeds)
        if not self._open:
            self._news.clear()

    async def close(self) -> None:
        """Let whoever waits for questions go."""
        self._news.set()


@dataclass(frozen=True, slots=True)
class AskedSeeds:
    """The seeds of a desk; a `securevqa_core.randomness.DrawSource` that can go anywhere."""

    desk: Any  # handle of a SeedDesk

    def draws(self, content_sha256: str, num_draws: int) -> tuple[VideoDraw, ...]:
        """Return the draws that a scoring run makes of the file with this content.

        Raises:
            TimeoutError: nobody answers.
            ray.exceptions.RayError: the desk is gone.
        """
        asked = self.desk.ask.remote((content_sha256, num_draws))
        # Not ray.get, which lends this task's processor to another task for as long as it waits.
        answer: tuple[VideoDraw, ...] = asked.future().result(timeout=ANSWER_SECONDS)
        return answer
