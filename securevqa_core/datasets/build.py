"""Owns the making of a data set: which clips each view gets, their labels, and one record for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.distortion import carry_out
from securevqa_core.datasets.families import FAMILIES, TEMPORAL
from securevqa_core.datasets.folder import DatasetFolder
from securevqa_core.datasets.recipes import Recipe, edit, ladder, mixture, pristine
from securevqa_core.datasets.references import write_reference
from securevqa_core.datasets.seeding import generator
from securevqa_core.datasets.steps import Filter, Hold
from securevqa_core.datasets.views import View
from securevqa_core.datasets.vmaf import measure_vmaf
from securevqa_core.errors import DatasetError

__all__ = ["AS_IS", "ClipRecord", "build_view", "choose_recipes", "read_records", "split_of"]

AS_IS = "as_is"  # family of videos that nothing was done to, not even shrinking


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecord:
    """One clip, its label and how it came about."""

    uri: str  # path of the clip, relative to the data set; of a video as it is, absolute
    label: float | None  # 0..100, higher is better; the rules are in `families`; None: of a video as it is
    vmaf: float | None  # v0.6.1, 0..100; of what the rule does not cover, where there is one; None: likewise
    vmaf_neg: float | None  # v0.6.1 NEG, 0..100; likewise
    quality_factor: float | None  # label = vmaf_neg x quality_factor, or vmaf_neg where VMAF is right
    family: str
    level: int  # 0: pristine
    ladder: str | None  # view and family, of the clips that differ by level alone; None for other clips
    source: str
    view: str
    split: str  # train, val or test, of the source alone; a manifest has that of the source's group
    recipe: str  # name, family and level
    width: int  # pixels
    height: int  # pixels
    fps: float


def split_of(source_id: str, config: BuildConfig) -> str:
    """Return the split of a source, decided by its id and the seed alone, so that more sources move none."""
    place = float(generator(config.seed, f"split|{source_id}").uniform())
    if place < config.test_share:
        return "test"
    return "val" if place < config.test_share + config.val_share else "train"


def choose_recipes(view: View, config: BuildConfig, *, has_motion: bool) -> list[Recipe]:
    """Return the recipes of a view: the pristine clip, whole ladders, mixtures, edits."""
    rng = generator(config.seed, f"recipes|{view.view_id}")
    families = [name for name in config.families or FAMILIES if has_motion or name not in TEMPORAL]
    chosen = rng.permutation(np.array(families))[: config.ladders_per_view]
    ladders = [recipe for family in chosen for recipe in ladder(str(family))]
    mixtures = [mixture(rng, number=i + 1) for i in range(config.mixtures_per_view)]
    edits = [edit(rng, number=i + 1) for i in range(config.edits_per_view)]
    return [pristine(), *ladders, *mixtures, *edits]


def read_records(view_id: str, folder: DatasetFolder) -> list[ClipRecord] | None:
    """Return the records of a finished view, or None where a record or a clip is missing.

    Raises:
        DatasetError: the file of records is damaged.
    """
    path = folder.record(view_id)
    if not path.exists():
        return None
    try:
        records = [ClipRecord(**row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}; delete it to build the view again") from error
    return records if all(folder.clip(record.uri).exists() for record in records) else None


def build_view(
    view: View, folder: DatasetFolder, config: BuildConfig, *, is_stopped: Callable[[], bool] = lambda: False
) -> list[ClipRecord] | None:
    """Make and label every clip of a view; what an earlier call finished is read back.

    Args:
        view: what to take from which source.
        folder: where clips and records go; the records last, and all at once.
        config: what to make.
        is_stopped: asked before each clip.

    Returns:
        A record for each clip, or None when told to stop: then nothing of the view counts as made.

    Raises:
        DatasetError: the source is not usable, or FFmpeg failed.
    """
    finished = read_records(view.view_id, folder)
    if finished is not None:
        return finished
    records = [_as_it_is(view, config)] if config.as_is else _build_clips(view, folder, config, is_stopped)
    if records is not None:
        folder.write(folder.record(view.view_id), json.dumps([asdict(record) for record in records]))
    return records


def _build_clips(
    view: View, folder: DatasetFolder, config: BuildConfig, is_stopped: Callable[[], bool]
) -> list[ClipRecord] | None:
    reference = folder.reference(view.view_id)
    has_motion = write_reference(view, reference)
    records = []
    for recipe in choose_recipes(view, config, has_motion=has_motion):
        if is_stopped():
            return None
        records.append(_build_clip(view, recipe, reference, folder, config))
    return records


def _as_it_is(view: View, config: BuildConfig) -> ClipRecord:
    """Return the record of a whole video, whose faults and label nobody made."""
    return ClipRecord(
        uri=str(view.source.path),
        label=None,
        vmaf=None,
        vmaf_neg=None,
        quality_factor=None,
        family=AS_IS,
        level=0,
        ladder=None,
        source=view.source.source_id,
        view=view.view_id,
        split=split_of(view.source.source_id, config),
        recipe=AS_IS,
        width=view.clip.width,
        height=view.clip.height,
        fps=view.clip.fps,
    )


def _build_clip(
    view: View, recipe: Recipe, reference: Path, folder: DatasetFolder, config: BuildConfig
) -> ClipRecord:
    uri = f"clips/{view.view_id}/{recipe.name}.mp4"
    path = folder.clip(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    carry_out(recipe.steps, reference, path, clip=view.clip, scratch=folder.scratch)
    factor = recipe.quality_factor
    same = [] if factor is None else [step for step in recipe.steps if isinstance(step, Filter | Hold)]
    measured = measure_vmaf(path, reference, clip=view.clip, scratch=folder.scratch, same=same)
    return ClipRecord(
        uri=uri,
        label=measured.vmaf_neg * (1.0 if factor is None else factor),
        vmaf=measured.vmaf,
        vmaf_neg=measured.vmaf_neg,
        quality_factor=factor,
        family=recipe.family,
        level=recipe.level,
        ladder=f"{view.view_id}/{recipe.family}" if recipe.family in FAMILIES else None,
        source=view.source.source_id,
        view=view.view_id,
        split=split_of(view.source.source_id, config),
        recipe=recipe.name,
        width=view.clip.width,
        height=view.clip.height,
        fps=view.clip.fps,
    )
