"""A folder says what it is: a run that has begun, or rows that runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli import call, read_json
from nightly import Nights

from pipeline.runs.history import find_runs
from pipeline.runs.lock import locked
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring import score as scoring
from securevqa_core.errors import ConfigurationError, OutputError
from securevqa_core.randomness import Key


def listed(nights: Nights) -> list[tuple[str, str]]:
    return [(one.uri.removeprefix(f"{nights.place}/"), one.state) for one in find_runs(nights.place)]


def broken(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_night_that_was_killed_is_listed_and_the_rows_that_nights_share_are_not(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.upload("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "write_report", broken)
        with pytest.raises(KeyboardInterrupt):
            nights.score("1-monday")
    assert listed(nights) == [("1-monday", "unfinished")]
    nights.score("2-tuesday")
    assert listed(nights) == [("1-monday", "unfinished"), ("2-tuesday", "finished")]
    nights.score("1-monday")
    assert listed(nights) == [("1-monday", "finished"), ("2-tuesday", "finished")]
    assert RunDirectory(f"{nights.place}/1-monday").read_file("begun.json") is None
    with pytest.raises(OutputError, match="rows that runs share, and no run"):
        find_runs(f"{nights.place}/state")


def test_folders_of_before_there_were_marks_are_told_apart(nights: Nights) -> None:
    nights.upload("a")
    nights.score("2-tuesday")
    RunDirectory(f"{nights.place}/state").remove_file("state.json")
    killed = RunDirectory(f"{nights.place}/1-monday")
    killed.write_file(b"{}", ".lock")
    assert listed(nights) == [("1-monday", "unfinished"), ("2-tuesday", "finished")]


def test_a_state_records_the_columns_that_were_committed_to_it(nights: Nights) -> None:
    nights.upload("a")
    nights.score("night")
    record = read_json(f"{nights.place}/state/state.json")
    assert (record["columns"]["score"], record["columns"]["uri"]) == (["double"], ["string"])
    nights.score("night")
    assert read_json(f"{nights.place}/state/state.json") == record


@pytest.mark.parametrize(
    ("content", "said"), [(b'{"layout": 2, "columns": {}}', "layout 2"), (b"[]", r"state\.json")]
)
def test_rows_of_a_layout_that_is_not_known_are_not_written_to(
    content: bytes, said: str, nights: Nights
) -> None:
    nights.upload("a")
    state = RunDirectory(f"{nights.place}/state")
    state.write_file(content, "state.json")
    with pytest.raises(OutputError, match=said):
        nights.score("night")
    assert not state.has_commits()


@pytest.mark.parametrize("incremental", ["X", "./X/", "X/../X", "ABSOLUTE", "file://ABSOLUTE", "LINK"])
def test_an_output_is_not_the_folder_of_the_rows_that_runs_share(
    incremental: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.csv").write_text("uri\na.mp4\n")
    (tmp_path / "link").symlink_to(tmp_path / "X")
    monkeypatch.chdir(tmp_path)
    given = incremental.replace("ABSOLUTE", str(tmp_path / "X")).replace("LINK", "link")
    assert call("score", "manifest.csv", "--output", "X", "--incremental", given, "--seed", "0") == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "--incremental and --output must be two folders" in said
    assert not (tmp_path / "X").exists(), "refused before anything is written"


@pytest.mark.parametrize("incremental", ["s3://bucket/run/", "S3://bucket/run", "s3://user@bucket/run"])
def test_nor_is_it_in_a_store(
    incremental: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, silent_store: str
) -> None:
    (tmp_path / "manifest.csv").write_text("uri\na.mp4\n")
    options = ("--output", silent_store, "--incremental", incremental, "--seed", "0")
    assert call("score", str(tmp_path / "manifest.csv"), *options) == 2
    assert "--incremental and --output must be two folders" in capsys.readouterr().err.replace("\n", " ")


def test_the_lock_of_a_folder_is_no_run_where_others_are(nights: Nights) -> None:
    nights.upload("a")
    nights.score("night")
    with locked(RunDirectory(f"{nights.place}/night")):
        assert listed(nights) == [("night", "finished")]


OTHER = Key(b"1" * 32, randomness="keyed")


@pytest.mark.parametrize("has_record", [True, False], ids=["recorded", "of before"])
def test_rows_that_runs_share_are_not_scored_once_more_with_another_key(
    has_record: bool, nights: Nights
) -> None:
    nights.upload("a")
    nights.score("1-monday")
    if not has_record:
        record = read_json(f"{nights.place}/state/state.json")
        del record["key"]
        RunDirectory(f"{nights.place}/state").write_json(record, "state.json")
    given, nights.key = nights.key, OTHER
    both = f"with key_id {given.key_id}, and the key that is given .* has key_id {OTHER.key_id}: give its key"
    with pytest.raises(ConfigurationError, match=f"state' holds rows {both}"):
        nights.score("2-tuesday")
    since = {"incremental": None, "since_run": f"{nights.place}/1-monday"}
    with pytest.raises(ConfigurationError, match=f"holds a run {both}.* or leave it out"):
        nights.score("2-tuesday", **since)
    assert RunDirectory(f"{nights.place}/2-tuesday").read_run() is None
    nights.key = given
    assert nights.score("2-tuesday").run["num_scored_now"] == 0
    made_with = {"key_id": given.key_id, "randomness": "keyed"}
    assert read_json(f"{nights.place}/state/state.json")["key"] == made_with


def test_rows_that_runs_share_need_a_key(nights: Nights) -> None:
    nights.upload("a")
    nights.key = Key.ephemeral()
    with pytest.raises(ConfigurationError, match=r"incremental needs a key \(--key-file or SECUREVQA_KEY\)"):
        nights.score("1-monday")
    assert not RunDirectory(f"{nights.place}/state").has_commits()


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "interrupted"])
@pytest.mark.parametrize("other", [OTHER, Key.public(7)], ids=lambda key: key.randomness)
def test_that_an_output_is_scored_once_more_with_another_key_is_said(
    is_finished: bool, other: Key, nights: Nights
) -> None:
    """Of an unfinished run it was not said, and the report was under the other key."""
    nights.upload("a", "b")
    nights.score("run", incremental=None)
    assert "once more" not in nights.said.getvalue()
    if not is_finished:
        RunDirectory(f"{nights.place}/run").remove_file("run.json")
    given, nights.key = nights.key, other
    assert nights.score("run", incremental=None).run["num_worked_on_now"] == 2
    said = " ".join(nights.said.getvalue().split())
    assert f"holds {'a run' if is_finished else 'rows'} with key_id {given.key_id} (--key-file" in said
    assert f"has key_id {other.key_id}: every video is scored once more" in said
    assert said.count("once more") == 1


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "interrupted"])
def test_an_output_whose_key_is_not_given_is_left_as_it_is(is_finished: bool, nights: Nights) -> None:
    nights.upload("a")
    nights.score("run", incremental=None)
    directory = RunDirectory(f"{nights.place}/run")
    before = directory.committed_rows([])
    if not is_finished:
        directory.remove_file("run.json")
    given, nights.key = nights.key, Key.ephemeral()
    with pytest.raises(ConfigurationError, match=f"key_id {given.key_id}, and no key is given: give its key"):
        nights.score("run", incremental=None)
    assert directory.committed_rows([]).equals(before)


def test_rows_that_are_there_with_the_key_that_is_given_count_beside_a_run_of_another(
    nights: Nights,
) -> None:
    """Back to an earlier key it was said that every video is scored once more, and none was."""
    nights.upload("a")
    nights.score("run", incremental=None)
    given, nights.key = nights.key, OTHER
    nights.score("run", incremental=None)
    nights.key = given
    again = nights.score("run", incremental=None).run
    assert (again["num_worked_on_now"], again["provenance"]["key_id"]) == (0, given.key_id)
    said = nights.said.getvalue()
    assert f"holds a run with key_id {OTHER.key_id}, and rows with {given.key_id} too" in said
    assert said.count("once more") == 1, "with the other key"


def test_that_there_is_no_key_is_said_where_one_is_used_and_a_key_scores_once_more(nights: Nights) -> None:
    nights.upload("a")
    nights.key = Key.ephemeral()
    nights.score("run", incremental=None)
    assert nights.said.getvalue().count("no key given") == 1
    assert not nights.score("run", incremental=None).is_new
    assert nights.said.getvalue().count("no key given") == 1, "nothing is drawn with one"
    nights.key = OTHER
    assert nights.score("run", incremental=None).run["num_worked_on_now"] == 1
