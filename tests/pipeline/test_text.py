"""Moments are written as people write them, and text that has none stays as it is."""

from __future__ import annotations

import pytest

from pipeline.text import moment_words


@pytest.mark.parametrize(
    ("iso", "words"),
    [
        ("2026-11-27T23:12:10.022734+00:00", "27 November 2026, 23:12 UTC"),
        ("2026-01-02T03:04:05", "2 January 2026, 03:04"),
        ("2026-12-31T00:00:00+05:30", "31 December 2026, 00:00 UTC+05:30"),
        ("yesterday", "yesterday"),
    ],
)
def test_a_moment_is_written_in_words(iso: str, words: str) -> None:
    assert moment_words(iso) == words
