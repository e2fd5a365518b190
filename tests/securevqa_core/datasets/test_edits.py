"""Edits are encodings with something done to them afterwards, and change nothing that is drawn before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from footage import CLIP

from securevqa_core.datasets.build import choose_recipes
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.recipes import edit, ladder
from securevqa_core.datasets.seeding import generator
from securevqa_core.datasets.sources import Source
from securevqa_core.datasets.steps import Encode, Filter
from securevqa_core.datasets.views import View
from securevqa_core.errors import ConfigurationError

CODECS = ("x264", "x265", "av1", "vp9", "starved")


def test_an_edit_is_an_encoding_that_shows_and_then_a_filter() -> None:
    shown = [recipe.steps[0] for family in CODECS for recipe in ladder(family)[1:]]
    made = [edit(generator(seed, "edits"), number=1) for seed in range(60)]
    for recipe in made:
        encoding, after = recipe.steps
        assert isinstance(encoding, Encode)
        assert isinstance(after, Filter)
        assert encoding in shown
        assert recipe.quality_factor is None
    assert len({recipe.steps for recipe in made}) > 40


def test_an_edit_follows_from_its_generator() -> None:
    first, second = (edit(generator(3, "view"), number=2) for _ in range(2))
    assert first == second
    assert first.name == "edit-2"


@pytest.mark.parametrize("has_motion", [True, False])
def test_edits_come_last_and_leave_the_other_recipes_as_they_were(has_motion: bool) -> None:
    source = Source(
        path=Path("/a.mp4"), sha256="ab" * 32, width=640, height=480, fps=25.0, duration_seconds=9
    )
    view = View(view_id="a-0", source=source, clip=CLIP)
    without, few, many = (
        choose_recipes(view, replace(BuildConfig(), edits_per_view=count), has_motion=has_motion)
        for count in (0, 1, 3)
    )
    assert few[:-1] == without
    assert many[:-2] == few
    assert [recipe.name for recipe in many[-3:]] == ["edit-1", "edit-2", "edit-3"]


@pytest.mark.parametrize("count", [-1, 1001])
def test_a_number_of_edits_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"edits_per_view must be in .*, got {count}"):
        BuildConfig(edits_per_view=count)
