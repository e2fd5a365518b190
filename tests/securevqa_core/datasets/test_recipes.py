"""Recipes come back from JSON as they were, follow from their generator alone, and have a digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securevqa_core.datasets import recipes
from securevqa_core.datasets.families import FAMILIES
from securevqa_core.datasets.recipes import Recipe, ladder, mixture, pristine, table_digest
from securevqa_core.datasets.seeding import generator
from securevqa_core.datasets.steps import (
    ClipFormat,
    Encode,
    Filter,
    Hold,
    Lose,
    Step,
    filter_chain,
    steps_from_json,
    steps_to_json,
)
from securevqa_core.errors import ConfigurationError, DatasetError

NUM_FRAMES = 48
EVERY_RECIPE = [pristine(), *(recipe for family in FAMILIES for recipe in ladder(family))]


@pytest.mark.parametrize("recipe", EVERY_RECIPE, ids=lambda recipe: recipe.name)
def test_steps_come_back_from_json_as_they_were(recipe: Recipe) -> None:
    found = steps_from_json(steps_to_json(recipe.steps, num_frames=NUM_FRAMES))
    assert [comparable(step) for step in found] == [comparable(step) for step in recipe.steps]


def comparable(step: Step) -> Step | list[int]:
    return list(step.kept(NUM_FRAMES)) if isinstance(step, Hold) else step


@pytest.mark.parametrize(
    "text", ["{", "1", "[1]", '[{"blur": 1}]', '[{"lose": "often"}]', '[{"encode": ["-crf"]}]', "null"]
)
def test_what_is_no_json_of_steps_is_named(text: str) -> None:
    with pytest.raises(DatasetError, match="steps must be JSON of filter, encode, lose and hold") as caught:
        steps_from_json(text)
    assert repr(text) in str(caught.value)


def test_a_filter_gets_the_size_of_the_clip_and_a_hold_its_rate() -> None:
    clip = ClipFormat(width=320, height=240, fps=25.0, num_frames=4)
    assert filter_chain(Filter(chain="scale={width}:{height}"), clip) == "scale=320:240"
    held = filter_chain(Hold(kept=lambda n: [0, n - 1]), clip)
    assert held == "select='eq(n,0)+eq(n,3)',fps=25.000000:round=near"


def test_a_family_has_a_recipe_for_each_level_and_no_two_share_a_name() -> None:
    for name, family in FAMILIES.items():
        assert [recipe.level for recipe in ladder(name)] == list(range(1, len(family.levels) + 1))
    assert len({recipe.name for recipe in EVERY_RECIPE}) == len(EVERY_RECIPE)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"family must be one of x264, .*, got 'haze'"):
        ladder("haze")


def test_a_mixture_is_a_fault_of_capture_and_then_an_encoding() -> None:
    made = [mixture(generator(seed, "mixtures"), number=1) for seed in range(50)]
    assert all(isinstance(recipe.steps[0], Filter) for recipe in made)
    assert all(isinstance(recipe.steps[1], Encode) for recipe in made)
    assert len({steps_to_json(recipe.steps, num_frames=NUM_FRAMES) for recipe in made}) > 30
    factors = {recipe.quality_factor for recipe in made}
    assert factors == {None, *(recipe.quality_factor for recipe in ladder("underexposed")[:3])}


def test_a_mixture_follows_from_its_generator() -> None:
    first, second = (mixture(generator(3, "view"), number=2) for _ in range(2))
    assert first == second
    assert first.name == "mixture-2"


def test_a_generator_follows_from_seed_and_name_whatever_was_drawn_before() -> None:
    # SHA-256("7|street-1") begins with these 8 bytes, little end first.
    expected = np.random.default_rng(0x54D5C7DD0A09F3AC).uniform()
    generator(7, "other").uniform()
    assert generator(7, "street-1").uniform() == expected
    others = [generator(8, "street-1").uniform(), generator(7, "street-2").uniform()]
    assert expected not in others


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("levels", {"levels": (8.0, 16.0, 28.0, 44.0, 71.0)}),
        ("steps", {"steps": lambda level: Lose(every=int(level))}),
        ("factor", {"factor": lambda _level: 0.5}),
    ],
)
def test_the_digest_of_the_table_changes_with_any_recipe(
    what: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table_digest(num_frames=NUM_FRAMES)
    assert table_digest(num_frames=NUM_FRAMES) == before
    monkeypatch.setattr(recipes, "FAMILIES", {**FAMILIES, "noise": replace(FAMILIES["noise"], **change)})
    assert table_digest(num_frames=NUM_FRAMES) != before


def test_the_digest_of_the_table_changes_with_the_length_of_clips() -> None:
    assert table_digest(num_frames=NUM_FRAMES) != table_digest(num_frames=NUM_FRAMES + 1)
