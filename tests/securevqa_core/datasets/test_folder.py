"""A data set's folder is one build's at a time, keeps its settings, and holds whole files only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securevqa_core.datasets.folder import DatasetFolder, opened
from securevqa_core.errors import ConfigurationError, OutputError

SETTINGS = {"seed": 0, "recipes": "0123"}


def test_a_second_build_of_a_folder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with opened(tmp_path, SETTINGS):
        message = f"another process is building in '{tmp_path}'"
        with pytest.raises(OutputError, match=message), opened(tmp_path, SETTINGS):
            pass
    with opened(tmp_path, SETTINGS):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"seed": 1, "recipes": "0123"},
            "seed must be 0, as in the data set in .*, got 1: build into another",
        ),
        ({"seed": 0}, "recipes must be '0123', as in .*, got None"),
        ({**SETTINGS, "views": 3}, "views must be None, as in .*, got 3"),
    ],
)
def test_a_folder_keeps_the_settings_it_was_made_with(
    settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    with opened(tmp_path, SETTINGS) as folder:
        assert json.loads((folder.root / "dataset.json").read_text()) == SETTINGS
    with pytest.raises(ConfigurationError, match=message), opened(tmp_path, settings):
        pass


@pytest.mark.parametrize("text", ["{", "3"])
def test_damaged_settings_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(OutputError, match=r"dataset\.json cannot be read"), opened(tmp_path, SETTINGS):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = f"output '{tmp_path / 'file'}' cannot be written"
    with pytest.raises(OutputError, match=message), opened(tmp_path / "file", SETTINGS):
        pass


def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / ".scratch" / "tmp1234").mkdir(parents=True)
    with opened(tmp_path, SETTINGS) as folder:
        assert not list(folder.scratch.iterdir())
        folder.write(folder.record("street-0"), "[]")
        assert folder.record("street-0").read_text() == "[]"
        assert not list(folder.scratch.iterdir())
    assert not folder.scratch.exists()


def test_places_are_inside_the_folder(tmp_path: Path) -> None:
    folder = DatasetFolder(root=tmp_path)
    places = [
        folder.clip("clips/street-0/blur-1.mp4"),
        folder.reference("street-0"),
        folder.record("street-0"),
    ]
    places += [folder.hashes("street"), folder.manifest, folder.scratch]
    assert len(set(places)) == 6
    assert all(place.is_relative_to(tmp_path) for place in places)
