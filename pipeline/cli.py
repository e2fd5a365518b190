"""Owns the command line: arguments in, exit codes out."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from operators.decode import FetchLimits
from pipeline.commands.weights import weights_app
from pipeline.config import ScoreConfig
from pipeline.manifest import DEFAULT_ALLOW_SCHEMES
from pipeline.rundir import RunDirectory
from pipeline.score import Outcome, score
from pipeline.show import DEFAULT_ROWS, show_report
from securevqa_core.errors import ERROR_CODES, CallError, ConfigurationError, SecureVqaError
from securevqa_core.randomness import Key
from securevqa_core.scoring import Thresholds
from securevqa_core.types import DecodeLimits

__all__ = ["main"]

EXIT_RUN_FAILED = 1
EXIT_CALL_WRONG = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
complaints = Console(stderr=True)
app.add_typer(weights_app, name="weights")


@app.callback()
def _about() -> None:
    """Score video quality without a reference, in batches, when uploaders try to cheat."""


@app.command("score")
def score_command(
    manifest: Annotated[str, typer.Argument(help="Parquet, CSV, JSON lines, directory or glob; any URI.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Run directory, local or s3://.")],
    model: Annotated[str | None, typer.Option(help="Architecture from the zoo.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Checkpoint file, local or remote.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Score again what failed and may succeed now.")
    ] = False,
    uri_column: Annotated[str, typer.Option(help="Column that holds the URIs.")] = "uri",
    allow_scheme: Annotated[list[str] | None, typer.Option(help="Schemes a URI may have; repeat.")] = None,
    key_file: Annotated[str | None, typer.Option(help="File with the key; or set SECUREVQA_KEY.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Public randomness, for research only.")] = None,
    draws: Annotated[int, typer.Option(help="Times the random part is repeated.")] = 1,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    pass_at: Annotated[float, typer.Option(help="Verdict pass from this score_lower up.")] = 60.0,
    reject_below: Annotated[float, typer.Option(help="Verdict reject below this score_lower.")] = 40.0,
    decode_timeout: Annotated[float, typer.Option(help="Seconds a file may take to decode.")] = 120.0,
    fetch_timeout: Annotated[float, typer.Option(help="Seconds a file may take to fetch.")] = 600.0,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest object that is fetched.")] = 20 << 30,
    scratch: Annotated[str | None, typer.Option(help="Folder for files being scored.")] = None,
    gpus_per_actor: Annotated[float, typer.Option(help="GPUs a model actor takes; 0: use CPUs.")] = 0.5,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster; default RAY_ADDRESS, else start Ray.")
    ] = None,
) -> None:
    """Score every video of MANIFEST: one report row each, whatever is in the files."""
    config = ScoreConfig(
        manifest=manifest,
        output=output,
        model=model,
        checkpoint=checkpoint,
        retry_failed=retry_failed,
        uri_column=uri_column,
        allow_schemes=frozenset(allow_scheme or DEFAULT_ALLOW_SCHEMES),
        key=_key(key_file, seed),
        num_draws=draws,
        precision=precision,  # type: ignore[arg-type]  # validated by ScoreConfig
        thresholds=Thresholds(pass_at=pass_at, reject_below=reject_below),
        decode_limits=DecodeLimits(timeout_seconds=decode_timeout),
        fetch_limits=FetchLimits(max_bytes=max_bytes, timeout_seconds=fetch_timeout),
        scratch_dir=scratch,
        gpus_per_actor=gpus_per_actor,
        address=address,
    )
    try:
        _show(score(config, console=console))
    except KeyboardInterrupt:
        complaints.print("interrupted: run the same command again to finish the rest")
        raise typer.Exit(EXIT_INTERRUPTED) from None


@app.command("report")
def report_command(
    run_dir: Annotated[str, typer.Argument(help="Run directory of a finished run, local or s3://.")],
    rows: Annotated[int, typer.Option(help="Most rows to print.")] = DEFAULT_ROWS,
) -> None:
    """Print the report of RUN_DIR, the worst videos first."""
    show_report(RunDirectory(run_dir), num_rows=rows, console=console)


def _key(key_file: str | None, seed: int | None) -> Key:
    if key_file is not None and seed is not None:
        raise ConfigurationError("--key-file and --seed exclude each other")
    if seed is not None:
        return Key.public(seed)
    key = Key.from_file(key_file) if key_file is not None else Key.from_environment()
    if key is None:
        complaints.print(
            "no key given (--key-file or SECUREVQA_KEY): using an ephemeral one, scores cannot be reproduced",
            soft_wrap=True,
        )
        return Key.ephemeral()
    return key


def _show(outcome: Outcome) -> None:
    run = outcome.run
    table = Table(title=f"generation {run['generation']}: {run['rows']} videos")
    table.add_column("what")
    table.add_column("count", justify="right")
    for group in ("status", "verdict", "error_code"):
        for name, count in sorted(run["counts"][group].items()):
            table.add_row(f"{group} {name}", str(count))
    console.print(table)
    slowest = run["slowest_stage"]
    console.print(f"slowest stage: {slowest}, {run['stage_seconds'][slowest]:.1f} s summed over videos")
    if run["provenance"]["checkpoint_status"] == "untrained":
        console.print("checkpoint_status = untrained: these scores mean nothing, and every verdict is review")
    retryable = sum(
        count for code, count in run["counts"]["error_code"].items() if ERROR_CODES[code].retryable
    )
    if retryable:
        console.print(f"{retryable} failed in a way that may pass: --retry-failed tries them again")
    done = f"{run['num_scored_now']} worked on now" if outcome.is_new else "finished before, nothing to do"
    console.print(f"{done}; report: {outcome.report_uri}", soft_wrap=True, highlight=False)


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
