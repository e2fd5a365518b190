"""Near copies of earlier videos say so: in the order of scoring, each content once."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.schema import OUTCOME
from pipeline.runs.copies import near_copies
from pipeline.runs.report import write_report
from pipeline.runs.rundir import RunDirectory
from securevqa_core.fingerprints import MIRROR

COLUMNS = ("near_copy_of", "near_copies", "near_copy_best_score")


def print_of(seed: int, *, turned: int = 0, mirrored: bool = False) -> str:
    """A fingerprint, with so many of its first bits turned."""
    words = np.random.default_rng(seed).integers(1 << 63, size=4, dtype=np.uint64)
    words[0] ^= np.uint64((1 << turned) - 1)
    return (words ^ MIRROR if mirrored else words).astype("<u8").tobytes().hex()


def row(key: str, *, call: int, second: int = 0, content: str = "", **columns: Any) -> dict[str, Any]:
    at = datetime.datetime(2026, 11, 22, 3, 0, second, tzinfo=datetime.UTC)
    digest = hashlib.sha256((content or key).encode()).hexdigest()
    known = {"row_key": key, "video_id": f"id {key}", "uri": f"/{key}", "status": "scored", "score": 50.0}
    provenance = {"checkpoint_id": "c", "content_sha256": digest, "picture_fingerprint": print_of(1)}
    return known | provenance | {"call": call, "scored_at": at} | columns


def state_of(tmp_path: Path, *commits: list[dict[str, Any]]) -> RunDirectory:
    state = RunDirectory(str(tmp_path / "state"))
    for number, rows in enumerate(commits):
        state.commit(pa.Table.from_pylist(rows, schema=OUTCOME), f"commit-{number}")
    return state


def told(state: RunDirectory, *, checkpoint_id: str = "c") -> dict[str, tuple[Any, ...]]:
    """What each row of a state is told, by row key."""
    rows = state.committed_rows(OUTCOME.names)
    with near_copies(state, checkpoint_id=checkpoint_id) as copies:
        filled = copies.fill(rows)
    assert filled.schema == rows.schema
    columns = (filled[name].to_pylist() for name in COLUMNS)
    return dict(zip(filled["row_key"].to_pylist(), zip(*columns, strict=True), strict=True))


def test_each_copy_names_the_earliest_and_counts_those_before_it(
    tmp_path: Path,
) -> None:
    state = state_of(
        tmp_path,
        [
            row("c", call=2, score=70.0, picture_fingerprint=print_of(1, turned=20)),
            row("b", call=1, second=9, score=61.0),
        ],
        [row("a", call=1, second=5, score=40.0), row("other", call=1, picture_fingerprint=print_of(2))],
        [row("d", call=3, score=10.0, picture_fingerprint=print_of(1, mirrored=True))],
    )
    assert told(state) == {
        "a": (None, 0, None),
        "b": ("id a", 1, 40.0),
        "c": ("id a", 2, 61.0),
        "d": ("id a", 3, 70.0),
        "other": (None, 0, None),
    }


def test_a_flood_in_one_night_counts_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flood = [
        row(
            f"{number:02d}",
            call=7,
            second=number,
            picture_fingerprint=print_of(1, turned=int(rng.integers(20))),
        )
        for number in range(40)
    ]
    state = state_of(tmp_path, [flood[place] for place in rng.permutation(40)])
    assert [told(state)[f"{number:02d}"][1] for number in range(40)] == list(range(40))


def test_the_same_bytes_are_one_video_whoever_uploads_them_how_often(tmp_path: Path) -> None:
    state = state_of(
        tmp_path,
        [
            row("first", call=1, content="x"),
            row("again", call=2, content="x"),
            row("third", call=9, content="x"),
        ],
        [row("copy", call=5), row("same copy", call=6, content="copy")],
    )
    assert told(state) == {
        "first": (None, 0, None),
        "again": (None, 0, None),
        "third": (None, 0, None),  # for the copy came after the first of them
        "copy": ("id first", 1, 50.0),
        "same copy": ("id first", 1, 50.0),
    }


def test_best_scores_are_those_of_one_checkpoint_and_counts_of_all(tmp_path: Path) -> None:
    state = state_of(
        tmp_path,
        [row("a", call=1, score=90.0, checkpoint_id="old"), row("b", call=2, score=30.0)],
        [row("a anew", call=3, content="a", score=44.0), row("c", call=4), row("failed", call=5, score=None)],
        [row("d", call=6)],
    )
    assert told(state)["c"] == ("id a", 2, 44.0)
    assert told(state)["d"] == ("id a", 4, 50.0)
    assert told(state, checkpoint_id="old")["d"] == ("id a", 4, 90.0)


def test_rows_without_a_fingerprint_are_told_nothing_and_count_nowhere(tmp_path: Path) -> None:
    state = state_of(
        tmp_path,
        [row("flat", call=1, picture_fingerprint=None), row("a", call=2)],
        [row("gone", call=3, picture_fingerprint=None, content_sha256=None, status="failed", score=None)],
    )
    assert told(state) == {"flat": (None, None, None), "a": (None, 0, None), "gone": (None, None, None)}
    nothing = state_of(tmp_path / "other", [row("flat", call=1, picture_fingerprint=None)])
    assert told(nothing) == {"flat": (None, None, None)}


def test_what_was_told_stays_when_later_copies_come_and_files_are_rewritten(tmp_path: Path) -> None:
    state = state_of(tmp_path, [row("a", call=1)], [row("b", call=2)], [row("c", call=3)])
    before = told(state)
    state.commit(
        pa.Table.from_pylist([row("d", call=4), row("e", call=4, second=1)], schema=OUTCOME), "later"
    )
    state.compact_commits(min_files=1)
    assert {key: told(state)[key] for key in before} == before


def test_a_report_has_it_beside_rows_of_other_manifests(tmp_path: Path) -> None:
    state = state_of(
        tmp_path,
        [row("elsewhere", call=1)],
        [row("here", call=2), row("flat", call=2, picture_fingerprint=None)],
    )
    manifest = pa.table(
        {"row_key": ["flat", "here"], "video_id": ["id flat", "id here"], "uri": ["/f", "/h"]}
    )
    output = RunDirectory(str(tmp_path / "output"))
    for copies, expected in ((True, ("id elsewhere", 1, 50.0)), (False, (None, None, None))):
        with near_copies(state, checkpoint_id="c") as known:
            write_report(
                output,
                manifest,
                provenance={},
                state=state,
                copies=known if copies else None,
                writer=f"{copies}",
            )
        name = next(name for name in output.files("report") if str(copies) in name)
        report = pq.read_table(output.path("report", name)).to_pylist()
        assert [tuple(one[column] for column in COLUMNS) for one in report] == [(None, None, None), expected]
