"""Owns recipes: ladders of one fault, a fault and an encoding in either order, and a digest of them all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from securevqa_core.datasets.families import FAMILIES
from securevqa_core.datasets.steps import Step, steps_to_json
from securevqa_core.errors import ConfigurationError

__all__ = ["Recipe", "edit", "ladder", "mixture", "pristine", "table_digest"]

_SPATIAL_FIRST = ("blur", "noise", "rescale", "motion_blur", "underexposed", "sharpen")
_CODECS = ("x264", "x265", "av1", "vp9", "starved")
_EDITS = ("noise", "sharpen", "rescale", "blur")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is done to a pristine clip, in order."""

    family: str  # a key of `FAMILIES`, "pristine", "mixture" or "edit"
    level: int  # 0 is pristine; a higher level is worse
    steps: tuple[Step, ...]
    quality_factor: float | None = None  # 0..1, of a fault that VMAF misjudges; None: VMAF is right

    @property
    def name(self) -> str:
        """Return a name for files and tables."""
        return f"{self.family}-{self.level}"


def pristine() -> Recipe:
    """Return the recipe that changes nothing."""
    return Recipe(family="pristine", level=0, steps=())


def ladder(family: str) -> tuple[Recipe, ...]:
    """Return one recipe for each level of a family, mildest first.

    Raises:
        ConfigurationError: no such family.
    """
    if family not in FAMILIES:
        raise ConfigurationError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    row = FAMILIES[family]
    return tuple(
        Recipe(
            family=family,
            level=level,
            steps=_as_steps(row.steps(value)),
            quality_factor=None if row.factor is None else row.factor(value),
        )
        for level, value in enumerate(row.levels, start=1)
    )


def mixture(rng: np.random.Generator, *, number: int) -> Recipe:
    """Return a fault of capture or editing followed by an encoding, as uploads have it.

    Args:
        rng: decides both and their levels.
        number: told apart by it in names.
    """
    fault, encoding = _drawn(rng, (_SPATIAL_FIRST, slice(0, 3)), (_CODECS, slice(0, 4)))
    return Recipe(
        family="mixture",
        level=number,
        steps=fault.steps + encoding.steps,
        quality_factor=fault.quality_factor,
    )


def edit(rng: np.random.Generator, *, number: int) -> Recipe:
    """Return an encoding followed by what may be meant to hide it: noise, sharpening, another size, blur.

    Args:
        rng: decides both and their levels.
        number: told apart by it in names.
    """
    encoding, change = _drawn(rng, (_CODECS, slice(1, None)), (_EDITS, slice(0, 4)))
    return Recipe(family="edit", level=number, steps=encoding.steps + change.steps)


def table_digest(*, num_frames: int) -> str:
    """Return a digest that changes when any recipe or label factor does, for clips of `num_frames`."""
    table = [
        (recipe.name, steps_to_json(recipe.steps, num_frames=num_frames), recipe.quality_factor)
        for family in FAMILIES
        for recipe in ladder(family)
    ]
    content = json.dumps([table, _SPATIAL_FIRST, _CODECS, _EDITS])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _drawn(rng: np.random.Generator, *parts: tuple[tuple[str, ...], slice]) -> list[Recipe]:
    """Return for each part one of its levels of one of its families."""
    ladders = [ladder(str(rng.choice(families)))[levels] for families, levels in parts]
    return [rungs[int(rng.integers(len(rungs)))] for rungs in ladders]


def _as_steps(made: Step | tuple[Step, ...]) -> tuple[Step, ...]:
    return made if isinstance(made, tuple) else (made,)
