"""Owns `securevqa evaluate`: labelled videos or finished runs in, agreement with the labels out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from operators.schema import Row
from pipeline.commands.options import ScoreOptions, spread
from pipeline.commands.terminal import console, resumable, say
from pipeline.evaluation.evaluate import (
    Contestant,
    LabelledSource,
    contestants,
    evaluate_runs,
    named_runs,
    read_labelled,
    score_contestants,
)
from pipeline.manifests.labelled import EvaluationSettings
from pipeline.manifests.labels import LABEL_FORMATS, LabelRange
from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES
from pipeline.runs.rundir import RunDirectory
from pipeline.scoring.config import ScoreConfig
from pipeline.text import literal
from securevqa_core.bootstrap import NUM_RESAMPLES
from securevqa_core.errors import ConfigurationError

__all__ = ["LabelOptions", "evaluate_command"]

_MEASURES = {
    "SRCC": "srcc",
    "KRCC": "krcc",
    "PLCC": "plcc",
    "PLCC fit": "plcc_fitted",
    "RMSE fit": "rmse_fitted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions(ScoreOptions):
    """Which rows count and what their labels are, besides how they are scored."""

    label_column: Annotated[str | None, typer.Option(help="Column of the labels; default: mos or label.")] = (
        None
    )
    label_range: Annotated[
        tuple[float, float] | None, typer.Option(help="Worst and best label there can be; default 0 100.")
    ] = None
    labels_format: Annotated[
        str | None, typer.Option(help=f"The argument is a label file: {', '.join(LABEL_FORMATS)}.")
    ] = None
    video_root: Annotated[
        str | None, typer.Option(help="Where a label file's paths start; default: its folder.")
    ] = None
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE that rows must have; repeat.")] = None

    def settings(self, **others: Any) -> EvaluationSettings:
        """Return the settings of an evaluation.

        Raises:
            ConfigurationError: an option is out of range.
        """
        scale = LABEL_FORMATS.get(self.labels_format or "", LabelRange())
        if self.label_range is not None:
            scale = LabelRange(low=self.label_range[0], high=self.label_range[1])
        return EvaluationSettings(
            label_column=self.label_column, label_range=scale, where=tuple(self.where or ()), **others
        )

    def source(self, location: str) -> LabelledSource:
        """Return where the labelled videos are listed."""
        return LabelledSource(
            location=location,
            label_format=self.labels_format,
            video_root=self.video_root,
            uri_column=self.uri_column,
            allow_schemes=frozenset(self.allow_scheme or DEFAULT_ALLOW_SCHEMES),
        )


@spread(LabelOptions)
def evaluate_command(
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write, local or s3://.")],
    labelled_manifest: Annotated[
        str | None, typer.Argument(help="Manifest with a label column, or a label file.")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="Finished run directory; repeat.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Architecture from the zoo; repeat.")] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="Checkpoint file; repeat.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Column to tell apart by value; repeat.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Column whose values are resampled whole, the source for example.")
    ] = None,
    ladder: Annotated[str | None, typer.Option(help="Column whose values are ladders of one fault.")] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = NUM_RESAMPLES,
    resample_seed: Annotated[int, typer.Option(help="Of the resampling.")] = 0,
    *,
    options: LabelOptions,
) -> None:
    """Score the videos of LABELLED_MANIFEST, or take finished runs, and compare scores with labels."""
    settings = options.settings(
        groups=tuple(group or ()),
        cluster=cluster,
        ladder=ladder,
        num_resamples=resamples,
        seed=resample_seed,
    )
    if labelled_manifest is None and (model or checkpoint or not run):
        raise ConfigurationError("LABELLED_MANIFEST must be given to score videos; --run takes finished runs")
    if labelled_manifest is not None and run and not (model or checkpoint):
        raise ConfigurationError("LABELLED_MANIFEST beside --run needs a --model or --checkpoint to score it")
    directory = RunDirectory(output)
    runs: dict[str, RunDirectory] = {}
    if labelled_manifest is not None:
        key = options.key()

        def configure(one: Contestant, manifest: str, output: str) -> ScoreConfig:
            return replace(options, uri_column="uri").config(
                manifest=manifest, output=output, key=key, model=one.model, checkpoint=one.checkpoint
            )

        entered = contestants(model or [], checkpoint or [])
        table = read_labelled(options.source(labelled_manifest), settings, tell=say)
        with resumable():
            runs = score_contestants(table, entered, directory, configure=configure, console=console)
    runs |= named_runs(run or [], taken=list(runs))
    _show(evaluate_runs(runs, settings, directory).record, directory)


def _show(record: dict[str, Any], directory: RunDirectory) -> None:
    num_resamples, cluster = record["bootstrap"]["resamples"], record["bootstrap"]["cluster"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in ("rows of", "model"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right")
    for name in _MEASURES:
        table.add_column(name, justify="right", no_wrap=True)
    for rows, name, measures in _measured(record):
        cells = [_cell(measures[key]) for key in _MEASURES.values()]
        table.add_row(literal(rows, console), literal(name, console), str(measures["num_rows"]), *cells)
    console.print(table)
    for model in record["models"]:
        for line in _remarks(model):
            say(f"{model['name']}: {line}")
    for one in record["differences"]:
        say(f"SRCC of {one['name']} minus {one['minus']}: {_interval(one['srcc'])}, on the same resamples")
    counts = record["rows"]
    left = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if name not in _KEPT
    )
    say(f"{counts['compared']} of {counts['total']} rows compared; left out: {left}")
    drawn = f"whole {cluster} values" if cluster else "rows"
    say(f"labels and RMSE in points of 100; 95% intervals from {num_resamples} resamples of {drawn}")
    say(f"written: {directory.shown('evaluation.json')}, scatter.png, residuals.png")


_KEPT = ("total", "compared")


def _measured(record: dict[str, Any]) -> list[tuple[str, str, Row]]:
    """Return (which rows, which model, measures), all rows first, models side by side."""
    models = record["models"]
    lines = [("all", model["name"], model["overall"]) for model in models]
    for column, values in models[0]["groups"].items():
        for value in values:
            lines += [(f"{column} {value}", one["name"], one["groups"][column][value]) for one in models]
    return lines


def _remarks(model: Row) -> list[str]:
    lines = []
    if (ladders := model["ladders"]) is not None:
        left, tau = sum(ladders["left_out"].values()), _interval(ladders["mean_tau"])
        lines.append(f"mean Kendall tau inside {ladders['num_ladders']} ladders {tau}; {left} left out")
    if (sd := model["sd_over_draws"]) is not None:
        figures = f"mean {sd['mean']:.2f} points of 100, largest {sd['largest']:.2f}"
        lines.append(f"sd over {model['num_draws']} draws, which is sd over keys: {figures}")
    if model["failed"]:
        lines.append("not scored: " + ", ".join(f"{count} {code}" for code, count in model["failed"].items()))
    if model["overall"]["curve"] is None:
        lines.append(model["overall"]["plcc_fitted"]["undefined"])
    if model["checkpoint_status"] == "untrained":
        lines.append("checkpoint_status = untrained: these scores mean nothing")
    return lines


def _cell(measures: Row) -> str:
    """Return a value over its interval, narrow enough for five of them in 80 columns."""
    if measures["value"] is None:
        return "undefined"
    is_share = abs(measures["value"]) <= 1
    value = f"{measures['value']:.3f}" if is_share else f"{measures['value']:.1f}"
    if measures["low"] is None:
        return f"{value}\nnone"
    ends = (
        f"{end:.2f}".replace("0.", ".") if is_share else f"{end:.1f}"
        for end in (measures["low"], measures["high"])
    )
    return f"{value}\n{' '.join(ends)}"


def _interval(measure: Row) -> str:
    if measure["value"] is None:
        return f"undefined ({measure['undefined']})"
    if measure["low"] is None:
        return f"{measure['value']:.3f} ({measure['undefined']})"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"
