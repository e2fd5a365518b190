"""Near fingerprints are found, as by comparing all; of a flood of them no more than is bearable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.runs import near_index
from pipeline.runs.near_index import MOST_OF_A_PIECE, NearIndex
from securevqa_core.fingerprints import MAX_DISTANCE, NUM_BITS, TURNS

LAST = 1 << 62


def random_words(rng: np.random.Generator, num: int) -> NDArray[np.uint64]:
    return rng.integers(1 << 63, size=(num, 4), dtype=np.uint64)


def turned(words: NDArray[np.uint64], rng: np.random.Generator, num_bits: int) -> NDArray[np.uint64]:
    """Turn so many bits of each fingerprint, wherever they are."""
    changed = words.copy()
    for one in changed:
        for bit in rng.choice(NUM_BITS, num_bits, replace=False).tolist():
            one[bit // 63] ^= np.uint64(1) << np.uint64(bit % 63)
    return changed


def index_of(folder: Path, words: NDArray[np.uint64]) -> NearIndex:
    order = np.random.default_rng(7).permutation(len(words))
    halves = np.array_split(order, 2)
    return NearIndex(folder, ((half, words[half]) for half in halves), len(words))


def compared(
    words: NDArray[np.uint64], queries: NDArray[np.uint64], before: NDArray[np.int64]
) -> set[tuple[int, int]]:
    """What comparing every bit of every pair finds."""
    near = np.zeros((len(queries), len(words)), bool)
    for turn in TURNS:
        bits = np.unpackbits(((queries[:, None] ^ turn) ^ words).view(np.uint8), axis=-1)
        near |= bits.sum(axis=-1) <= MAX_DISTANCE
    near &= np.arange(len(words)) < before[:, None]
    return {(int(place), int(number)) for place, number in np.argwhere(near)}


@pytest.mark.parametrize("turn", TURNS)
def test_what_differs_in_23_bits_is_always_found_and_what_is_unlike_never(
    turn: np.uint64, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    words = random_words(rng, 600)
    queries = np.concatenate(
        [turned(words[:200], rng, 23), turned(words[200:300] ^ turn, rng, 23), random_words(rng, 99)]
    )
    before = np.full(len(queries), LAST)
    places, numbers = index_of(tmp_path, words).near(queries, before)
    assert list(zip(places.tolist(), numbers.tolist(), strict=True)) == [(one, one) for one in range(300)]
    assert set(zip(places.tolist(), numbers.tolist(), strict=True)) == compared(words, queries, before)


def test_most_of_what_differs_in_more_is_found_and_nothing_beyond_the_limit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    words = random_words(rng, 400)
    index = index_of(tmp_path, words)
    shares = {}
    for num_bits in (30, 37, MAX_DISTANCE, MAX_DISTANCE + 1):
        places, _ = index.near(turned(words, rng, num_bits), np.full(len(words), LAST))
        shares[num_bits] = len(places) / len(words)
    assert shares[30] > 0.97
    assert shares[37] > 0.85
    assert 0.35 < shares[MAX_DISTANCE] < 0.7  # of bits turned at random, which is the worst case
    assert shares[MAX_DISTANCE + 1] == 0


def test_only_what_is_older_is_found_each_once_and_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    words = random_words(rng, 1).repeat(9, axis=0)
    places, numbers = index_of(tmp_path, words).near(words[:4], np.array([0, 3, 9, 1]))
    assert list(zip(places.tolist(), numbers.tolist(), strict=True)) == [
        *[(1, one) for one in range(3)],
        *[(2, one) for one in range(9)],
        (3, 0),
    ]


def test_batches_of_queries_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    words = random_words(rng, 300)
    index, before = index_of(tmp_path, words), np.full(len(words), LAST)
    whole = index.near(words, before)
    monkeypatch.setattr(near_index, "_QUERIES_AT_ONCE", 7)
    parts = index.near(words, before)
    assert (whole[0] == parts[0]).all()
    assert (whole[1] == parts[1]).all()
    assert len(whole[0]) == len(words)


def test_of_a_flood_the_oldest_are_looked_at(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    words = random_words(rng, 1).repeat(4 * MOST_OF_A_PIECE, axis=0)
    _, numbers = index_of(tmp_path, words).near(words[:1], np.array([len(words)]))
    assert numbers.tolist() == list(range(MOST_OF_A_PIECE))


def test_a_lookup_compares_few_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, compared_with = np.random.default_rng(6), []
    are_near = near_index.are_near

    def counted(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
        compared_with.append(len(others))
        return are_near(some, others)

    words = random_words(rng, 200_000)
    index = NearIndex(tmp_path, [(np.arange(len(words)), words)], len(words))
    monkeypatch.setattr(near_index, "are_near", counted)
    places, _ = index.near(turned(words[:100], rng, 12), np.full(100, len(words)))
    assert len(places) == 100
    assert sum(compared_with) < 100 * len(words) / 1_000


@pytest.mark.parametrize("num_queries", [0, 3])
def test_nothing_is_near_where_nothing_is_known(num_queries: int, tmp_path: Path) -> None:
    queries = random_words(np.random.default_rng(5), num_queries)
    places, numbers = NearIndex(tmp_path, [], 0).near(queries, np.zeros(num_queries, np.int64))
    assert len(places) == len(numbers) == 0
