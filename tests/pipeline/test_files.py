"""Files that are written as a whole: what is there is complete, and what failed left the old one."""

from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest

from pipeline.files import write_json, write_rows


def test_json_is_read_back_from_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_json(path, {"score": 61.5, "reason": None})
    assert json.loads(path.read_text()) == {"score": 61.5, "reason": None}
    assert [one.name for one in path.parent.iterdir()] == ["b.json"]


def test_what_cannot_be_written_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_json(path, [1])
    with pytest.raises(TypeError, match="set"):
        write_json(path, {1})
    assert json.loads(path.read_text()) == [1]


def test_a_column_that_a_row_lacks_is_null(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", [{"a": 1}, {"a": 2, "b": "x"}])
    assert polars.read_parquet(tmp_path / "rows.parquet").rows() == [(1, None), (2, "x")]
