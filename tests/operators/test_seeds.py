"""A desk passes questions on in batches, and gives every worker the answer to its own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from operators import seeds as seeds_module
from operators.seeds import AskedSeeds, SeedDesk
from securevqa_core.randomness import Key

KEY = Key.public(3)


def seeds(question: tuple[str, int]) -> Any:
    return KEY.draws(*question)


def test_all_who_wait_are_asked_about_at_once_and_get_their_own_answers() -> None:
    async def scene() -> None:
        desk = SeedDesk()
        asked = [("a", 1), ("b", 2), ("a", 1), ("a", 3)]
        waiting = [asyncio.ensure_future(desk.ask(one)) for one in asked]
        await asyncio.sleep(0)
        batch = await desk.questions()
        assert batch == [("a", 1), ("b", 2), ("a", 3)]
        await desk.answer({one: seeds(one) for one in batch})
        assert await asyncio.gather(*waiting) == [seeds(one) for one in asked]

    asyncio.run(scene())


def test_what_is_not_answered_is_asked_again_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds_module, "POLL_SECONDS", 0.05)

    async def scene() -> None:
        desk = SeedDesk()
        assert await desk.questions() == []
        waiting = [asyncio.ensure_future(desk.ask((one, 1))) for one in "ab"]
        await asyncio.sleep(0)
        assert await desk.questions() == await desk.questions() == [("a", 1), ("b", 1)]
        await desk.answer({("a", 1): seeds(("a", 1)), ("gone", 1): ()})
        assert await desk.questions() == [("b", 1)]
        await desk.answer({("b", 1): seeds(("b", 1))})
        assert await desk.questions() == []
        assert [await one for one in waiting] == [seeds((one, 1)) for one in "ab"]

    asyncio.run(scene())


def test_one_who_gives_up_does_not_take_anothers_answer_away() -> None:
    async def scene() -> None:
        desk = SeedDesk()
        first, second = (asyncio.ensure_future(desk.ask(("a", 1))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await desk.answer({("a", 1): seeds(("a", 1))})
        assert await second == seeds(("a", 1))

    asyncio.run(scene())


def test_whoever_waits_for_questions_is_let_go_when_the_desk_closes() -> None:
    async def scene() -> None:
        desk = SeedDesk()
        waiting = asyncio.ensure_future(desk.questions())
        await asyncio.sleep(0)
        await desk.close()
        assert await asyncio.wait_for(waiting, 1) == []

    asyncio.run(scene())


def test_a_worker_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import Future

    monkeypatch.setattr(seeds_module, "ANSWER_SECONDS", 0.05)
    asked = SimpleNamespace(future=Future)
    desk = SimpleNamespace(ask=SimpleNamespace(remote=lambda _: asked))
    with pytest.raises(TimeoutError):
        AskedSeeds(desk).draws("a", 1)
