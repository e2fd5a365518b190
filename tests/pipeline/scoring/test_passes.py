"""Passes over rows: what was never begun stays pending, what was lost counts, and no video costs another."""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from cli import read_json, read_report
from rich.console import Console

from operators.schema import OUTCOME
from pipeline.events import Events
from pipeline.runs.backlog import BacklogConfig
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring import passes
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.progress import Ledger, new_ledger
from pipeline.scoring.score import Outcome, score
from pipeline.scoring.tally import Tally
from pipeline.session import ray_session
from securevqa_core.errors import OutputError, RunError
from securevqa_core.randomness import Key

Row = dict[str, Any]
SUPPORT = Path(__file__).parents[2] / "support"


@dataclass
class Workers:
    """Stand for Ray: take rows one after the other, until `broken` or the deadline."""

    killers: set[str] = field(default_factory=set)  # names of videos that take their worker down
    broken: Callable[[int], str | None] = lambda _: None  # what breaks before the n-th video of all, from 0
    num_begun: int = 0
    num_passes: int = 0
    begun: list[str] = field(default_factory=list)
    deadline_after: int | None = None  # videos; the others are never begun
    loses_tally: bool = False
    folder: Path = Path()

    def build(self, parts: Iterator[pa.Table], _: ScoreConfig, **given: Any) -> Any:
        return pa.concat_tables(parts), given

    def execute(self, pipeline: Any, directory: RunDirectory, *, num_rows: int) -> None:
        rows, given = pipeline
        assert rows.num_rows == num_rows
        self.num_passes += 1
        for row in rows.select(["row_key", "video_id", "uri"]).to_pylist():
            if self.deadline_after is not None and self.num_begun >= self.deadline_after:
                time.sleep(max(0.0, given["deadline"] - time.time()))
                if self.loses_tally:
                    given["telemetry"].tally.__init__(str(self.folder / "begun"))
                return
            if reason := self.broken(self.num_begun):
                raise RunError(reason)
            given["telemetry"].tally.begin(row["row_key"])
            self.num_begun += 1
            name = row["uri"].rpartition("/")[2]
            self.begun.append(name)
            if name not in self.killers:
                self.commit(directory, row | given["provenance"])

    def commit(self, directory: RunDirectory, row: Row) -> None:
        now = datetime.datetime.now(datetime.UTC)
        scored = {"status": "scored", "score": 70.0, "score_lower": 70.0, "verdict": "pass", "scored_at": now}
        directory.commit(pa.Table.from_pylist([row | scored], schema=OUTCOME), f"part{now.timestamp()}")

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        begun = self.folder / "begun"
        begun.write_bytes(b"")
        yield Ledger(tally=Tally(str(begun)), begun=begun)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Workers:
    made = Workers(folder=tmp_path)
    monkeypatch.setattr("pipeline.scoring.score.runs_here", lambda *_: False)
    monkeypatch.setattr(passes, "build_pipeline", made.build)
    monkeypatch.setattr(passes, "execute", made.execute)
    monkeypatch.setattr(passes, "new_ledger", made.ledger)
    monkeypatch.setattr(passes, "ray_session", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(passes, "answered_seeds", contextlib.nullcontext)
    monkeypatch.setattr(passes, "cluster_resources", lambda: {"CPU": 3.0})
    monkeypatch.setattr(passes, "shown_progress", lambda *_, **__: contextlib.nullcontext())
    return made


def night(tmp_path: Path, name: str, *videos: str, **backlog: Any) -> Outcome:
    (tmp_path / "videos").mkdir(exist_ok=True)
    paths = [tmp_path / "videos" / video for video in videos]
    for path in paths:
        path.write_bytes(path.name.encode())
        os.utime(path, (0, 0))
    pq.write_table(pa.table({"uri": [str(path) for path in paths]}), tmp_path / "manifest.parquet")
    config = ScoreConfig(
        manifest=str(tmp_path / "manifest.parquet"),
        output=str(tmp_path / name),
        key=Key(b"0" * 32, randomness="keyed"),
        allow_schemes=frozenset({"file"}),
        backlog=BacklogConfig(incremental=str(tmp_path / "state"), **backlog),
    )
    return score(config, events=Events(Console(file=io.StringIO())))


def statuses(tmp_path: Path, name: str) -> list[str]:
    rows = read_report(str(tmp_path / name)).to_pylist()
    return [row["error_code"] or row["status"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("loses_tally", [False, True])
def test_videos_that_were_never_begun_are_pending_though_the_tally_was_started_again(
    workers: Workers, tmp_path: Path, loses_tally: bool
) -> None:
    workers.deadline_after, workers.loses_tally = 2, loses_tally
    workers.killers = {"b"}
    done = night(tmp_path, "night", *"abcd", time_budget_seconds=4.0)
    assert statuses(tmp_path, "night") == ["scored", "worker_lost", "pending", "pending"]
    assert (done.run["num_scored_now"], done.run["num_left"]) == (2, 2)
    assert list(RunDirectory(str(tmp_path / "state")).lost_rows().values()) != []
    workers.deadline_after, workers.killers = None, set()
    assert night(tmp_path, "night", *"abcd").run["num_scored_now"] == 3
    assert statuses(tmp_path, "night") == ["scored"] * 4


def test_a_video_that_kills_its_worker_withholds_no_report_and_is_left_in_the_end(
    workers: Workers, tmp_path: Path
) -> None:
    night(tmp_path, "night-0", *"abc")
    workers.killers = {"k"}
    for number in range(1, 4):
        done = night(tmp_path, f"night-{number}", *"abck")
        assert statuses(tmp_path, f"night-{number}") == ["scored"] * 3 + ["worker_lost"]
        assert (done.is_new, done.run["num_scored_now"]) == (True, 1)
    assert workers.begun == [*"abc", *"kk" * 3]  # twice a night, in passes of its own
    assert night(tmp_path, "night-4", *"abck").run["num_scored_now"] == 0
    assert len(workers.begun) == 9


def test_videos_beside_one_that_kills_its_worker_are_scored_in_the_same_call(
    workers: Workers, tmp_path: Path
) -> None:
    """Its task goes down with it: what came after it was never begun."""
    workers.killers = {"b"}
    workers.broken = lambda _: "went down" if workers.num_passes == 1 and "b" in workers.begun else None
    done = night(tmp_path, "night", *"abcd")
    assert statuses(tmp_path, "night") == ["scored", "worker_lost", "scored", "scored"]
    assert (done.run["num_scored_now"], done.run["num_left"], workers.num_passes) == (4, 0, 2)


def test_what_was_begun_and_lost_counts_though_the_next_pass_does_not_come_to_it(
    workers: Workers, tmp_path: Path
) -> None:
    workers.killers = {"b"}
    workers.broken = lambda num_begun: "no space left" if num_begun == 2 else None
    done = night(tmp_path, "night", *"abcd")
    assert statuses(tmp_path, "night") == ["scored", "worker_lost", "pending", "pending"]
    assert (done.run["broke"], done.run["num_scored_now"]) == ("no space left", 2)


def test_a_pipeline_that_breaks_goes_on_with_what_is_left(workers: Workers, tmp_path: Path) -> None:
    broke = list[int]()

    def once(num_begun: int) -> str | None:
        if num_begun in (1, 3) and num_begun not in broke:
            broke.append(num_begun)
            return "no space left"
        return None

    workers.broken = once
    done = night(tmp_path, "night", *"abcde")
    assert statuses(tmp_path, "night") == ["scored"] * 5
    assert (workers.num_passes, workers.begun) == (3, list("abcde"))
    assert (done.run["broke"], done.run["num_scored_now"]) == ("no space left", 5)


def test_a_call_that_can_begin_nothing_fails_and_reports_what_is_known(
    workers: Workers, tmp_path: Path
) -> None:
    workers.broken = lambda _: "no worker to be had"
    with pytest.raises(RunError, match="none of 2 videos could be begun: no worker to be had"):
        night(tmp_path, "night-0", *"ab")
    assert not (tmp_path / "night-0" / "run.json").exists()  # of which nothing is known
    workers.broken = lambda _: None
    night(tmp_path, "night-1", "a")
    workers.broken = lambda _: "no worker to be had"
    for _ in range(2):
        with pytest.raises(RunError, match="none of 1 video could"):
            night(tmp_path, "night-2", *"ab")
        assert statuses(tmp_path, "night-2") == ["scored", "pending"]
    assert read_json(str(tmp_path / "night-2" / "run.json"))["num_scored_now"] == 0
    workers.broken = lambda _: None
    assert night(tmp_path, "night-2", *"ab").run["num_left"] == 0


def test_a_cluster_that_cannot_be_reached_withholds_no_report(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(tmp_path, "night-1", "a")

    @contextlib.contextmanager
    def unreachable(_: object) -> Iterator[None]:
        raise RunError("Ray cannot be reached at 'ray-head'")
        yield

    monkeypatch.setattr(passes, "ray_session", unreachable)
    with pytest.raises(RunError, match="ray-head"):
        night(tmp_path, "night-2", *"ab")
    assert statuses(tmp_path, "night-2") == ["scored", "pending"]


@pytest.mark.parametrize("is_here", [False, True])
def test_what_nobody_expected_withholds_no_report(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_here: bool
) -> None:
    night(tmp_path, "night-1", "a")

    def full(*_: object, **__: object) -> None:
        raise ValueError("CUDA out of memory")

    monkeypatch.setattr("pipeline.scoring.score.runs_here", lambda *_: is_here)
    monkeypatch.setattr("pipeline.scoring.here.Scorer", full)
    monkeypatch.setattr(passes, "build_pipeline", full)
    with pytest.raises(RunError, match="scoring broke: ValueError: CUDA out of memory"):
        night(tmp_path, "night-2", *"ab")
    assert statuses(tmp_path, "night-2") == ["scored", "pending"]


def test_a_state_that_does_not_answer_is_no_report(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(tmp_path, "night-1", "a")

    def broken_disk(*_: Any, **__: Any) -> None:
        raise OutputError("the state cannot be read")

    monkeypatch.setattr(passes, "_came_back", broken_disk)
    with pytest.raises(OutputError, match="the state cannot be read"):
        night(tmp_path, "night-2", *"ab")
    assert not (tmp_path / "night-2" / "run.json").exists()


def test_rows_bear_the_number_of_the_pass_that_brought_them(workers: Workers, tmp_path: Path) -> None:
    workers.broken = lambda num_begun: "once" if num_begun == 1 and workers.num_passes == 1 else None
    night(tmp_path, "night-1", *"ab")
    night(tmp_path, "night-2", *"abc")
    rows = RunDirectory(str(tmp_path / "state")).committed_rows(["uri", "call"]).to_pylist()
    assert {row["uri"][-1]: row["call"] for row in rows} == {"a": 1, "b": 2, "c": 3}
    assert "call" not in read_report(str(tmp_path / "night-2")).column_names


def test_few_videos_are_numbered_and_counted_without_ray_too(
    videos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS")
    videos_here = [str(videos["text.mp4"]), str(videos["empty.mp4"])]
    pq.write_table(pa.table({"uri": videos_here}), tmp_path / "manifest.parquet")
    config = ScoreConfig(
        manifest=str(tmp_path / "manifest.parquet"),
        output=str(tmp_path / "run"),
        key=Key(b"0" * 32, randomness="keyed"),
        allow_schemes=frozenset({"file"}),
    )
    done = score(config, events=Events(Console(file=io.StringIO())))
    assert (done.run["num_scored_now"], done.run["num_left"]) == (2, 0)
    rows = RunDirectory(str(tmp_path / "run")).committed_rows(["call"]).to_pylist()
    assert [row["call"] for row in rows] == [1, 1]
    over = ScoreConfig(
        manifest=str(tmp_path / "manifest.parquet"),
        output=str(tmp_path / "over"),
        key=Key(b"0" * 32, randomness="keyed"),
        allow_schemes=frozenset({"file"}),
        backlog=BacklogConfig(time_budget_seconds=1e-6),
    )
    assert score(over, events=Events(Console(file=io.StringIO()))).run["num_left"] == 2


def test_a_line_that_was_left_half_written_is_no_video_that_was_begun(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    Tally(str(begun)).begin("a")
    begun.write_text(begun.read_text() + "hal")
    Tally(str(begun)).begin("b")
    found = [key for keys in Ledger(tally=None, begun=begun).begun_rows() for key in keys]
    assert [key for key in found if key] == ["a", "hal", "b"]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:::ray.data.context")  # of settings that are Ray's own
def test_what_was_begun_outlives_the_process_that_wrote_it_down() -> None:
    with ray_session(None), new_ledger() as ledger:
        ray.get(ledger.tally.begin.remote("a"))
        pid = ray.get(ledger.tally.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(pid, signal.SIGKILL)
        ray.get(ledger.tally.begin.remote("b"), timeout=120)
        assert ray.get(ledger.tally.__ray_call__.remote(lambda _: os.getpid())) != pid
        found = {key for keys in ledger.begun_rows() for key in keys if key}
        assert found == {"a", "b"}
    assert not ledger.begun.exists()


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_the_only_new_video_takes_its_workers_down_and_the_report_of_all_is_written(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    names = ["0.mp4", "1.mp4", "killer.mp4"]
    for number, listed in enumerate((names[:2], names)):
        pq.write_table(pa.table({"uri": listed}), tmp_path / "manifest.parquet")
        run = str(tmp_path / f"night-{number}")
        shared = ("--output", run, "--incremental", str(tmp_path / "state"), "--seed", "0")
        arguments = ("score", str(tmp_path / "manifest.parquet"), *shared)
        command = [sys.executable, "-c", "import stubbed; stubbed.main()"]
        done = subprocess.run(
            [*command, str(videos["carphone_h264.mkv"]), "2", *arguments],
            env=os.environ | {"PYTHONPATH": str(SUPPORT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert statuses(tmp_path, "night-1") == ["scored", "fetch_not_found", "worker_lost"]
    assert read_json(f"{run}/run.json")["num_scored_now"] == 1
