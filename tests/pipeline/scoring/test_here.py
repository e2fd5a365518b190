"""A few videos are scored in this process: the same rows as on Ray, one decoding process, few imports."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cli import call, finish, read_json, read_report, securevqa
from noticing import write_noticing
from processes import descendants

from operators.decode import FetchLimits
from operators.schema import REPORT
from pipeline.events import Events
from pipeline.manifests.given import given_rows, given_videos, is_video, read_given_rows
from pipeline.scoring import here, shown
from pipeline.scoring.config import ScoreConfig
from securevqa_core import zoo
from securevqa_core.embeddings import EmbeddingConfig
from securevqa_core.errors import ManifestError
from securevqa_core.randomness import Key
from securevqa_core.scoring import Thresholds
from securevqa_core.types import DecodeLimits

ROOT = Path(here.__file__).parents[2]
ALONE = {"RAY_ADDRESS": ""}  # no cluster
OF_THE_CLOCK = {"fetch_seconds", "decode_seconds", "model_seconds", "scored_at"}
SCHEMES = frozenset({"file", "https", "s3"})
# Counts what one call loads and starts, in a process of its own.
COUNTED = """
import subprocess, sys
started = []
init = subprocess.Popen.__init__
def counted(self, *arguments, **options):
    if arguments[0][0] == sys.executable:  # and not ldconfig, which torch's import runs
        started.append(arguments)
    init(self, *arguments, **options)
subprocess.Popen.__init__ = counted
from pipeline.cli import main
try:
    main()
finally:
    heavy = {"ray", "pandas", "matplotlib", "torchvision", "s3fs", "scipy.special", "jinja2"}
    print(len(started), len(sys.modules), sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def counted(*arguments: str) -> tuple[str, int, int, str]:
    """What a call prints, how many processes it starts, how many modules it loads, and which heavy ones."""
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *arguments],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    processes, modules, heavy = done.stderr.splitlines()[-1].split(" ", 2)
    return done.stdout, int(processes), int(modules), heavy


@pytest.mark.slow
def test_one_video_starts_one_process_and_loads_no_ray(videos: dict[str, Path]) -> None:
    printed, processes, modules, heavy = counted("score", str(videos["bikes_h264.mp4"]), "--seed", "1")
    assert printed.startswith("bikes_h264.mp4: ")
    assert " of 100, sd " in printed
    assert (processes, heavy) == (1, "[]")
    assert modules < 2000  # 1,600 of which are torch's; with Ray and pandas 3,300


@pytest.mark.slow
def test_a_run_of_a_few_videos_needs_no_ray_either(videos: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    paths = [str(videos[name]) for name in ("bikes_h264.mp4", "audio_only.mp4")]
    _, processes, _, heavy = counted("score", *paths, "--seed", "1", "--output", str(output))
    assert processes == 1
    assert "'ray'" not in heavy
    run = read_json(f"{output}/run.json")
    assert run["counts"]["status"] == {"failed": 1, "scored": 1}
    assert [row["uri"] for row in read_report(str(output)).to_pylist()] == paths
    again = securevqa("score", *paths, "--seed", "1", "--output", str(output), env=ALONE)
    assert "finished before, nothing to do" in again.stdout


def as_rows(table: pa.Table) -> list[dict[str, object]]:
    kept = [name for name in table.column_names if name not in OF_THE_CLOCK]
    return table.select(kept).to_pylist()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("model", "rendition"),
    [
        ("secure-vqa-compact", None),
        ("secure-vqa-compact", "--as-delivered"),
        ("secure-vqa-compact", "--notice"),
        ("nss-svr", None),
        ("nss-svr", "--cap"),
        ("videval", None),
        ("uvq-1.5", None),
    ],
)
def test_rows_are_those_of_ray_to_the_last_bit(
    model: str, rendition: str | None, videos: dict[str, Path], tmp_path: Path
) -> None:
    names = ["bikes_h264.mp4", "carphone_vp9.webm", "one_frame.mp4", "audio_only.mp4"]
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    uris = [str(videos[name]) for name in names]
    uris += [str(tmp_path / name) for name in ("text.mp4", "empty.mp4", "absent.mp4")]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("uri,channel\n" + "".join(f"{uri},film\n" for uri in uris))
    tables = {}
    for where, env in (("here", ALONE), ("ray", {"RAY_ADDRESS": "local"})):
        output = str(tmp_path / where)
        call_ = ("score", str(manifest), "--seed", "5", "--draws", "2", "--model", model, "--output", output)
        more = () if rendition is None else (rendition, "x264:23")
        if rendition in {"--notice", "--cap"}:
            more += ("--checkpoint", str(write_noticing(tmp_path / "noticing.safetensors", model=model)))
        securevqa(*call_, *more, env=env)
        tables[where] = read_report(output)
    assert tables["here"].schema == tables["ray"].schema
    assert as_rows(tables["here"]) == as_rows(tables["ray"])
    statuses = tables["here"]["status"].to_pylist()
    assert statuses == ["scored"] * 3 + ["failed"] * 4
    is_delivered, is_compared = rendition == "--as-delivered", rendition in {"--notice", "--cap"}
    assert set(tables["here"]["as_delivered"].to_pylist()) == {"x264:23" if is_delivered else None}
    asked = dict.fromkeys(("suspicion", "suspicion_reasons", "rendition_score"), is_compared)
    for name, is_known in (asked | {"upload_score": rendition == "--cap"}).items():
        assert [one is not None for one in tables["here"][name].to_pylist()] == [is_known] * 3 + [False] * 4
    for name in OF_THE_CLOCK:
        known = [[value is None for value in table[name].to_pylist()] for table in tables.values()]
        assert known[0] == known[1], name


