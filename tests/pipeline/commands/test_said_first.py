"""What is wrong with a call is said before any work: nothing is scored, nothing is written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli import call
from policies import GOOD
from rich.console import Console
from runs import make_run

from pipeline.commands.options import ScoreOptions
from pipeline.commands.places import file_option, folder_option, require_scratch
from pipeline.events import Events
from pipeline.scoring import score as scoring
from pipeline.scoring.config import ScoreConfig
from pipeline.scoring.shown import say_no_gpu
from securevqa_core.errors import CallError, ConfigurationError

MANIFEST = "uri,mos\na.mp4,3\nb.mp4,4.5\n"

LOCAL_ALONE = {
    "attack": ("attack", "m.csv"),
    "dataset build": ("dataset", "build", "footage"),
    "dataset rebuild": ("dataset", "rebuild", "m.parquet", "a/b.mp4"),
    "train": ("train", "m.csv"),
    "weights import": ("weights", "import", "a.pth", "--arch", "fast-vqa"),
    "weights halve": ("weights", "halve", "nss-svr"),
    "weights mix": ("weights", "mix", "nss-svr", "nss-svr"),
    "weights calibrate": ("weights", "calibrate", "nss-svr", "m.csv"),
    "weights describe": ("weights", "describe", "nss-svr", "--evaluation", "e.json"),
    "opinions": ("opinions",),
}


@pytest.mark.parametrize("command", LOCAL_ALONE.values(), ids=LOCAL_ALONE)
def test_a_local_place_is_no_uri(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(MANIFEST)
    Path("footage").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert call(*command, "--output", "s3://bucket/out") == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: --output must be a local f")
    assert "'s3://bucket/out'" in said.err
    assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before  # no folder that is called s3:


WRITES_A_CHECKPOINT = {name: call for name, call in LOCAL_ALONE.items() if name.startswith("weights ")} | {
    "weights bound": ("weights", "bound", "nss-svr"),
    "weights suspicion": ("weights", "suspicion", "nss-svr", "m.csv"),
}


@pytest.mark.parametrize("command", WRITES_A_CHECKPOINT.values(), ids=WRITES_A_CHECKPOINT)
def test_a_checkpoint_is_a_new_file_of_its_kind(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A checkpoint that was there, the one to be halved too, was written over without a word."""
    monkeypatch.chdir(tmp_path)
    Path("mine.safetensors").write_bytes(b"mine")
    assert call(*command, "--output", "mine.safetensors") == 2
    assert "--output must not be there yet, got 'mine.safetensors'" in capsys.readouterr().err
    assert call(*command, "--output", "mine.pth") == 2
    assert "--output must end in .safetensors, got 'mine.pth'" in capsys.readouterr().err
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("mine.safetensors", b"mine")]


def test_a_page_is_local(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(tmp_path), "--html", "https://host/r.html") == 2
    assert "--html must be a local file, got 'https://host/r.html'" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["https://host/out", "gs://bucket/out", "s3://", "s3:///out", ""])
