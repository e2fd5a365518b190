"""The demo's backlog is what its manifest says: real clips, worse versions of them, and rows that fail."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

import av
import numpy as np
from numpy.typing import NDArray


def luma(path: Path) -> NDArray[np.float32]:
    """(frames, height, width) float32, 0..255."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.float32)


def test_every_recipe_changes_the_picture_and_keeps_its_shape(demo: ModuleType, tmp_path: Path) -> None:
    videos = demo.make_backlog(tmp_path, {"phone": "carphone_pristine"})
    pictures = {video.recipe: luma(tmp_path / video.name) for video in videos if video.recipe in demo.RECIPES}
    assert pictures.keys() == demo.RECIPES.keys()
    clean = pictures.pop("clean")
    assert clean.shape == (120, 144, 176)
    for recipe, picture in pictures.items():
        assert picture.shape == clean.shape, recipe
        assert np.abs(picture - clean).mean() > 2, recipe


def test_the_manifest_names_every_file_and_one_that_is_missing(demo: ModuleType, tmp_path: Path) -> None:
    videos = demo.make_backlog(tmp_path, {"phone": "carphone_pristine"})
    demo.write_manifest(tmp_path / "manifest.csv", videos, base="s3://bucket/backlog")
    with (tmp_path / "manifest.csv").open(newline="") as source:
        rows = list(csv.DictReader(source))
    named = {row["uri"].removeprefix("s3://bucket/backlog/") for row in rows}
    assert len(named) == len(rows) == len(videos)
    assert named - {path.name for path in tmp_path.iterdir()} == {"missing.mp4"}
    assert all(row["source"] and row["recipe"] for row in rows)
