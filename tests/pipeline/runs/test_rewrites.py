"""Rows that runs of several kinds share outlive every rewriting: no column is lost, the newest stays so."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nightly import Nights

from operators.schema import OUTCOME, ROW_KEY
from pipeline.runs.backlog import adopt
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError

START = datetime.datetime(2026, 11, 22, 3, tzinfo=datetime.UTC)
FUSED, WIDE, SMALL = (
    pa.field("fused", pa.list_(pa.float32(), 4)),
    pa.field("fused", pa.list_(pa.float32(), 6)),
    pa.field("fused", pa.list_(pa.list_(pa.float16(), 2), 3)),
)
# What runs that share rows add to those of a score; two of one name are of two checkpoints or poolings.
KINDS: dict[str, list[pa.Field[Any]]] = {
    "score": [],
    "extract": [FUSED],
    "wide": [WIDE],
    "clips": [SMALL, pa.field("intra", pa.list_(pa.float32(), 2))],
}
VALUES: dict[Any, Callable[[int], Any]] = {
    FUSED: lambda at: [float(at)] * 4,
    WIDE: lambda at: [float(at)] * 6,
    SMALL: lambda at: [[float(at % 2000)] * 2] * 3,
    KINDS["clips"][1]: lambda at: [float(at), 0.0],
}


@dataclass(frozen=True)
class Committed:
    """One row of one kind of run; no two are finished at one moment."""

    kind: str
    key: str
    minute: int

    def row(self) -> dict[str, Any]:
        at = START + datetime.timedelta(minutes=self.minute)
        known = {"row_key": f"{self.kind} {self.key}", "status": "scored", "score": float(self.minute)}
        known |= {"video_id": self.key, "config_id": self.kind}
        added = {field.name: VALUES[field](self.minute) for field in KINDS[self.kind]}
        return known | {"scored_at": at} | added


def opened(uri: str, kind: str) -> RunDirectory:
    return RunDirectory(uri, more_columns=KINDS[kind])


def commit(uri: str, kind: str, rows: list[Committed], name: str) -> None:
    state = opened(uri, kind)
    state.commit(pa.Table.from_pylist([one.row() for one in rows], schema=state.outcome), name)


def held(uri: str, kind: str, *, newest_only: bool) -> list[dict[str, Any]]:
    """What a run of a kind finds of its own rows, and of no other's."""
    keys = [f"{kind} {key}" for key in "abc"]
    names = ["status", "score", *(field.name for field in KINDS[kind])]
    rows = opened(uri, kind).committed_rows(names, keys=keys, newest_only=newest_only)
    return rows.select([ROW_KEY, "scored_at", *names]).to_pylist()


def expected(rows: list[Committed], kind: str, *, newest_only: bool) -> list[dict[str, Any]]:
    own = sorted((one for one in rows if one.kind == kind), key=lambda one: one.minute)
    if newest_only:
        own = list({one.key: one for one in own}.values())
        own.sort(key=lambda one: one.minute)
    names = {"row_key", "scored_at", "status", "score", *(field.name for field in KINDS[kind])}
    return [{name: value for name, value in one.row().items() if name in names} for one in own]


def require_all(uri: str, rows: list[Committed]) -> None:
    for kind in KINDS:
        for newest_only in (False, True):
            assert held(uri, kind, newest_only=newest_only) == expected(rows, kind, newest_only=newest_only)