@pytest.mark.parametrize("command", [("score", "m.csv", "--seed", "0"), ("evaluate", "m.csv", "--seed", "0")])
def test_an_output_is_local_or_on_s3(
    place: str,
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(MANIFEST)
    assert call(*command, "--output", place) == 2
    words = f"--output must be a local folder or s3://BUCKET/..., got {place!r}"
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("scratch", ["absent", "s3://bucket/scratch", "m.csv", ""])
@pytest.mark.parametrize(
    "where",  # RAY_ADDRESS, where it is set, and the output
    [(), ("", "--output", "out"), ("",), ("10.0.0.1:6379",)],
    ids=["here", "a run, no cluster", "no cluster", "a cluster, and nothing for it to do"],
)
def test_a_scratch_folder_is_there(
    scratch: str,
    where: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each video failed with scratch_full, and the run was said to be done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if where:
        monkeypatch.setenv("RAY_ADDRESS", where[0])
    Path("m.csv").write_text(MANIFEST)
    given = ("score", "m.csv", "--seed", "0", "--scratch", scratch, *where[1:])
    assert call(*given) == 2
    said = capsys.readouterr().err
    assert "--scratch must be a " in said
    assert f"folder, got {scratch!r}" in said.replace(" that is there", "")
    require_scratch("/of/the/nodes", is_on_nodes=True)
    with pytest.raises(ConfigurationError, match="got 's3://bucket/scratch'"):
        require_scratch("s3://bucket/scratch", is_on_nodes=True)


def parsed(option: Any, text: str) -> Path:
    place: Path = option.parser(text)
    return place


def test_a_file_is_written_in_a_folder_that_is_there(tmp_path: Path) -> None:
    option = file_option("--html", help="")
    assert parsed(option, str(tmp_path / "a.html")) == tmp_path / "a.html"
    with pytest.raises(CallError, match=r"html .*which is in no folder that exists"):
        parsed(option, str(tmp_path / "absent" / "a.html"))
    with pytest.raises(CallError, match=r"html .*which is a folder"):
        parsed(option, str(tmp_path))
    with pytest.raises(CallError, match=r"--html must be a local file, got ''"):
        parsed(option, "")


def test_a_folder_is_there_or_can_be_made(tmp_path: Path) -> None:
    option = folder_option("--output", "-o", help="")
    assert parsed(option, str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    (tmp_path / "file").touch()
    with pytest.raises(CallError, match=r"must be a folder, got '.*file', which is a file"):
        parsed(option, str(tmp_path / "file"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)  # root may write anywhere
    for option in (folder_option("--output", help=""), file_option("--output", help="")):
        with pytest.raises(CallError, match=f"as '{tmp_path}' allows no writing"):
            parsed(option, str(tmp_path / "new"))


@pytest.mark.parametrize(
    ("randomness", "hint"), [("keyed", "--key-file or SECUREVQA_KEY"), ("public", "--seed")]
)
def test_a_finished_run_is_not_scored_once_more_for_want_of_its_key(
    randomness: str,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("SECUREVQA_KEY", raising=False)
    monkeypatch.setattr(scoring, "_listed", _never)
    monkeypatch.setattr(ScoreConfig, "load_checkpoint", _never)
    (tmp_path / "m.csv").write_text(MANIFEST)
    make_run(str(tmp_path / "run"), [{"video_id": "a", "score": 50.0}], randomness=randomness)
    before = (tmp_path / "run" / "run.json").read_bytes()
    assert call("score", str(tmp_path / "m.csv"), "--output", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert "holds a run with key_id k" in said
    assert hint in said
    since = ("--output", str(tmp_path / "new"), "--since-run", str(tmp_path / "run"))
    assert call("score", str(tmp_path / "m.csv"), *since) == 2
    assert "--since-run" in capsys.readouterr().err
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def _never(*_given: Any, **_named: Any) -> None:
    raise AssertionError("work was begun")


IGNORED = {
    "--steps is of pgd, apgd, patch, universal": ("attack", "m.csv", "--attack", "square", "--steps", "3"),
    "--queries is of square, nes": ("attack", "m.csv", "--queries", "30"),
    "--patch-share is of patch": ("attack", "m.csv", "--patch-share", "0.1"),
    "--fit-videos is of universal": ("attack", "m.csv", "--fit-videos", "2"),
    "--address is of Ray": ("attack", "m.csv", "--workers", "1", "--address", "auto"),
    "--splits needs --finetune": ("train", "m.csv", "--splits", "3"),
    "--test-share needs --finetune": ("train", "m.csv", "--test-share", "0.3"),
    "--adversarial-steps needs --adversarial-epsilon": ("train", "m.csv", "--adversarial-steps", "3"),
    "--num-feature-draws needs --inter cached": ("train", "m.csv", "--num-feature-draws", "2"),
    "--difference-weight needs --reference-column": ("train", "m.csv", "--difference-weight", "2"),
    "--seed is of scoring": ("evaluate", "--run", "run", "--seed", "1"),
    "--pass-at is of scoring": ("evaluate", "--run", "run", "--pass-at", "70"),
    "--uri-column is of manifests, got 'url' for a.mp4": ("score", "a.mp4", "--uri-column", "url"),
    "--uri-column is of manifests, got 'url' for clips/": ("extract", "clips/", "--uri-column", "url"),
    "--uri-column is of a table, got 'url' and a file of lsvq": (
        *("evaluate", "m.csv", "--labels-format", "lsvq"),
        *("--uri-column", "url"),
    ),
    "--edits-per-view is of clips that are made": (
        *("dataset", "build", ".", "--as-is"),
        *("--edits-per-view", "3"),
    ),
    "--teacher predicts opinions": (
        *("dataset", "build", ".", "--opinions", "none"),
        *("--teacher", "videval-480p"),
    ),
}


@pytest.mark.parametrize(("said", "command"), IGNORED.items(), ids=IGNORED)
def test_an_option_that_would_be_ignored_is_refused(
    said: str, command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*command, "--output", str(tmp_path / "out")) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


@pytest.mark.parametrize("option", ["--checkpoint", "--key-file"])
def test_what_only_a_close_look_needs_is_refused_without_one(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("report", str(tmp_path), "--html", str(tmp_path / "p.html"), option, "x") == 2
    assert f"{option} is of the close look at one video, so it needs --video" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seed", "--key-file"])
def test_a_key_in_the_environment_that_is_not_looked_at_is_said(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    monkeypatch.setenv("SECUREVQA_KEY", "another key of thirty-two letters")
    given = ScoreOptions(**{"--seed": {"seed": 1}, "--key-file": {"key_file": str(tmp_path / "key")}}[option])
    given.key()
    said = capsys.readouterr().err
    assert said == f"SECUREVQA_KEY is not looked at, as {option} is given\n"
    given.key()  # the variable is gone by now
    assert capsys.readouterr().err == ""


def test_that_there_is_no_gpu_is_said_where_one_was_asked_for() -> None:
    sink = io.StringIO()
    events = Events(Console(file=sink))
    for share, is_there in ((2.0, True), (0.5, False), (0.0, False)):
        say_no_gpu(share, events, is_there=is_there)
    assert sink.getvalue() == ""
    say_no_gpu(2.0, events, is_there=False)
    assert sink.getvalue() == "--gpus-per-actor 2: there is no GPU, so models run on processors\n"


# What a command needs to say that a call is wrong; both libraries take seconds to import.
LIGHT = """
import sys
from pipeline.cli import main
try:
    main()
finally:
    assert not {"torch", "ray"} & set(sys.modules)
"""


LIGHT_CALLS = {
    "--precision must be one of float32, bfloat16, got 'fp16'": (
        *("train", "m.csv", "--output", "out"),
        *("--precision", "fp16"),
    ),
    "no such video or manifest": ("train", "nope.parquet", "--output", "out"),
    "--draws must be in 1..16, got 0": ("score", "m.csv", "--draws", "0"),
    "--draws must be in 1..8, got 9": ("score", "m.csv", "--draws", "9", "--notice", "x264:23"),
    "--model must be one of": ("score", "m.csv", "--model", "secure-vqa-compat"),
    "--decoder must be one of": ("score", "m.csv", "--output", "out", "--decoder", "gst"),
    "--reject-below 70 is above --pass-at 60": ("score", "m.csv", "--reject-below", "70"),
    "--features must be some of": ("extract", "m.csv", "--output", "out", "--features", "fused,fused"),
    "--dtype must be one of": ("extract", "m.csv", "--output", "out", "--dtype", "int8"),
    "--fetch-timeout must be in": ("evaluate", "m.csv", "--output", "out", "--fetch-timeout", "0"),
    "--as-delivered must be one of": (
        *("weights", "calibrate", "nss-svr", "m.csv", "--output", "n.safetensors"),
        *("--as-delivered", "mpeg2"),
    ),
    "--rendition must be one of": (
        *("weights", "suspicion", "nss-svr", "m.csv", "--output", "n.safetensors"),
        *("--rendition", "mpeg2"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("said", "command"), LIGHT_CALLS.items(), ids=LIGHT_CALLS)
def test_a_wrong_value_is_said_before_tensors_and_ray_are_there(
    said: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(MANIFEST)
    program = [sys.executable, "-c", LIGHT, *command]
    done = subprocess.run(
        program, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "no key given" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--output", "m.csv"), "--output must be a folder, got 'm.csv', which is a file"),
        (("--output", "m.csv/x"), "--output must be a folder, got 'm.csv/x', and "),
        (("--output", "/proc/out"), "--output cannot be written, as '/proc' allows no writing"),
        (("--output", "out", "--incremental", "m.csv"), "--incremental must be a folder, got 'm.csv'"),
        (("--output", "out", "--since-run", "absent"), "--since-run must be a folder that is there"),
        (("--scratch", "/proc"), "--scratch cannot be written, as '/proc' allows no writing"),
    ],
)
def test_places_of_a_run_are_looked_at_before_anything_is_listed(
    given: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(scoring, "_listed", _never)
    Path("m.csv").write_text(MANIFEST)
    output = () if "--output" in given else ("--output", "out")
    for command in ("score", "extract"):
        assert call(command, "m.csv", "--seed", "0", *output, *given) == 2
        assert said in capsys.readouterr().err
    assert not Path("out").exists()


NOTHING_YET = {
    "--max-videos must be >= 1, got 0": ("--max-videos", "0"),
    "--keep-days must be > 0 and <= 36500, got -1": ("--keep-days", "-1"),
    "--key-file 'nokey' cannot be read": ("--key-file", "nokey"),
    "--key-file and --seed exclude each other": ("--key-file", "nokey", "--seed", "1"),
    "checkpoint 'nofile' cannot be read": ("--checkpoint", "nofile"),
}


@pytest.mark.parametrize(("said", "given"), NOTHING_YET.items(), ids=NOTHING_YET)
def test_a_wrong_value_is_said_before_a_run_loads(
    said: str,
    given: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(MANIFEST)
    for command in ("score", "extract"):
        assert call(command, "m.csv", "--output", "out", *given) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1, "nothing is loading yet"
    assert not Path("out").exists()


@pytest.mark.parametrize("output", [(), ("--output", "out")])
def test_a_column_that_the_report_has_is_refused(
    output: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("uri,score\na.mp4,3\n")
    assert call("score", "m.csv", "--seed", "0", *output) == 2
    assert "columns ['score'] must be renamed, the report has its own" in capsys.readouterr().err


@pytest.mark.parametrize(("is_begun", "said"), [(False, "interrupted\n"), (True, "to finish the rest\n")])
def test_an_interruption_speaks_of_a_rest_where_there_is_one(
    is_begun: bool,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_given: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scoring, "_fill" if is_begun else "_listed", interrupt)
    Path("m.csv").write_text(MANIFEST)
    assert call("score", "m.csv", "--seed", "0", "--output", "out") == 130
    assert capsys.readouterr().err.endswith(said)


def test_an_untrained_model_is_said_before_it_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring, "_fill", _never)
    (tmp_path / "m.csv").write_text(MANIFEST)
    given = ("score", str(tmp_path / "m.csv"), "--output", str(tmp_path / "run"), "--model", "fast-vqa-m")
    with pytest.raises(AssertionError, match="work was begun"):
        call(*given, "--seed", "0")
    assert "checkpoint_status = untrained: these scores mean nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--label-range", "0", "100"], "labels span 3..4.5 of 0..100: if they are on 1..5, say"),
        ([], "span 3..4.5: taken to be on 1..5; --label-range LOW HIGH says otherwise"),
    ],
)
def test_the_scale_of_labels_is_doubted_before_anything_is_scored(
    given: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(scoring, "_fill", _never)
    (tmp_path / "m.csv").write_text(MANIFEST)
    with pytest.raises(AssertionError, match="work was begun"):
        call("evaluate", str(tmp_path / "m.csv"), "--output", str(tmp_path / "out"), "--seed", "0", *given)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_scale_of_labels_in_a_finished_run_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"video_id": f"v{n}", "score": 10.0 * n, "mos": 3 + n / 4} for n in range(8)]
    make_run(str(tmp_path / "run"), rows)
    given = ("--run", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--label-range", "0", "100")
    assert call("evaluate", *given, "--json") == 0
    said = capsys.readouterr()
    assert "labels span 3..4.75 of 0..100: if they are on 1..5" in said.err
    assert json.loads(said.out)["label"] == {"column": "mos", "low": 0, "high": 100}


ABSENT = {
    "report": ("report", "absent"),
    "gate": ("gate", "absent", "--policy", "p.toml"),
    "compare": ("compare", "absent", "absent"),
    "runs": ("runs", "absent"),
    "evaluate": ("evaluate", "--run", "absent", "--output", "out"),
    "score --since-run": ("score", "m.csv", "--seed", "0", "--output", "out", "--since-run", "."),
    "score --checkpoint": ("score", "m.csv", "--seed", "0", "--checkpoint", "absent"),
    "attack": ("attack", "m.csv", "--output", "out", "--workers", "1", "--checkpoint", "absent"),
    "train": ("train", "m.csv", "--output", "out", "--init", "absent"),
    "weights show": ("weights", "show", "absent"),
    "weights import": ("weights", "import", "absent.pth", "--arch", "fast-vqa", "--output", "a.safetensors"),
    "what does not ship": ("weights", "show", "fast-vqa"),
    "opinions": ("opinions", "--features", "absent"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", ABSENT.values(), ids=ABSENT)
def test_what_a_call_names_and_is_not_there_makes_it_a_wrong_call(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("uri,mos,split\na.mp4,3,train\nb.mp4,4.5,val\n")
    Path("p.toml").write_text(GOOD)
    assert call(*command) == 2
    said = capsys.readouterr().err
    assert "absent" in said or "fast-vqa" in said or "--since-run '.' holds no run.json" in said