def test_each_video_is_printed_with_its_score_its_failure_and_its_warnings(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "text.mp4"
    damaged.write_text("no video")
    assert call("score", str(videos["bikes_h264.mp4"]), str(damaged), "--seed", "1", "--draws", "1") == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("bikes_h264.mp4: ")
    assert " sd " not in first
    assert second.startswith("text.mp4: not scored, not_a_video: ")


def test_json_is_one_row_a_video(videos: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = videos["bikes_h264.mp4"]
    assert call("score", str(path), "--seed", "1", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["uri"], row["status"], row["randomness"]) == (str(path), "scored", "public")
    assert len(row["clip_scores"]) == 8
    assert row["verdict"] in {"pass", "review", "reject"}
    assert list(row) == REPORT.names
    # As a run has it: the settings that decide a score, the model's own draws among them.
    assert row["config_id"] == config(key=Key.public(1), num_draws=4).config_id(
        zoo.spec(zoo.DEFAULT_MODEL).sampling
    )


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (("--address", "127.0.0.1:6379"), "--address needs an --output, got '127.0.0.1:6379'"),
        (("--incremental", "rows"), "--incremental needs an --output, got 'rows'"),
        (("--max-videos", "3"), "--max-videos needs an --output, got 3"),
        (("--retry-failed",), "--retry-failed needs an --output\n"),
    ],
)
def test_what_only_a_run_looks_at_needs_an_output(
    option: tuple[str, ...], named: str, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("score", str(videos["bikes_h264.mp4"]), *option) == 2
    assert named in capsys.readouterr().err


def test_a_rendition_that_is_not_in_the_table_is_refused(
    videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(videos["bikes_h264.mp4"])
    for text in ("copy:1", "x264:23:preset=placebo", "x264:52"):
        assert call("score", clip, "--seed", "1", "--as-delivered", text) == 2
        assert "x264" in capsys.readouterr().err
    assert call("score", clip, "--seed", "1", "--draws", "1", "--as-delivered", "vp9:07", "--json") == 0
    assert json.loads(capsys.readouterr().out)["as_delivered"] == "vp9:7"


def test_a_wrong_name_is_said_before_anything_is_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = decoding_processes()
    assert call("score", str(tmp_path / "absent.mp4"), "--seed", "1") == 2
    assert "absent.mp4" in capsys.readouterr().err
    assert call("score", str(tmp_path), "--checkpoint", "fast-vqa", "--seed", "1") != 0
    assert decoding_processes() <= before


def decoding_processes() -> set[int]:
    return {pid for pid in descendants(os.getpid()) if "decoding.child" in cmdline(pid)}


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.slow
def test_an_interruption_ends_at_once_in_one_line(videos: dict[str, Path]) -> None:
    many = [str(videos["bikes_h264.mp4"])]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "score", *many, "--seed", "1", "--draws", "16", "--json"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not descendants(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1] == "interrupted"


def config(**changes: object) -> ScoreConfig:
    settings: dict[str, object] = {
        "manifest": "clip.mp4",
        "output": "run",
        "key": Key.public(0),
        "allow_schemes": SCHEMES,
        "thresholds": Thresholds(),
        "decode_limits": DecodeLimits(),
        "fetch_limits": FetchLimits(),
    }
    return ScoreConfig(**(settings | changes))  # type: ignore[arg-type]


def test_ray_is_for_many_videos_for_a_cluster_and_for_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    runs_here = functools.partial(here.runs_here, architecture="secure-vqa-compact")
    few, more = here.MAX_VIDEOS_HERE, here.MAX_VIDEOS_ON_TWO_CORES
    for cores, most in ((1, few), (2, more), (8, few)):
        monkeypatch.setattr(here, "available_cores", lambda cores=cores: cores)
        assert runs_here(config(), most)
        assert not runs_here(config(), most + 1)
    monkeypatch.setattr(here, "available_cores", lambda: 2)
    assert not here.runs_here(config(), few + 1, architecture="videval")
    assert not runs_here(config(address="local"), 1)
    assert not runs_here(config(embeddings=EmbeddingConfig(features=("fused",))), 1)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not runs_here(config(), 1)


def test_what_is_pointed_at_is_told_apart(videos: dict[str, Path], tmp_path: Path) -> None:
    clip = str(videos["bikes_h264.mp4"])
    assert is_video(clip)
    assert is_video("s3://bucket/a/clip.mp4")
    assert is_video("https://host/clip.webm?signed=1.2")
    for other in (str(tmp_path), "s3://bucket/a/", "s3://bucket/a", "s3://bucket/*.mp4", "s3://b/list.csv"):
        assert not is_video(other), other
    odd = tmp_path / "[1]*.mp4"  # a file that is there is no glob
    odd.touch()
    assert is_video(str(odd))


def test_videos_and_manifests_together_are_one_list(videos: dict[str, Path], tmp_path: Path) -> None:
    first, second, third = (str(videos[name]) for name in list(videos)[:3])
    listed = tmp_path / "list.csv"
    listed.write_text(f"uri,channel\n{second},film\n")
    table = read_given_rows([first, str(listed), third], uri_column="uri", allow_schemes=SCHEMES).table
    assert table["uri"].to_pylist() == [first, second, third]
    assert table["channel"].to_pylist() == [None, "film", None]
    assert (
        table["video_id"].to_pylist()[0] == given_videos([first], allow_schemes=SCHEMES).rows[0]["video_id"]
    )
    twice = [first, str(listed), second]
    given = given_rows(twice, uri_column="uri", allow_schemes=SCHEMES)
    assert [row["uri"] for row in given.rows] == [first, second, second]
    assert {place: one.code for place, one in given.refused.items()} == {2: "row_repeated"}
    with pytest.raises(ManifestError, match="is that of row 2"):
        given_rows(twice, uri_column="uri", allow_schemes=SCHEMES, is_strict=True)


def test_a_video_that_breaks_a_rule_refuses_no_other_that_is_named(
    videos: dict[str, Path], tmp_path: Path
) -> None:
    first, second = (str(videos[name]) for name in list(videos)[:2])
    plain = "http://host/b.mp4"
    for given in (
        given_rows([first, plain, first, second], uri_column="uri", allow_schemes=SCHEMES),
        read_given_rows([first, plain, first, second], uri_column="uri", allow_schemes=SCHEMES),
    ):
        codes = {place: one.code for place, one in given.refused.items()}
        assert codes == {1: "scheme_not_allowed", 2: "row_repeated"}
        assert "must be one of --allow-scheme: " in given.refused[1].message
    rows = given_rows([first, plain, first, second], uri_column="uri", allow_schemes=SCHEMES).rows
    assert [row["uri"] for row in rows] == [first, plain, first, second]
    assert len({row["video_id"] for row in rows}) == 4
    for read in (given_rows, read_given_rows):
        with pytest.raises(ManifestError, match="'ftp'"):  # nothing is left to be done
            read(["ftp://host/a.mp4", "ftp://host/a.mp4"], uri_column="uri", allow_schemes=SCHEMES)
    listed = tmp_path / "list.csv"
    listed.write_text(f"uri\n{first}\n")
    mixed = read_given_rows([plain, str(listed)], uri_column="uri", allow_schemes=SCHEMES)
    assert list(mixed.refused) == [0]
    with pytest.raises(ManifestError, match="'http'"):
        given_rows([first, plain], uri_column="uri", allow_schemes=SCHEMES, is_strict=True)


@pytest.mark.parametrize("output", [(), ("--output", "out")])
def test_a_list_that_is_no_manifest_is_told_what_one_is(
    output: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ScoreConfig, "load_checkpoint", lambda _: pytest.fail("the model is loaded"))
    Path("list.txt").write_text("a.mp4\nb.mp4\n")
    with pytest.raises(pytest.fail.Exception, match="the model is loaded"):  # it is said before
        call("score", "list.txt", "--seed", "1", *output)
    said = capsys.readouterr().err
    assert (
        "list.txt is taken for a video: a list of videos has a column uri, and ends in one of .parq" in said
    )
    Path("list.csv").write_text("a.mp4\nb.mp4\n")
    assert call("score", "list.csv", "--seed", "1", *output) == 2
    assert "it has a.mp4; its first line is to name its columns" in capsys.readouterr().err
    Path("list.csv").write_text("path\na.mp4\n")
    assert call("score", "list.csv", "--seed", "1", *output) == 2
    assert "it has path; --uri-column names another" in capsys.readouterr().err


def test_a_row_that_breaks_a_rule_stops_no_other(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = videos["bikes_h264.mp4"]
    manifest = tmp_path / "m.csv"
    manifest.write_text(f'uri\n{clip}\n{clip}\nhttp://host/b.mp4\n""\n')
    given = ("score", str(manifest), "--seed", "1", "--draws", "1")
    assert call(*given) == 0
    first, *refused = capsys.readouterr().out.splitlines()
    assert " of 100" in first
    told = [line.partition(": not scored, ") for line in refused]
    assert [(name, rest.partition(":")[0]) for name, _, rest in told] == [
        ("bikes_h264.mp4", "row_repeated"),
        ("b.mp4", "scheme_not_allowed"),
        ("row 4", "row_incomplete"),
    ]
    assert call(*given, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["status"], row["stage"], row["verdict"]) for row in rows[1:]] == [
        ("failed", "manifest", "review")
    ] * 3
    assert len({row["video_id"] for row in rows}) == 4
    assert call(*given, "--strict") == 2
    assert "row 2" in capsys.readouterr().err


def test_videos_of_one_name_are_told_apart_and_what_is_none_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_text("no video")
    (tmp_path / "notes.txt").write_text("hello")
    assert call("score", str(tmp_path), "--seed", "1", "--draws", "1") == 0
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.out.splitlines()] == ["x/a.mp4", "y/a.mp4"]
    assert "no videos, so left out: notes.txt" in said.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("absent.mp4",), "no such video or manifest"),
        (("empty",), "no video there"),
        (("bad.csv",), "has no column 'uri'"),
        (("m.csv", "--draws", "0"), "draws must be in 1..16, got 0"),
        (("m.csv", "--pass-at", "150"), "--pass-at"),
        (("m.csv", "--precision", "fp16"), "got 'fp16'"),
        (("m.csv", "--decoder", "ffmpeg"), "got 'ffmpeg'"),
        (("m.csv", "--model", "fast-vqq"), "got 'fast-vqq'"),
    ],
)
def test_what_is_wrong_with_a_call_is_said_before_the_key_and_the_model(
    given: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECUREVQA_KEY", raising=False)
    monkeypatch.setattr(ScoreConfig, "load_checkpoint", lambda _: pytest.fail("the model was loaded"))
    Path("empty").mkdir()
    Path("bad.csv").write_text("path\na.mp4\n")
    Path("m.csv").write_text("uri\na.mp4\n")
    assert call("score", *given) == 2
    err = capsys.readouterr().err
    assert said in " ".join(err.split())
    assert "no key given" not in err
    assert "loading" not in err or given[0] == "m.csv"


def test_a_result_of_an_untrained_model_says_so(
    videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--seed", "1", "--draws", "1", "--quiet", "--model", "fast-vqa-m")
    assert call("score", str(videos["bikes_h264.mp4"]), *given) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(" of 100, untrained, review")


def test_progress_of_printed_scores_is_a_line_of_json_in_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shown, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(shown, "LOOK_SECONDS", 0.001)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    assert call("score", str(tmp_path), "--seed", "1", "--draws", "1") == 0
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert {(one["event"], one["total"]) for one in lines} == {("run_progress", 2)}
    assert "failed: " not in said.err  # which is printed as a result
    assert len(said.out.splitlines()) == 2


def test_the_line_on_a_terminal_names_the_video_that_is_in_the_model(
    videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It named the one that was begun last, while the one before was being scored."""
    shown_lines: list[str] = []
    in_model: list[tuple[str, str]] = []  # a video's name, and the line that is shown meanwhile
    begin, finish_one = here._begin, here._finish

    def beginning(uri: str, *more: Any) -> Any:
        begun = begin(uri, *more)
        begun.known["error_message"] = Path(uri).name
        return begun

    def finishing(begun: Any, scorer: Any) -> Any:
        in_model.append((begun.known.pop("error_message"), shown_lines[-1]))
        return finish_one(begun, scorer)

    monkeypatch.setattr(Events, "update", lambda _, line: shown_lines.append(line))
    monkeypatch.setattr(here, "_begin", beginning)
    monkeypatch.setattr(here, "_finish", finishing)
    names = ["text.mp4", "empty.mp4", "truncated.mp4"]
    assert call("score", *(str(videos[name]) for name in names), "--seed", "1") == 0
    assert in_model == [(name, f"scoring {name}") for name in names]
