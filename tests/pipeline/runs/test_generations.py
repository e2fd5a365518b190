"""Generations of a report: whole whatever is killed, read as they were written, never one beside another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import read_json, read_report
from nightly import Nights
from runs import make_run

from pipeline.runs import finished
from pipeline.runs.finished import read_finished_run
from pipeline.runs.generations import clear_report, write_report_file
from pipeline.runs.history import find_runs
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import OutputError


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it on the way."""


def killed_at(number: int, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let the writes so far succeed and kill this one: of a copy, half is there. Returns a count of them."""
    counter = itertools.count()
    done = [0]

    def watch(name: str) -> None:
        method = getattr(RunDirectory, name)

        def watched(self: RunDirectory, *arguments: Any, **options: Any) -> Any:
            done[0] = next(counter) + 1
            if done[0] - 1 == number:
                if name == "copy_file":
                    source, target = arguments
                    content = self.read_file(source) or b""
                    RunDirectory.write_file(self, content[: len(content) // 2], target)
                raise KilledError
            return method(self, *arguments, **options)

        patch.setattr(RunDirectory, name, watched)

    for name in ("write_file", "copy_file", "remove_file", "commit"):
        watch(name)
    return lambda: done[0]


def scores(directory: RunDirectory) -> tuple[int, list[float]]:
    """The generation that a reader sees, and its scores."""
    run, report = read_finished_run(directory, columns=None)
    return run["generation"], report["score"].to_pylist()


@pytest.mark.slow
def test_a_writer_killed_between_any_two_writes_leaves_a_whole_generation(nights: Nights) -> None:
    first, second = (1, [10.0, 10.0]), (2, [10.0, 20.0, 10.0])
    seen = set()
    for number in itertools.count():
        night = f"night{number}"
        for path in nights.folder.glob("*.mp4"):
            path.unlink()
        nights.upload("a", "c")
        nights.outcome = {"score": 10.0}
        nights.score(night, incremental=None)
        nights.upload("b")
        nights.outcome = {"score": 20.0}
        directory = RunDirectory(f"{nights.place}/{night}")
        with pytest.MonkeyPatch.context() as patch:
            num_writes = killed_at(number, patch)
            try:
                nights.score(night, incremental=None)
            except KilledError:
                found = scores(directory)
                assert found in (first, second), f"killed at write {number}"
                seen.add(found[0])
            else:
                assert num_writes() == number
                break
        nights.score(night, incremental=None)
        assert scores(directory) == second
        assert scores(RunDirectory(f"{nights.place}/{night}/generations/0001")) == first
        assert read_report(directory.uri)["score"].to_pylist() == second[1], "no other file in report/"
    assert seen == {1, 2}
    assert number >= 6


def test_a_reader_sees_the_generation_that_it_began_with(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nightly writer is done between the reader's two steps."""
    rows = [{"video_id": name, "score": 90.0, "verdict": "pass"} for name in "ab"]
    directory = make_run(place, rows, checkpoint_id="first")
    read = finished.read_report_files

    def overtaken(*arguments: Any) -> Any:
        make_run(place, [row | {"score": 10.0} for row in rows], checkpoint_id="second")
        return read(*arguments)

    monkeypatch.setattr(finished, "read_report_files", overtaken)
    run, report = read_finished_run(directory, columns=None)
    assert (run["generation"], run["provenance"]["checkpoint_id"]) == (1, "first")
    assert report["score"].to_pylist() == [90.0, 90.0]
    monkeypatch.setattr(finished, "read_report_files", read)
    assert scores(directory) == (2, [10.0, 10.0])


def test_two_writers_of_one_generation_do_not_write_one_file(place: str) -> None:
    directory = make_run(place, [{"video_id": "a", "score": 50.0}])
    run = directory.read_run()
    stalled = write_report_file(directory, pa.table({"x": [1]}), 0, generation=1, writer="stalled")
    assert stalled["name"] not in [one["name"] for one in read_json(f"{place}/run.json")["files"]]
    assert scores(directory) == (1, [50.0])
    assert run is not None
    clear_report(directory, run)
    assert read_report(place)["score"].to_pylist() == [50.0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[:-1], "bytes were written"),
        (lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:], "digest differs"),
        (lambda _: None, "is not there"),
    ],
    ids=["cut short", "one byte", "removed"],
)
def test_a_file_that_is_not_the_one_that_was_written_is_refused_by_name(
    place: str, spoil: Callable[[bytes], bytes | None], said: str
) -> None:
    directory = make_run(place, [{"video_id": "a", "score": 50.0}])
    (file,) = read_json(f"{place}/run.json")["files"]
    content = directory.read_file(file["name"])
    assert content is not None
    spoiled = spoil(content)
    if spoiled is None:
        directory.remove_file(file["name"])
    else:
        directory.write_file(spoiled, file["name"])
    with pytest.raises(OutputError, match=said) as refused:
        read_finished_run(directory)
    assert file["name"] in str(refused.value)


def test_what_the_first_versions_wrote_is_read_and_archived(nights: Nights) -> None:
    """Their run.json has names without sizes and digests, and the names no generation."""
    nights.upload("a")
    nights.outcome = {"score": 10.0}
    nights.score("old", incremental=None)
    directory = RunDirectory(f"{nights.place}/old")
    run = read_json(directory.shown("run.json"))
    (file,) = run["files"]
    directory.copy_file(file["name"], "report/report-00000.parquet")
    directory.remove_file(file["name"])
    directory.write_json(run | {"files": ["report/report-00000.parquet"]}, "run.json")
    assert scores(directory) == (1, [10.0])
    nights.upload("b")
    nights.score("old", incremental=None)
    assert scores(directory) == (2, [10.0, 10.0])
    assert scores(RunDirectory(directory.shown("generations", "0001"))) == (1, [10.0])
    assert [(one.state, one.generation) for one in find_runs(directory.uri)] == [
        ("archived", 1),
        ("finished", 2),
    ]


def test_run_json_names_every_file_with_its_size_and_digest(nights: Nights) -> None:
    nights.upload("a", "b")
    run = nights.score("night").run
    directory = RunDirectory(f"{nights.place}/night")
    for file in run["files"]:
        content = directory.read_file(file["name"])
        assert content is not None
        assert file["size_bytes"] == len(content)
        assert file["name"].startswith("report/report-0001-")
        assert pq.read_table(pa.BufferReader(content)).num_rows == 2


def test_an_interrupted_archive_is_finished_and_not_listed_beside_its_original(place: str) -> None:
    directory = make_run(place, [{"video_id": "a", "score": 50.0}])
    run = read_json(f"{place}/run.json")
    home = "generations/0001"
    directory.write_file(b"half of it", home, run["files"][0]["name"])
    directory.write_json(run, home, "run.json")  # as if copied whole: nobody has said so yet
    assert [(one.state, one.generation) for one in find_runs(place)] == [("finished", 1)]