# Of one drawing each; a quarter of a second, so that most are for `make test`.
SEEDS = [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_rewriting_of_any_mixture_loses_a_value(seed: int, tmp_path: Path) -> None:
    """Commits of all kinds and rewritings by all kinds, in any order, beside what a list of rows says."""
    rng, rows, minute, uri = random.Random(seed), list[Committed](), 0, str(tmp_path)
    for number in range(rng.randint(4, 14)):
        what, kind = rng.choice(["commit", "commit", "compact", "forget"]), rng.choice(list(KINDS))
        if what == "commit":
            keys = rng.choices("abc", k=rng.randint(1, 4))
            new = [Committed(kind, key, minute + place) for place, key in enumerate(keys)]
            minute += len(new)
            commit(uri, kind, new, f"commit{number}")
            rows += new
            continue
        if what == "compact":
            opened(uri, kind).compact_commits(min_files=1)
        else:
            before = rng.randint(0, minute)
            keep = [key for key in "abc" if rng.random() < 0.5]
            opened(uri, kind).forget_commits(before=START + datetime.timedelta(minutes=before), keep=keep)
            rows = [one for one in rows if one.minute >= before or one.key in keep]
        require_all(uri, rows)
    RunDirectory(uri).compact_commits(min_files=1)
    require_all(uri, rows)


def test_a_scoring_run_leaves_the_embeddings_that_it_shares_rows_with(place: str) -> None:
    rows = [Committed(kind, key, 10 * n + m) for n, kind in enumerate(KINDS) for m, key in enumerate("abc")]
    for number, one in enumerate(rows):
        commit(place, one.kind, [one], f"commit{number}")
    RunDirectory(place).compact_commits(min_files=12)
    assert len(RunDirectory(place).files("checkpoint", "rows")) == len(KINDS)
    assert len(RunDirectory(place).files("checkpoint", "ids")) == 1
    require_all(place, rows)
    RunDirectory(place).forget_commits(before=START + datetime.timedelta(minutes=11), keep=["b"])
    require_all(place, [one for one in rows if one.minute >= 11 or one.key == "b"])


def test_what_another_run_knows_of_a_listed_video_outlives_the_days_of_this_one(nights: Nights) -> None:
    nights.upload("a", "b")
    nights.score("night")
    state, old = RunDirectory(f"{nights.place}/state"), START - datetime.timedelta(days=400)
    known = state.committed_rows(["video_id"]).to_pylist()
    others = [
        {"row_key": f"other {n}", "video_id": one["video_id"], "scored_at": old}
        for n, one in enumerate(known)
    ]
    gone = {"row_key": "gone", "video_id": "listed nowhere", "scored_at": old}
    state.commit(pa.Table.from_pylist([*others, gone], schema=state.outcome), "of an extraction")
    nights.upload("c")
    nights.score("night", keep_days=180)
    keys = set(state.committed_rows([])[ROW_KEY].to_pylist())
    assert {"other 0", "other 1"} < keys
    assert "gone" not in keys


def test_rows_without_a_moment_are_not_forgotten(place: str) -> None:
    table = pa.Table.from_pylist([{"row_key": "a"}, {"row_key": "b", "scored_at": START}], schema=OUTCOME)
    state = RunDirectory(place)
    state.commit(table, "commit")
    state.forget_commits(before=START + datetime.timedelta(days=1), keep=[])
    assert state.committed_rows([])[ROW_KEY].to_pylist() == ["a"]


def test_rows_of_one_s_own_key_and_another_type_are_not_taken_for_none(place: str) -> None:
    commit(place, "extract", [Committed("extract", "a", 1)], "commit")
    with pytest.raises(OutputError, match="committed rows failed"):
        opened(place, "wide").committed_rows(["fused"], keys=["extract a"])


def test_rows_are_taken_over_from_among_those_of_other_extractions(place: str) -> None:
    rows = [Committed(kind, "a", minute) for minute, kind in enumerate(KINDS)]
    for one in rows:
        commit(f"{place}/earlier", one.kind, [one], one.kind)
    RunDirectory(f"{place}/earlier").write_json({"generation": 1, "rows": 1}, "run.json")
    taken = opened(f"{place}/now", "wide")
    adopt(taken, f"{place}/earlier", ["a"], shared={"config_id": "wide"})
    assert held(f"{place}/now", "wide", newest_only=False) == expected(rows, "wide", newest_only=False)
    assert taken.committed_rows([])[ROW_KEY].to_pylist() == ["wide a"]
