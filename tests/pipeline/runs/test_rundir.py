"""The run directory: what is trusted, what is archived, and what an interruption leaves."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from operators.schema import OUTCOME, texts
from pipeline.runs.report import write_report
from pipeline.runs.row_keys import keyed
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError
from securevqa_core.scoring import Thresholds

PROVENANCE = {"checkpoint_id": "c", "checkpoint_status": "trained", "config_id": "f"}


def manifest(*names: str) -> pa.Table:
    return pa.table(
        {
            "row_key": [f"key of {name}" for name in names],
            "video_id": list(names),
            "uri": [f"/videos/{name}" for name in names],
            "channel": pa.array(names).dictionary_encode(),
        }
    )


def commit(folder: Path, *names: str, score: float = 50.0) -> None:
    """Write the row file that Ray Data would have written."""
    rows = [
        {"row_key": f"key of {name}", "video_id": name, "uri": f"/videos/{name}", "status": "scored"}
        | {"score": score, "verdict": "review"}
        for name in names
    ]
    commit_table(folder, f"{'_'.join(names)}_{score:g}", pa.Table.from_pylist(rows, schema=OUTCOME))


def commit_table(folder: Path, stem: str, table: pa.Table) -> None:
    home = folder / "checkpoint" / "rows"
    home.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(table, home / f"{stem}-0.parquet")
    ids = folder / "checkpoint" / "ids"
    ids.mkdir(exist_ok=True)
    pa.parquet.write_table(table.select(["row_key"]), ids / f"{stem}.parquet")


def test_rows_come_in_the_manifest_s_order_once_each_with_its_columns(tmp_path: Path) -> None:
    commit(tmp_path, "c", "a")
    commit(tmp_path, "b")
    commit(tmp_path, "b", score=51.0)  # committed twice, as after a lost acknowledgement
    commit(tmp_path, "of another generation")
    summary = write_report(RunDirectory(str(tmp_path)), manifest("a", "b", "c"), provenance=PROVENANCE)
    table = pa.parquet.read_table(tmp_path / "report")
    assert table["video_id"].to_pylist() == table["channel"].to_pylist() == ["a", "b", "c"]
    assert summary.rows == table.num_rows == 3


@pytest.mark.parametrize(
    ("thresholds", "verdicts"),
    [
        (None, ["review"] * 4),
        (Thresholds(pass_at=50, reject_below=40), ["pass", "reject", "review", "review"]),
        (Thresholds(pass_at=60, reject_below=51), ["reject", "reject", "review", "review"]),
        (Thresholds(pass_at=20, reject_below=10), ["pass", "pass", "review", "review"]),
    ],
)
def test_verdicts_are_those_of_the_thresholds_when_the_report_is_written(
    tmp_path: Path, thresholds: Thresholds | None, verdicts: list[str]
) -> None:
    scored = {"status": "scored", "checkpoint_status": "trained", "verdict": "review"}
    rows = [
        scored | {"row_key": "key of a", "score_lower": 50.0},
        scored | {"row_key": "key of b", "score_lower": 30.0},
        scored | {"row_key": "key of c", "score_lower": 90.0, "checkpoint_status": "untrained"},
    ]
    commit_table(tmp_path, "all", pa.Table.from_pylist(rows, schema=OUTCOME))
    directory = RunDirectory(str(tmp_path))
    names = manifest("a", "b", "c", "lost")
    summary = write_report(directory, names, provenance=PROVENANCE, thresholds=thresholds)
    assert pa.parquet.read_table(tmp_path / "report")["verdict"].to_pylist() == verdicts
    assert summary.by_verdict.total() == 4


def test_rows_without_a_commit_and_commits_without_rows_do_not_count(tmp_path: Path) -> None:
    commit(tmp_path, "a")
    commit(tmp_path, "b")
    commit(tmp_path, "c")
    (tmp_path / "checkpoint" / "ids" / "a_50.parquet").unlink()
    (tmp_path / "checkpoint" / "rows" / "b_50-0.parquet").unlink()
    (tmp_path / "checkpoint" / "rows" / "torn_9-0.parquet").write_bytes(b"PAR1")
    assert RunDirectory(str(tmp_path)).committed_rows([])["row_key"].to_pylist() == ["key of c"]


def test_keys_that_no_commit_holds_give_no_row(tmp_path: Path) -> None:
    commit(tmp_path, "a")
    assert RunDirectory(str(tmp_path)).committed_rows([], keys=["another"]).num_rows == 0


def test_a_store_that_is_silent_now_does_not_make_its_videos_new(tmp_path: Path) -> None:
    silent, present = "https://127.0.0.1:1/a.mp4", tmp_path / "b.mp4"
    present.touch()
    row = {"row_key": "the key it had", "video_id": "a", "uri": silent, "status": "scored"}
    commit_table(tmp_path, "a", pa.Table.from_pylist([row | PROVENANCE], schema=OUTCOME))
    videos = pa.table({"video_id": ["a", "b", "c"], "uri": [silent, str(present), str(tmp_path / "c.mp4")]})
    directory = RunDirectory(str(tmp_path))

    def keys(**others: str) -> list[str]:
        pieces = keyed(directory, [videos.slice(0, 2), videos.slice(2)], provenance=PROVENANCE | others)
        return [key for piece in pieces for key in texts(piece, "row_key")]

    assert keys()[0] == "the key it had"
    assert keys(config_id="other")[0] != "the key it had"
    before = keys()
    present.write_bytes(b"changed")
    after = keys()
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_a_row_that_no_worker_returned_says_so(tmp_path: Path) -> None:
    commit(tmp_path, "a")
    summary = write_report(RunDirectory(str(tmp_path)), manifest("a", "b"), provenance=PROVENANCE)
    (lost,) = pa.parquet.read_table(tmp_path / "report").to_pylist()[1:]
    assert (lost["status"], lost["error_code"], lost["verdict"]) == ("failed", "worker_lost", "review")
    assert (lost["video_id"], lost["checkpoint_id"], lost["score"]) == ("b", "c", None)
    assert summary.by_error == {"worker_lost": 1}


@pytest.mark.parametrize("content", ["", "[]", '{"generation": "first"}', "{}"])
def test_a_foreign_run_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OutputError, match=r"run\.json"):
        RunDirectory(str(tmp_path)).read_run()
