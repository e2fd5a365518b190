"""Files and folders appear whole: what fails leaves what was there, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from securevqa_core.files import whole_file, whole_folder


def _names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with whole_file(path) as part:
        part.write_bytes(b"all of it")
        assert part.suffix == ".mkv"
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert _names(tmp_path) == ["clip.mkv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_fails_leaves_the_earlier_one_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "state"
    path.write_text("earlier")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise error

    with pytest.raises(error), whole_file(path) as part:
        fail(part)
    assert path.read_text() == "earlier"
    assert _names(tmp_path) == ["state"]


def test_a_file_that_was_never_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="part-state"), whole_file(tmp_path / "state"):
        pass


def test_a_folder_that_a_killed_process_left_is_made_anew(tmp_path: Path) -> None:
    left = tmp_path / ".part-entry"
    left.mkdir()
    (left / "half").touch()
    with whole_folder(tmp_path / "entry") as part:
        (part / "whole").touch()
    assert _names(tmp_path) == ["entry"]
    assert _names(tmp_path / "entry") == ["whole"]


def test_a_folder_that_is_there_already_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    path.mkdir()
    (path / "whole").touch()
    with pytest.raises(OSError, match="entry"), whole_folder(path) as part:
        (part / "other").touch()
    assert _names(path) == ["whole"]
