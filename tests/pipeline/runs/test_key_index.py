"""Row keys are found in a manifest as a dict of texts would find them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from pipeline.runs.key_index import KeyIndex


def digests(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in numbers]


# 32 digits that begin alike, of another case, and next to texts that are shorter or longer.
ALIKE = [f"{'ab' * 8}{number:016x}" for number in (0, 7, 5, 1 << 63)]


@pytest.mark.parametrize(
    "known",
    [digests(*range(500)), ["b", "", "a long one", "ä"], ["only"], [], ALIKE[:3], [*ALIKE, "b", "c" * 40]],
)
@pytest.mark.parametrize(
    "asked",
    [
        digests(*range(400, 900)),
        ["", "a", "ä", "b", "a long one, too"],
        [],
        ALIKE[::-1],
        [*ALIKE, ALIKE[1].upper(), "c" * 40, f"{'ab' * 8}{'0' * 15}g"],
    ],
)
def test_places_are_those_of_a_dict(known: list[str], asked: list[str]) -> None:
    places = {key: place for place, key in enumerate(known)}
    assert KeyIndex(known).places(asked).tolist() == [places.get(key, -1) for key in asked]


def test_columns_in_chunks_and_slices_are_read_where_they_begin() -> None:
    keys = digests(*range(100))
    column = pa.chunked_array([keys[:30], [], keys[30:]]).slice(10, 80)
    index = KeyIndex(column)
    assert len(index) == 80
    assert index.places(pa.chunked_array([keys[::-1]]).slice(20, 50)).tolist() == list(range(69, 19, -1))


def test_an_index_of_a_million_takes_twenty_bytes_a_row() -> None:
    index = KeyIndex(digests(*range(1000)))
    held = sum(one.nbytes for one in vars(index).values() if isinstance(one, np.ndarray))
    assert held <= 20 * len(index)
