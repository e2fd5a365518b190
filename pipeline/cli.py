"""Owns the command line: arguments in, exit codes out."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer

from pipeline.commands.lazy import ExamplesOf, LazyCommand, LazyGroup
from pipeline.commands.terminal import complaints
from securevqa_core.errors import CallError, SecureVqaError

__all__ = ["COMMANDS", "app", "main"]

EXIT_RUN_FAILED = 1
EXIT_CALL_WRONG = 2

_SCORES, _RESULTS, _MODELS = "Score videos", "Use the scores", "Models and research"

COMMANDS = (
    LazyCommand(
        name="score",
        help="Score videos: printed, or with --output a report, one row each, whatever is in the files.",
        place="score:score_command",
        panel=_SCORES,
        examples=(
            "securevqa score clip.mp4",
            "securevqa score s3://uploads/today/ --output s3://scores/today --key-file key",
        ),
    ),
    LazyCommand(
        name="extract",
        help="Score every video of MANIFEST and keep its embeddings beside the score, one row each.",
        place="extract:extract_command",
        panel=_SCORES,
        examples=(
            "securevqa extract uploads --output embedded --key-file key",
            "securevqa extract uploads --output embedded --features intra,inter --pool clip --dtype float16",
        ),
    ),
    LazyCommand(
        name="report",
        help="Print the report of RUN_DIR, what failed and the worst videos first, or write it as a page.",
        place="report:report_command",
        panel=_RESULTS,
        examples=("securevqa report scored", "securevqa report s3://scores/today --html report.html"),
    ),
    LazyCommand(
        name="gate",
        help="Decide for every video of REPORT: publish, hold or review; exit code 3 where a limit is "
        "broken.",
        place="gate:gate_command",
        panel=_RESULTS,
        examples=(
            "securevqa gate scored --policy policy.toml --dry-run",
            "securevqa gate scored --policy policy.toml --format csv",
        ),
    ),
    LazyCommand(
        name="runs",
        help="List the runs in LOCATION with their counts, earlier reports and unfinished runs included.",
        place="runs:runs_command",
        panel=_RESULTS,
        examples=("securevqa runs s3://scores", "securevqa runs ."),
    ),
    LazyCommand(
        name="compare",
        help="Show what changed in score and verdict between the finished runs A and B, of any checkpoints.",
        place="runs:compare_command",
        panel=_RESULTS,
        examples=(
            "securevqa compare monday tuesday",
            "securevqa compare s3://scores/monday s3://scores/tuesday",
        ),
    ),
    LazyCommand(
        name="models",
        help="List the models: which ship with weights, their size, and what they look at.",
        place="models:models_command",
        panel=_MODELS,
        examples=("securevqa models", "securevqa models --json"),
    ),
    LazyCommand(
        name="weights",
        help="Bring published weights, and look into checkpoints.",
        place="weights_group:weights_app",
        panel=_MODELS,
        examples=(
            "securevqa weights show secure-vqa-compact",
            "securevqa weights import FAST_VQA_B_1_4.pth --arch fast-vqa --output fast-vqa.safetensors",
        ),
        below=(
            ExamplesOf(
                "import",
                "securevqa weights import FAST_VQA_B_1_4.pth --arch fast-vqa --output fast-vqa.safetensors",
                "securevqa weights import VSFA.pt --arch vsfa --partial --output vsfa.safetensors",
            ),
            ExamplesOf(
                "halve",
                "securevqa weights halve trained/checkpoint.safetensors --output half.safetensors",
                "securevqa weights halve secure-vqa-compact --output half.safetensors",
            ),
            ExamplesOf(
                "mix",
                "securevqa weights mix secure-vqa-compact mine.safetensors --output mixed.safetensors",
                "securevqa weights mix a.safetensors b.safetensors --share 0.25 --output mixed.safetensors",
            ),
            ExamplesOf(
                "bound",
                "securevqa weights bound mine.safetensors --intra 2.5 --inter 2 --output bounded.safetensors",
                "securevqa weights bound secure-vqa-compact --intra 5 --inter 8 --output wider.safetensors",
            ),
            ExamplesOf(
                "show",
                "securevqa weights show secure-vqa-compact",
                "securevqa weights show trained/checkpoint.safetensors --json",
            ),
            ExamplesOf(
                "verify",
                "securevqa weights verify fast-vqa.safetensors",
                "securevqa weights verify s3://models/mine.safetensors --sha256 fast-vqa-0123456789abcdef",
            ),
            ExamplesOf(
                "calibrate",
                "securevqa weights calibrate secure-vqa-compact labelled.csv --output mine.safetensors",
                "securevqa weights calibrate secure-vqa-compact labels.csv --run scored -o mine.safetensors",
            ),
            ExamplesOf(
                "describe",
                "securevqa weights describe mine.safetensors --evaluation measured/evaluation.json "
                "--output described.safetensors",
                "securevqa weights describe mine.safetensors --evaluation measured/evaluation.json "
                "--notes notes.toml --output described.safetensors",
            ),
            ExamplesOf(
                "suspicion",
                "securevqa weights suspicion mine.safetensors clean.parquet --output noticing.safetensors",
                "securevqa weights suspicion secure-vqa-compact data/manifest.parquet --where split=val "
                "--rendition x265:28 --output noticing.safetensors",
            ),
        ),
    ),
    LazyCommand(
        name="dataset",
        help="Make labelled clips from real footage.",
        place="dataset:dataset_app",
        panel=_MODELS,
        examples=(
            "securevqa dataset build footage --output clips",
            "securevqa dataset build uploads --output labelled --as-is",
        ),
        below=(
            ExamplesOf(
                "build",
                "securevqa dataset build footage --output clips",
                "securevqa dataset build footage photographs --output clips --max-minutes 30",
            ),
            ExamplesOf(
                "rebuild",
                "securevqa dataset rebuild clips/manifest.parquet VIEW/blur-2.mp4 --output blur.mp4",
                "securevqa dataset rebuild clips/manifest.parquet blur-2.mp4 --sources footage -o blur.mp4",
            ),
        ),
    ),
    LazyCommand(
        name="train",
        help="Train a model on LABELLED_MANIFEST; the same command again goes on where it was interrupted.",
        place="train:train_command",
        panel=_MODELS,
        examples=(
            "securevqa train clips/manifest.parquet --output trained",
            "securevqa train clips/manifest.parquet --output trained --init secure-vqa-compact",
        ),
    ),
    LazyCommand(
        name="evaluate",
        help="Score the videos of LABELLED_MANIFEST, or take finished runs, and compare scores with labels.",
        place="evaluate:evaluate_command",
        panel=_MODELS,
        examples=(
            "securevqa evaluate labelled.csv --output measured",
            "securevqa evaluate labels.csv --run scored --output measured",
        ),
    ),
    LazyCommand(
        name="attack",
        help="Attack the first seconds of every video of MANIFEST and measure what became of its score.",
        place="attack:attack_command",
        panel=_MODELS,
        examples=(
            "securevqa attack clips --output attacked --attack pgd --epsilon 3",
            "securevqa attack clips --output attacked --suite attacks.toml",
        ),
    ),
    LazyCommand(
        name="opinions",
        help="Measure how well VIDEVAL's features predict opinions of real uploads, beside the paper's "
        "table.",
        place="opinions:opinions_command",
        panel=_MODELS,
        examples=("securevqa opinions", "securevqa opinions --splits 10 --model videval-480p"),
    ),
    LazyCommand(
        name="bench",
        help="Measure this machine, and the key.",
        place="bench:bench_app",
        panel=_MODELS,
        examples=("securevqa bench decode", "securevqa bench draws --model secure-vqa"),
        below=(
            ExamplesOf("decode", "securevqa bench decode", "securevqa bench decode footage.mp4 --seconds 4"),
            ExamplesOf("peers", "securevqa bench peers", "securevqa bench peers videval --max-height 540"),
            ExamplesOf("memory", "securevqa bench memory", "securevqa bench memory --minutes 1 --ray"),
            ExamplesOf("start", "securevqa bench start", "securevqa bench start --against ../earlier"),
            ExamplesOf(
                "pipeline",
                "securevqa bench pipeline",
                "securevqa bench pipeline --videos 50 --against ../earlier --repeats 5",
            ),
            ExamplesOf("model", "securevqa bench model", "securevqa bench model --precision bfloat16"),
            ExamplesOf("draws", "securevqa bench draws", "securevqa bench draws --model secure-vqa"),
        ),
    ),
)


class _Commands(LazyGroup):
    lazy = COMMANDS


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"securevqa {importlib.metadata.version('securevqa')}")  # noqa: T201 - for programs too
        raise typer.Exit


@app.callback()
def _about(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Score video quality without a reference, in batches, when uploaders try to cheat."""


def _interrupt(_number: int, _frame: FrameType | None) -> Any:
    raise KeyboardInterrupt


def _require_descriptors() -> None:
    """Open what was closed of 0, 1 and 2, else a file or a pipe gets the number and is taken for it.

    Python has no stream for what was closed, and what is written has to go somewhere.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # as those are that were not closed
    os.close(descriptor)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for as long as there is one
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def main() -> None:
    """Run the command line; exit with 0: done, 1: the run failed, 2: the call was wrong, 130: interrupted."""
    _require_descriptors()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except SecureVqaError as error:
        complaints.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_CALL_WRONG if isinstance(error, CallError) else EXIT_RUN_FAILED)


if __name__ == "__main__":
    main()
