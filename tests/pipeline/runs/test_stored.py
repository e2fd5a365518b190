"""A folder in a store that does not always answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import ConfigurationError, OutputError


@pytest.mark.slow
@pytest.mark.parametrize(("patience_seconds", "reads"), [(0.0, 1), (0.5, 3), (60.0, 4)])
def test_a_store_that_does_not_answer_is_asked_again_while_patience_lasts(
    patience_seconds: float, reads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers the fourth time; pauses are of 0.1, 0.2 and 0.4 s."""
    directory, asked = RunDirectory(str(tmp_path), patience_seconds=patience_seconds), list[str]()
    monkeypatch.setattr("pipeline.runs.stored.FIRST_PAUSE_SECONDS", 0.1)

    def cat_file(path: str) -> bytes:
        asked.append(path)
        if len(asked) < 4:
            raise ConnectionError("refused")
        return b'{"generation": 3}'

    monkeypatch.setattr(directory._fs, "cat_file", cat_file)
    if patience_seconds < 60:
        with pytest.raises(OutputError, match="read run failed: ConnectionError"):
            directory.read_run()
    else:
        assert directory.read_run() == {"generation": 3}
    assert len(asked) == reads


def test_a_store_that_refuses_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, asked = RunDirectory(str(tmp_path), patience_seconds=60), list[str]()

    def cat_file(path: str) -> bytes:
        asked.append(path)
        raise PermissionError("no")

    monkeypatch.setattr(directory._fs, "cat_file", cat_file)
    with pytest.raises(OutputError, match="read run failed: PermissionError"):
        directory.read_run()
    assert len(asked) == 1


def test_a_remote_output_with_characters_that_the_store_would_expand_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"run\[1\]"):
        RunDirectory("s3://bucket/run[1]")
