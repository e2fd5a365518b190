"""Every level of every family changes the picture, more than the level before it, and is labelled lower."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from footage import CLIP, make_lossless, make_numbered_clip, read_pixels
from media import read_number
from numpy.typing import NDArray

from securevqa_core.datasets.distortion import carry_out
from securevqa_core.datasets.families import FAMILIES, TEMPORAL
from securevqa_core.datasets.recipes import Recipe, ladder, pristine
from securevqa_core.datasets.steps import Filter, Hold
from securevqa_core.datasets.vmaf import Vmaf, measure_vmaf

pytestmark = pytest.mark.slow

BY_RULE = {name for name, family in FAMILIES.items() if family.factor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A clip, and how far it is from the pristine one."""

    recipe: Recipe
    pixels: NDArray[np.uint8]
    squared_error: float  # mean over the pixels of all frames, in 8-bit levels squared
    measured: Vmaf
    label: float


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Path:
    return make_lossless(folder / "reference.mkv")


@pytest.fixture(scope="module")
def made(folder: Path, reference: Path) -> Mapping[str, list[Made]]:
    """The pristine clip and every clip of every family, in the order of their levels."""
    original = read_pixels(reference).astype(float)

    def make(recipe: Recipe) -> Made:
        path = folder / f"{recipe.name}.mp4"
        carry_out(recipe.steps, reference, path, clip=CLIP, scratch=folder)
        same = [step for step in recipe.steps if isinstance(step, Filter | Hold)]
        matched = same if recipe.quality_factor is not None else []
        measured = measure_vmaf(path, reference, clip=CLIP, scratch=folder, same=matched)
        pixels = read_pixels(path)
        return Made(
            recipe=recipe,
            pixels=pixels,
            squared_error=float(((pixels - original) ** 2).mean()),
            measured=measured,
            label=measured.vmaf_neg * (1 if recipe.quality_factor is None else recipe.quality_factor),
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clips = list(pool.map(make, [pristine(), *(one for name in FAMILIES for one in ladder(name))]))
    return {name: [one for one in clips if one.recipe.family == name] for name in ("pristine", *FAMILIES)}


def test_a_clip_without_a_fault_is_as_good_as_the_pristine_one(made: Mapping[str, list[Made]]) -> None:
    (clip,) = made["pristine"]
    assert clip.squared_error < 10
    assert clip.label > 99


@pytest.mark.parametrize("family", FAMILIES)
def test_each_level_is_further_from_the_pristine_clip(family: str, made: Mapping[str, list[Made]]) -> None:
    clips = made["pristine"] + made[family]
    assert {clip.pixels.shape for clip in clips} == {(CLIP.num_frames, CLIP.height, CLIP.width, 3)}
    errors = [clip.squared_error for clip in clips]
    assert all(first < second for first, second in pairwise(errors)), errors


@pytest.mark.parametrize("family", FAMILIES)
def test_each_level_is_labelled_lower(family: str, made: Mapping[str, list[Made]]) -> None:
    labels = [clip.label for clip in made["pristine"] + made[family]]
    assert all(first > second for first, second in pairwise(labels)), labels
    assert all(0 <= label <= 100 for label in labels)


@pytest.mark.parametrize("family", sorted(BY_RULE))
def test_what_a_rule_labels_costs_nothing_in_vmaf(family: str, made: Mapping[str, list[Made]]) -> None:
    assert all(clip.measured.vmaf_neg > 90 for clip in made[family])


def test_enhancement_is_rewarded_by_vmaf_and_not_by_the_label(made: Mapping[str, list[Made]]) -> None:
    for clip in made["sharpen"] + made["contrast_boost"]:
        assert clip.measured.vmaf > clip.label + 5, clip.recipe.name


@pytest.mark.parametrize(
    ("family", "measure"),
    [
        ("underexposed", lambda pixels: pixels.mean()),
        ("overexposed", lambda pixels: -pixels.mean()),
        ("low_contrast", lambda pixels: pixels.mean(axis=-1).std()),
        ("contrast_boost", lambda pixels: -pixels.mean(axis=-1).std()),
        ("desaturated", lambda pixels: np.ptp(pixels, axis=-1).mean()),
        ("motion_blur", lambda pixels: np.abs(np.diff(pixels, axis=2)).mean()),
        ("blur", lambda pixels: np.abs(np.diff(pixels, axis=1)).mean()),
        ("sharpen", lambda pixels: -np.abs(np.diff(pixels, axis=1)).mean()),
    ],
)
def test_a_fault_takes_more_of_what_it_takes_at_each_level(
    family: str, measure: object, made: Mapping[str, list[Made]]
) -> None:
    assert callable(measure)
    left = [float(measure(clip.pixels.astype(float))) for clip in made["pristine"] + made[family]]
    assert all(first > second for first, second in pairwise(left)), left


def test_a_desaturated_clip_keeps_some_colour_since_none_may_be_meant(made: Mapping[str, list[Made]]) -> None:
    whole, left = (
        np.ptp(made[family][-1].pixels.astype(int), axis=-1).mean() for family in ("pristine", "desaturated")
    )
    assert 0.05 * whole < left < 0.5 * whole


@pytest.mark.parametrize(
    "recipe", [one for name in sorted(TEMPORAL) for one in ladder(name)], ids=lambda r: r.name
)
def test_a_held_frame_is_the_last_that_was_kept(recipe: Recipe, tmp_path: Path) -> None:
    (step,) = recipe.steps
    assert isinstance(step, Hold)
    kept = step.kept(CLIP.num_frames)
    expected = [max(number for number in kept if number <= place) for place in range(CLIP.num_frames)]
    reference, output = make_numbered_clip(tmp_path / "numbered.mkv"), tmp_path / "held.mp4"
    carry_out(recipe.steps, reference, output, clip=CLIP, scratch=tmp_path)
    assert [read_number(picture) for picture in read_pixels(output)] == expected


@pytest.mark.parametrize(
    ("family", "lost"),
    [
        ("frame_drop", (1 / 2, 2 / 3, 3 / 4, 5 / 6)),
        ("judder", (0.2, 0.35, 0.5, 0.7)),
        ("freeze", (0.15, 0.3, 0.5, 0.7)),
    ],
)
def test_as_many_frames_are_lost_as_the_label_is_of(family: str, lost: tuple[float, ...]) -> None:
    num_frames = 48
    for recipe, share in zip(ladder(family), lost, strict=True):
        (step,) = recipe.steps
        assert isinstance(step, Hold)
        assert 1 - len(step.kept(num_frames)) / num_frames == pytest.approx(share, abs=1.5 / num_frames)


def test_factors_are_those_of_the_documented_rules() -> None:
    factors = {name: [one.quality_factor for one in ladder(name)] for name in BY_RULE}
    assert factors == {
        "underexposed": pytest.approx([0.84, 0.7, 0.56, 0.4]),
        "overexposed": pytest.approx([0.85, 0.7, 0.55, 0.37]),
        "low_contrast": pytest.approx([0.82, 0.64, 0.505, 0.37]),
        "desaturated": pytest.approx([0.88, 0.79, 0.73]),
        "frame_drop": pytest.approx([0.82, 0.67, 0.56, 0.41], abs=0.006),
        "judder": pytest.approx([0.957, 0.903, 0.818, 0.625], abs=0.001),
        "freeze": pytest.approx([0.85, 0.7, 0.5, 0.3]),
    }
