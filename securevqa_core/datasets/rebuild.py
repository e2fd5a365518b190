"""Owns what it takes to make any one clip again: the columns that say how, and the making."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from securevqa_core import ffmpeg
from securevqa_core.datasets.build import ClipRecord, choose_recipes
from securevqa_core.datasets.config import BuildConfig
from securevqa_core.datasets.distortion import carry_out
from securevqa_core.datasets.folder import DatasetFolder
from securevqa_core.datasets.recipes import Recipe
from securevqa_core.datasets.references import has_motion, write_reference
from securevqa_core.datasets.sources import find_by_digest
from securevqa_core.datasets.steps import steps_from_json, steps_to_json
from securevqa_core.datasets.views import View, view_from_json, view_to_json
from securevqa_core.errors import ConfigurationError, DatasetError

__all__ = ["plan_columns", "rebuild_clip"]


def plan_columns(
    view: View, records: Sequence[ClipRecord], folder: DatasetFolder, config: BuildConfig
) -> list[dict[str, str | None]]:
    """Return, for each record of a view, the columns from which `rebuild_clip` makes its clip again.

    A video as it is has no plan: the source is the clip. The columns follow from the sources and the
    configuration, so records do not hold them.

    Raises:
        DatasetError: the records are not those of this view under this configuration.
    """
    source: dict[str, str | None] = {"source_uri": str(view.source.path), "source_sha256": view.source.sha256}
    if config.as_is:
        unmade: dict[str, str | None] = dict.fromkeys(("view_plan", "steps", "ffmpeg_version"))
        return [source | unmade for _ in records]
    recipes = {recipe.name: recipe for recipe in _recipes(view, records, folder, config)}
    shared = source | {
        "view_plan": view_to_json(view),
        "ffmpeg_version": ffmpeg.version(),
    }
    num_frames = view.clip.num_frames
    return [
        shared | {"steps": steps_to_json(recipes[record.recipe].steps, num_frames=num_frames)}
        for record in records
    ]


def rebuild_clip(row: Mapping[str, Any], output: Path, *, roots: Sequence[Path], any_ffmpeg: bool) -> None:
    """Make a clip again, with the same pixels.

    Args:
        row: of a manifest.
        output: the file to write, .mp4; it appears whole or not at all.
        roots: folders with the source, which is known by its bytes; none: where it was.
        any_ffmpeg: use this machine's FFmpeg even where the clip was made with another version.

    Raises:
        ConfigurationError: the row is not of a data set's manifest, or FFmpeg is another.
        DatasetError: the source is not there, or FFmpeg failed.
    """
    for name in ("view", "view_plan", "steps", "source_uri", "source_sha256", "ffmpeg_version"):
        if not isinstance(row.get(name), str):
            raise ConfigurationError(f"the manifest must have {name} to rebuild from, got {row.get(name)!r}")
    if row["ffmpeg_version"] != ffmpeg.version() and not any_ffmpeg:
        raise ConfigurationError(
            f"FFmpeg must be {row['ffmpeg_version']}, with which the clip was made, got {ffmpeg.version()}"
        )
    source = find_by_digest(row["source_sha256"], roots or [Path(row["source_uri"])])
    view = view_from_json(row["view_plan"], view_id=row["view"], source=source)
    steps = steps_from_json(row["steps"])
    with tempfile.TemporaryDirectory(prefix=".securevqa-", dir=output.absolute().parent) as name:
        reference = Path(name, "reference.mkv")
        write_reference(view, reference)
        carry_out(steps, reference, output, clip=view.clip, scratch=Path(name))


def _recipes(
    view: View, records: Sequence[ClipRecord], folder: DatasetFolder, config: BuildConfig
) -> list[Recipe]:
    """Return the recipes that records were made from; whether the view moves decides between two choices."""
    made = [record.recipe for record in records]
    sizes = {(record.width, record.height, record.fps) for record in records}
    choices = {moves: choose_recipes(view, config, has_motion=moves) for moves in (False, True)}
    fits = [moves for moves, recipes in choices.items() if [recipe.name for recipe in recipes] == made]
    if not fits or sizes != {(view.clip.width, view.clip.height, view.clip.fps)}:
        raise DatasetError(
            f"{folder.record(view.view_id)} must be of this view and seed, got {', '.join(made)}"
        )
    return choices[fits[0] if len(fits) == 1 else _moves(view, folder)]


def _moves(view: View, folder: DatasetFolder) -> bool:
    reference = folder.reference(view.view_id)
    if reference.exists():
        return has_motion(reference)
    return write_reference(view, reference)
