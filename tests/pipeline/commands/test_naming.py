"""Errors name what people typed: on a command line the option, from Python the keyword."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli import call

from pipeline.cli import COMMANDS
from pipeline.commands.naming import called, options_named
from securevqa_core.errors import ConfigurationError, OutputError

MANIFEST = "uri,mos\na.mp4,3\nb.mp4,4.5\n"
SCORE = ("score", "m.csv")
SAID = {
    "--decode-timeout must be in 0.1..86400, got 0": (*SCORE, "--decode-timeout", "0"),
    "--fetch-timeout must be in 0.1..86400, got 0": (*SCORE, "--fetch-timeout", "0"),
    "--draws must be in 1..16, got 0": (*SCORE, "--draws", "0"),
    "--gpus-per-actor must be in 0..64, got -1": (*SCORE, "--gpus-per-actor", "-1"),
    "--gpus-per-actor above 1 must be whole, got 1.5": (*SCORE, "--gpus-per-actor", "1.5"),
    "--as-delivered must be one of x264:0..51": (*SCORE, "--as-delivered", "x264"),
    "--notice must be one of x264:0..51": (*SCORE, "--notice", "x264"),
    "x265:0..51, av1:0..63, vp9:0..63, got 'x264:99'": (*SCORE, "--as-delivered", "x264:99"),
    "--notice and --as-delivered exclude each other, as one": (
        *SCORE,
        *("--notice", "x264:23", "--as-delivered", "x264:23"),
    ),
    "--notice and --cap exclude each other, as one": (*SCORE, "--cap", "x264:28", "--notice", "x264:23"),
    "--cap must be one of x264:0..51": (*SCORE, "--cap", "28"),
    "--key-file 'nokey' cannot be read: No such file": (*SCORE, "--key-file", "nokey"),
    "--key-file '/dev/null' must hold at least": (*SCORE, "--output", "out", "--key-file", "/dev/null"),
    "--model must be one of": (*SCORE, "--model", "absent"),
    "--max-tries must be >= 1, got 0": (*SCORE, "--output", "out", "--max-tries", "0"),
    "--time-budget must be like 6h": (*SCORE, "--output", "out", "--time-budget", "soon"),
    "90m or 30s, got '6'": (*SCORE, "--output", "out", "--time-budget", "6"),  # was six seconds
    "--incremental and --since-run exclude each other": (
        *(*SCORE, "--output", "out"),
        *("--incremental", "rows", "--since-run", "."),
    ),
    "--incremental and --output must be two folders": (*SCORE, "--output", "a", "--incremental", "a"),
    "--decode-timeout must be in": ("train", "m.csv", "--output", "out", "--decode-timeout", "0"),
    "--splits must be in": ("train", "m.csv", "--output", "out", "--finetune", "--splits", "0"),
    "--batch-size must be in": ("train", "m.csv", "--output", "out", "--batch-size", "0"),
    "--num-statistics-draws=0 and --inter='trained'": (
        *("train", "m.csv", "--output", "out"),
        *("--adversarial-epsilon", "2"),
    ),
    "--label-range must have low < high, got 5 and 1": (
        *("train", "m.csv", "--output", "out"),
        *("--label-range", "5", "1"),
    ),
    "--crf must be in 0..51, got 60": ("attack", "m.csv", "--output", "out", "--crf", "60"),
    "--direction boundary needs --label-column": (
        *("attack", "m.csv", "--output", "out"),
        *("--direction", "boundary"),
    ),
    "--where needs --label-column, got 'a=1' alone": ("attack", "m.csv", "-o", "out", "--where", "a=1"),
    "--val-share + --test-share must be < 1": (
        *("dataset", "build", ".", "--output", "out"),
        *("--val-share", "0.6", "--test-share", "0.6"),
    ),
    "--max-clips must be in": ("dataset", "build", ".", "--output", "out", "--max-clips", "0"),
    "SOURCES must be files or folders that are there": ("dataset", "build", "absent", "--output", "out"),
    "--seconds must be in": ("bench", "decode", "--seconds", "0"),
    "--rows must be >= 1, got 0": ("report", ".", "--rows", "0"),
    "--thresholds need --what-if RULE": ("gate", ".", "--policy", "p", "--thresholds", "1"),
    "--format must be one of": ("gate", ".", "--policy", "p", "--format", "xml"),
    "--at-least must be >= 0": ("compare", ".", ".", "--at-least", "-1"),
    "--quiet-levels must be in 0..64": (
        *("weights", "bound", "secure-vqa-compact", "--output", "b.safetensors"),
        *("--quiet-levels", "99"),
    ),
    "--intra must be in 0.1..1000": (
        *("weights", "bound", "secure-vqa-compact", "--output", "b.safetensors"),
        *("--intra", "0"),
    ),
    "--arch must be one of": ("weights", "import", "m.csv", "--arch", "absent", "--output", "i.safetensors"),
    "--resamples must be >= 100, got 1": ("evaluate", "m.csv", "--output", "out", "--resamples", "1"),
    "--suite holds all settings, got --epsilon besides": (
        *("attack", "m.csv", "--output", "out"),
        *("--suite", "s.toml", "--epsilon", "2"),
    ),
}


@pytest.mark.parametrize(("said", "command"), SAID.items(), ids=SAID)
def test_an_error_names_the_option_that_was_typed(
    said: str,
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    Path("m.csv").write_text(MANIFEST)
    assert call(*command) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "policy.toml, line 3: draws must be in 1..16, got 0",  # a setting of a file
        "checkpoint 'draws.safetensors' is damaged: draws are missing",
        "a video must be named once, 'max_bytes' is not",
        "videos 'a.mp4' cannot be read",  # an argument's value
    ],
)
def test_what_is_no_setting_keeps_its_name(text: str) -> None:
    parameters = next(one for one in COMMANDS if one.name == "score").load().params
    with pytest.raises(ConfigurationError) as raised, options_named(parameters):
        raise ConfigurationError(text)
    assert str(raised.value) == text


def test_a_value_that_reads_as_a_setting_keeps_its_name() -> None:
    parameters = next(one for one in COMMANDS if one.name == "score").load().params
    with pytest.raises(ConfigurationError) as raised, options_named(parameters):
        raise ConfigurationError("precision must be one of float32, bfloat16, got 'max_bytes', max_bytes")
    assert str(raised.value) == "--precision must be one of float32, bfloat16, got 'max_bytes', --max-bytes"


def test_a_field_is_called_as_a_command_calls_it_and_other_errors_are_left() -> None:
    inner = called(timeout_seconds="decode_timeout")
    with pytest.raises(ConfigurationError, match=r"^decode_timeout must be"), called(a="b"), inner:
        raise ConfigurationError("timeout_seconds must be > 0, got 0")
    with pytest.raises(OutputError, match=r"^a must be"), called(a="b"):
        raise OutputError("a must be")
