"""Owns the command line: arguments in, exit codes out."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import typer

from pipeline.commands.attack import attack_command
from pipeline.commands.bench import bench_app
from pipeline.commands.calibrate import calibrate_command
from pipeline.commands.dataset import dataset_app
from pipeline.commands.describe import describe_command
from pipeline.commands.evaluate import evaluate_command
from pipeline.commands.extract import extract_command
from pipeline.commands.gate import gate_command
from pipeline.commands.opinions import opinions_command
from pipeline.commands.report import report_command
from pipeline.commands.runs import compare_command, runs_command
from pipeline.commands.score import score_command
from pipeline.commands.terminal import complaints
from pipeline.commands.train import train_command
from pipeline.commands.weights import weights_app
from securevqa_core.errors import CallError, SecureVqaError

__all__ = ["main"]

EXIT_RUN_FAILED = 1
EXIT_CALL_WRONG = 2

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(weights_app, name="weights")
app.add_typer(dataset_app, name="dataset")
app.add_typer(bench_app, name="bench")


@app.callback()
def _about() -> None:
    """Score video quality without a reference, in batches, when uploaders try to cheat."""


app.command("score")(score_command)
app.command("attack")(attack_command)
app.command("evaluate")(evaluate_command)
app.command("extract")(extract_command)
app.command("gate")(gate_command)
app.command("opinions")(opinions_command)
app.command("report")(report_command)
app.command("runs")(runs_command)
app.command("compare")(compare_command)
app.command("train")(train_command)
weights_app.command("calibrate")(calibrate_command)
weights_app.command("describe")(describe_command)


def _interrupt(_number: int, _frame: FrameType | None) -> Any:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line and exit with 0 (done), 1 (the run failed) or 2 (the call was wrong)."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except SecureVqaError as error:
        complaints.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_CALL_WRONG if isinstance(error, CallError) else EXIT_RUN_FAILED)
