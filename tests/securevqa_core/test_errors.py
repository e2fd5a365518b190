"""Words that messages share: articles as they are spoken, and guesses at what was meant."""

from __future__ import annotations

import pytest

from securevqa_core.errors import an, did_you_mean


@pytest.mark.parametrize(
    ("noun", "said"),
    [
        ("int", "an int"),
        ("str", "a str"),
        ("ndarray", "an ndarray"),
        ("NoneType", "None"),
        ("nss-svr", "an nss-svr"),
        ("mdtvsfa", "an mdtvsfa"),
        ("hvs-5m", "an hvs-5m"),
        ("vsfa", "a vsfa"),
        ("uvq-1.5", "a uvq-1.5"),
        ("fast-vqa", "a fast-vqa"),
    ],
)
def test_a_noun_has_the_article_it_is_spoken_with(noun: str, said: str) -> None:
    assert an(noun) == said


@pytest.mark.parametrize(
    ("text", "hint"),
    [("VSFA", " (did you mean 'vsfa'?)"), ("pgdd", " (did you mean 'pgd'?)"), ("xyz", "")],
)
def test_a_guess_is_made_in_any_case(text: str, hint: str) -> None:
    assert did_you_mean(text, ("vsfa", "dover", "pgd", "apgd")) == hint
