"""The command line as people meet it first: help that costs nothing, teaches, and says what is so."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli import call
from typer.main import get_command

from pipeline import cli
from pipeline.commands.lazy import LazyCommand
from pipeline.scoring.config import MAX_DRAWS
from securevqa_core import weights, zoo

ROOT = Path(cli.__file__).parents[1]
HEAVY = (
    *("torch", "torchvision", "safetensors", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "PIL"),
    *("ray", "pyarrow", "fsspec", "av", "decord"),
)
MODULES_OF_HELP = 420  # Python's, Typer's and Rich's; with every command's 3,000
MODULES_OF_A_COMMAND = 480  # and its options, and what they are checked with


def loaded(*arguments: str) -> tuple[str, int, list[str]]:
    """What a call prints, how many modules it loads, and which heavy ones."""
    program = f"""
import sys
from pipeline.cli import main
try:
    main()
finally:
    print(len(sys.modules), *(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    number, *heavy = done.stderr.splitlines()[-1].split()
    return done.stdout, int(number), heavy


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_and_version_import_no_command(option: str) -> None:
    printed, modules, heavy = loaded(option)
    assert heavy == []
    assert modules < MODULES_OF_HELP
    if option == "--version":
        assert printed == f"securevqa {importlib.metadata.version('securevqa')}\n"
    else:
        assert all(f" {one.name} " in printed for one in cli.COMMANDS)


CALLS = [(one.name, *below) for one in cli.COMMANDS for below in [(), *([it.name] for it in one.below)]]


@pytest.mark.parametrize("names", CALLS, ids=" ".join)
def test_help_of_a_command_imports_no_library_that_works(names: tuple[str, ...]) -> None:
    printed, modules, heavy = loaded(*names, "-h")
    assert heavy == []
    assert modules < MODULES_OF_A_COMMAND
    assert "Examples" in printed


def test_help_of_a_command_speaks_of_no_option_that_it_lacks() -> None:
    def said(*names: str) -> str:
        return " ".join(loaded(*names, "-h")[0].replace("│", " ").split())

    extract, models = said("extract"), said("models")
    assert "1..16; default: the model's own" in extract
    assert "--notice" not in extract
    assert "RAY_ADDRESS, else Ray is started here" in extract
    assert "Say of every video how it ended" in extract
    assert "Say of every video" not in models
    assert "Say more, where there is more to say" in models


@pytest.mark.parametrize("one", cli.COMMANDS, ids=lambda one: one.name)
def test_help_breaks_no_line_where_the_code_does(one: LazyCommand) -> None:
    command = one.load()
    for it in (command, *getattr(command, "commands", {}).values()):
        assert "\n" not in it.help.replace("\n\n", "")


EXAMPLES = {
    names: examples
    for one in cli.COMMANDS
    for names, examples in [
        ((one.name,), one.examples),
        *(((one.name, below.name), (below.first, below.second)) for below in one.below),
    ]
}


@pytest.mark.parametrize(("names", "examples"), EXAMPLES.items(), ids=[" ".join(names) for names in EXAMPLES])
def test_examples_fit_80_columns_and_a_shell_reads_them_as_they_are(
    names: tuple[str, ...], examples: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that a terminal breaks, or a backslash before a space, is another call when it is pasted."""
    assert call(*names, "-h") == 0
    shown = capsys.readouterr().out.partition(" Examples:\n")[2]
    assert max(map(len, shown.splitlines())) <= 80
    program = f"securevqa() {{ printf '%s ' securevqa \"$@\"; echo; }}\n{shown}"
    pasted = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)
    assert [line.split() for line in pasted.stdout.splitlines()] == [shlex.split(one) for one in examples]


def test_a_flag_asks_for_no_value_and_an_argument_is_called_as_texts_call_it() -> None:
    printed, _, _ = loaded("report", "-h")
    assert "{RUN_DIR}" in printed
    assert not {"run_dir", "<bool>"} & set(printed.split())
    assert "<bool>" not in loaded("-h")[0]
    assert "<bool>" not in loaded("weights", "-h")[0]
    assert f"1..{MAX_DRAWS}, with --notice or --cap 1..{MAX_DRAWS // 2};" in " ".join(
        loaded("score", "-h")[0].replace("│", " ").split()
    )


@pytest.mark.parametrize("one", cli.COMMANDS, ids=lambda one: one.name)
def test_the_list_says_of_a_command_what_it_says_itself(one: LazyCommand) -> None:
    command = one.load()
    assert command.name == one.name
    assert command.help.replace("\\[", "[").splitlines()[0] == one.help


@pytest.mark.parametrize("one", cli.COMMANDS, ids=lambda one: one.name)
def test_every_command_has_two_examples_that_can_be_called(one: LazyCommand) -> None:
    assert len(one.examples) >= 2
    for example in one.examples:
        program, name, *rest = shlex.split(example)
        assert (program, name) == ("securevqa", one.name)
        command = one.load()
        while getattr(command, "commands", None):
            command = command.commands[rest.pop(0)]
        command.make_context("securevqa", rest)  # raises where an argument lacks or a value is no value


@pytest.mark.parametrize("command", [("evaluate",), ("train",), ("weights", "calibrate")])
def test_a_range_is_shown_as_the_two_words_that_it_takes(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`<float,float>...` was typed as it looked, with a comma."""
    assert call(*command, "--help") == 0
    assert "--label-range LOW HIGH" in " ".join(capsys.readouterr().out.split())


def test_square_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("attack", "--help") == 0
    assert "securevqa[train]" in " ".join(capsys.readouterr().out.split())


def test_a_misspelt_command_is_answered_with_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("scor") == 2
    assert "'score'" in capsys.readouterr().err


def test_commands_and_options_complete() -> None:
    def completed(line: str, words: int) -> str:
        variables = {"_SECUREVQA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(words)}
        program = "import sys; sys.argv[0] = 'securevqa'; from pipeline.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    assert "score" in completed("securevqa sc", 1).split()
    assert "--key-file" in completed("securevqa score --key", 2).split()
    vsfa = [name for name in zoo.names() if name.startswith("vsfa")]
    assert completed("securevqa score --model vsfa", 3).split() == vsfa
    assert completed("securevqa weights import --arch vsfa", 4).split() == vsfa


@pytest.mark.parametrize("given", [("0,10",), ("0,10", "--seed", "1"), ("low", "high")])
def test_a_range_that_is_written_otherwise_is_answered_with_its_form(
    given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", "m.csv", "--output", "out", "--label-range", *given) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ". It takes 2 words: --label-range LOW HIGH" in said


def leaves(command: Any) -> list[Any]:
    below = getattr(command, "commands", {}).values()
    return [leaf for one in below for leaf in leaves(one)] or [command]


@pytest.mark.parametrize("one", cli.COMMANDS, ids=lambda one: one.name)
def test_every_option_shows_its_default_and_every_command_has_those_of_all(one: LazyCommand) -> None:
    for command in leaves(one.load()):
        silent = [
            parameter.name
            for parameter in command.params
            if parameter.param_type_name == "option"
            and parameter.default is None
            and not parameter.required
            and "default:" not in parameter.help
        ]
        assert (command.name, silent) == (command.name, [])
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--quiet", "--verbose", "--json"} <= options, command.name


@pytest.mark.parametrize("command", [one for one in cli.COMMANDS if one.below], ids=lambda one: one.name)
def test_examples_of_groups_can_be_called(command: LazyCommand) -> None:
    loaded = command.load()
    for one in command.below:
        for example in (one.first, one.second):
            program, group, name, *rest = shlex.split(example)
            assert (program, group, name) == ("securevqa", command.name, one.name)
            if not any(place in rest for place in ("--evaluation",)):  # which must be there
                loaded.commands[name].make_context("securevqa", rest)


@pytest.mark.parametrize("name", ["train", "evaluate", "attack", "extract"])
def test_long_help_has_panels(name: str) -> None:
    printed, _, _ = loaded(name, "-h")
    assert printed.count("╭─") >= 5


@pytest.mark.slow
def test_models_lists_all_and_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("models") == 0
    printed = capsys.readouterr().out
    assert [name for name in zoo.names() if name not in printed] == []
    assert max(map(len, printed.splitlines())) <= 80
    assert call("models", "--json") == 0
    models = json.loads(capsys.readouterr().out)
    assert tuple(one["model"] for one in models if one["weights"] == "ships") == weights.shipped_names()
    by_name = {one["model"]: one for one in models}
    built = sum(value.numel() for value in zoo.build("vsfa-lite").state_dict().values())
    assert by_name["vsfa-lite"]["num_weights"] == built
    assert by_name["nss-svr"]["checkpoint_bytes"] == weights.shipped("nss-svr").stat().st_size
    assert [one["model"] for one in models if one["is_default"]] == [zoo.DEFAULT_MODEL]


def test_the_root_lists_its_commands() -> None:
    group = get_command(cli.app)
    assert list(group.commands) == [one.name for one in cli.COMMANDS]  # type: ignore[attr-defined]


@pytest.mark.parametrize("output", [False, True])
def test_closed_descriptors_cost_no_video(output: bool, videos: dict[str, Path], tmp_path: Path) -> None:
    """Pipes to the decoding process got their numbers, and every video was said to be damaged."""
    report = ["--output", str(tmp_path / "run")] if output else []
    command = [sys.executable, "-m", "securevqa", "score", str(videos["bikes_h264.mp4"]), "--seed", "1"]
    closed = "<&- >&- 2>&-" if output else "2>&-"
    done = subprocess.run(
        f"{shlex.join([*command, '--draws', '1', '--json', *report])} {closed}",
        shell=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    if output:
        assert json.loads((tmp_path / "run" / "run.json").read_text())["counts"]["status"] == {"scored": 1}
    else:
        assert json.loads(done.stdout)["status"] == "scored"


INTERRUPTED = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                sum(range(1000))
            except BaseException:  # as callbacks of the import system lose it
                print("lost", file=sys.stderr)

sys.meta_path.insert(0, Interrupts())
sys.argv = ["securevqa", "score", "--help"]
from securevqa.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["pipeline", "pipeline.cli", "typer", "rich.console"])
def test_an_interruption_while_python_imports_is_one_line(name: str) -> None:
    program = INTERRUPTED.format(name=name)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("command", [("models",), ("models", "--json")])
def test_a_result_that_nobody_takes_is_said_in_a_line(command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "securevqa", *command],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
