"""Owns `securevqa evaluate`: labelled videos or finished runs in, agreement with the labels out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operators.uris import redact
from pipeline.commands.naming import given_text, option_of
from pipeline.commands.options import ScoreOptions, complete_models, label_range_option, spread
from pipeline.commands.places import is_new_folder, removed_if_refused, require_output
from pipeline.commands.terminal import console, events, resumable
from pipeline.manifests.scales import LABEL_FORMATS, LABEL_FORMATS_HELP, LabelRange
from pipeline.results import Result
from pipeline.text import counted
from securevqa_core.errors import ConfigurationError
from securevqa_core.types import NUM_RESAMPLES

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType

    from operators.schema import Row
    from pipeline.evaluation.evaluate import Contestant
    from pipeline.evaluation.listed import LabelledSource
    from pipeline.manifests.labelled import EvaluationSettings
    from pipeline.runs.rundir import RunDirectory
    from pipeline.scoring.config import ScoreConfig

__all__ = ["LabelOptions", "evaluate_command"]

LABELS, _MEASURED = "Labels", "What is measured"

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

    label_column: Annotated[
        str | None,
        typer.Option(help="Column of the labels; default: mos or label.", rich_help_panel=LABELS),
    ] = None
    label_range: Annotated[tuple[float, float] | None, label_range_option(LABELS)] = None
    labels_format: Annotated[
        str | None,
        typer.Option(help=LABEL_FORMATS_HELP, rich_help_panel=LABELS),
    ] = None
    video_root: Annotated[
        str | None,
        typer.Option(help="Where a label file's paths start; default: its folder.", rich_help_panel=LABELS),
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN=VALUE that rows must have; repeat; default: all rows.", rich_help_panel=LABELS
        ),
    ] = None

    def settings(self, **others: Any) -> EvaluationSettings:
        """Return the settings of an evaluation.

        Raises:
            ConfigurationError: an option is out of range.
        """
        from pipeline.manifests.labelled import EvaluationSettings  # noqa: PLC0415 - as below

        scale = LABEL_FORMATS.get(self.labels_format or "")
        if self.label_range is not None:
            scale = LabelRange(low=self.label_range[0], high=self.label_range[1])
        return EvaluationSettings(
            label_column=self.label_column, label_range=scale, where=tuple(self.where or ()), **others
        )

    def source(self, location: str) -> LabelledSource:
        """Return where the labelled videos are listed."""
        # Seconds of imports, which help need not wait for.
        from pipeline.evaluation.listed import LabelledSource  # noqa: PLC0415
        from pipeline.manifests.rows import DEFAULT_ALLOW_SCHEMES  # noqa: PLC0415

        return LabelledSource(
            location=location,
            label_format=self.labels_format,
            video_root=self.video_root,
            uri_column=self.uri_column,
            allow_schemes=frozenset(self.allow_scheme or DEFAULT_ALLOW_SCHEMES),
        )

    def late_labels(self, location: str | None) -> pa.Table | None:
        """Return the labels of videos that a finished run has scored; None: they are in its report."""
        if location is None:
            return None
        from pipeline.manifests.late_labels import read_late_labels  # noqa: PLC0415 - as above

        return read_late_labels(location, label_format=self.labels_format, uri_column=self.uri_column)

    def require_no_scoring(self, *, but: Sequence[str] = ()) -> None:
        """Refuse options that only scoring looks at, where finished runs are taken.

        Raises:
            ConfigurationError: one was given.
        """
        usual = type(self)()
        looked_at = {"label_column", "label_range", "labels_format", "where", "uri_column", *but}
        names = [one.name for one in fields(self) if one.name not in looked_at]
        given = [name for name in names if getattr(self, name) != getattr(usual, name)]
        if given:
            value = getattr(self, given[0])
            value = given_text(redact(value) if isinstance(value, str) else value)
            raise ConfigurationError(
                f"{option_of(given[0])} is of scoring, and --run is scored already{value}"
            )


@spread(LabelOptions)
def evaluate_command(
    output: Annotated[str, typer.Option("--output", "-o", help="Folder to write, local or s3://.")],
    labelled_manifest: Annotated[
        str | None,
        typer.Argument(help="Manifest with a label column, or a label file; with --run, of its videos."),
    ] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="Finished run directory; repeat; default: videos are scored.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete_models,
            help="Architecture, as in `securevqa models`; repeat; default: the checkpoint's.",
        ),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint: a file, a URI, or a model's name for what ships; repeat; "
            "default: secure-vqa-compact."
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="Column to tell apart by value; repeat; default: none.", rich_help_panel=_MEASURED),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Column whose values are resampled whole, the source for example; default: none.",
            rich_help_panel=_MEASURED,
        ),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="Column whose values are ladders of one fault; default: none.", rich_help_panel=_MEASURED
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option(help="Bootstrap resamples.", rich_help_panel=_MEASURED)
    ] = NUM_RESAMPLES,
    resample_seed: Annotated[int, typer.Option(help="Of the resampling.", rich_help_panel=_MEASURED)] = 0,
    *,
    options: LabelOptions,
) -> Result:
    """Score the videos of LABELLED_MANIFEST, or take finished runs, and compare scores with labels."""
    if labelled_manifest is None and (model or checkpoint or not run):
        raise ConfigurationError("LABELLED_MANIFEST must be given to score videos; --run takes finished runs")
    scores = labelled_manifest is not None and bool(model or checkpoint or not run)
    if labelled_manifest is not None:
        options.source(labelled_manifest)
    if scores:
        _require_values(options, model or ())
    else:
        options.require_no_scoring()
    require_output("output", output)
    with contextlib.ExitStack() as held:
        held.enter_context(resumable())
        with events.doing("loading"):
            from pipeline.evaluation.evaluate import evaluate_runs, named_runs  # noqa: PLC0415 - seconds
            from pipeline.runs.lock import alone  # noqa: PLC0415
            from pipeline.runs.rundir import RunDirectory  # noqa: PLC0415

            settings = options.settings(
                groups=tuple(group or ()),
                cluster=cluster,
                ladder=ladder,
                num_resamples=resamples,
                seed=resample_seed,
            )
        directory, is_new = RunDirectory(output), is_new_folder(output)
        directory.require_writable()
        held.enter_context(alone(directory))
        held.enter_context(removed_if_refused(output, is_new=is_new))
        finished = named_runs(run or [])
        late = options.late_labels(labelled_manifest) if finished else None
        runs: dict[str, RunDirectory] = {}
        if scores:
            assert labelled_manifest is not None
            runs, settings = _scored(labelled_manifest, model, checkpoint, options, settings, directory)
            finished = named_runs(run or [], taken=list(runs))
        compared = evaluate_runs(
            runs | finished,
            settings,
            directory,
            late_labels={} if late is None else dict.fromkeys(finished, late),
            tell=events.note,
        )
    return Result(record=compared.record, shown=list(_lines(compared.record, directory)))


def _require_values(options: LabelOptions, models: Sequence[str]) -> None:
    from securevqa_core.model_names import require_model  # noqa: PLC0415 - no command's help needs it

    options.require_values()
    for name in models:
        require_model(name)


def _scored(
    labelled_manifest: str,
    models: list[str] | None,
    checkpoints: list[str] | None,
    options: LabelOptions,
    settings: EvaluationSettings,
    directory: RunDirectory,
) -> tuple[dict[str, RunDirectory], EvaluationSettings]:
    """Score the labelled videos with every model; return the runs, and settings with the labels' scale."""
    from pipeline.evaluation.evaluate import (  # noqa: PLC0415 - seconds of imports
        contestants,
        score_contestants,
    )
    from pipeline.evaluation.listed import read_labelled  # noqa: PLC0415

    key = options.key()

    def configure(one: Contestant, manifest: str, output: str) -> ScoreConfig:
        return replace(options, uri_column="uri").config(
            manifest=manifest, output=output, key=key, model=one.model, checkpoint=one.checkpoint
        )

    entered = contestants(models or [], checkpoints or [])
    with events.doing("looking for labelled videos"):
        table, settings = read_labelled(options.source(labelled_manifest), settings, tell=events.note)
    return score_contestants(table, entered, directory, configure=configure, events=events), settings


def _lines(record: dict[str, Any], directory: RunDirectory) -> Iterator[RenderableType]:
    from pipeline.tables import Heading, fitted  # noqa: PLC0415 - what help need not wait for

    num_resamples, cluster = record["bootstrap"]["resamples"], record["bootstrap"]["cluster"]
    measured = [
        (rows, name, of, [of[key] for key in _MEASURES.values()]) for rows, name, of in _measured(record)
    ]
    headings = [Heading(name=name, is_wrapped=True) for name in ("rows of", "model")]
    headings += [Heading(name=name, is_number=True) for name in ("rows", *_MEASURES)]
    cells = [
        [[rows], [name], [str(of["num_rows"])], *map(_cell, values)] for rows, name, of, values in measured
    ]
    yield fitted(headings, cells, console)
    if any(value["low"] is None for *_, values in measured for value in values):
        yield "undefined: no value; none: no interval; evaluation.json says why of each"
    for model in record["models"]:
        for line in _remarks(model):
            yield f"{model['name']}: {line}"
    for one in record["differences"]:
        yield f"SRCC of {one['name']} minus {one['minus']}: {_interval(one['srcc'])}, on the same resamples"
    counts = record["rows"]
    left = ", ".join(
        f"{count} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if name not in _KEPT and (count or name != "pending")
    )
    yield f"{counts['compared']} of {counted(counts['total'], 'row')} compared; left out: {left}"
    drawn = f"whole {cluster} values" if cluster else "rows"
    yield f"labels and RMSE in points of 100; 95% intervals from {num_resamples} resamples of {drawn}"
    yield f"written: {directory.shown('evaluation.json')}, scatter.png, residuals.png"


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
        inside = counted(ladders["num_ladders"], "ladder")
        lines.append(f"mean Kendall tau inside {inside} {tau}; {left} left out")
        for column, values in model["groups"].items():
            inside_groups = {value: one["ladders"] for value, one in values.items()}
            taus = [
                f"{value} {one['mean_tau']['value']:.2f} of {one['num_ladders']}"
                for value, one in inside_groups.items()
                if one["num_ladders"]
            ]
            if taus:
                lines.append(f"by {column}: {', '.join(taus)}")
    if (sd := model["sd_over_draws"]) is not None:
        figures = f"mean {sd['mean']:.2f} points of 100, largest {sd['largest']:.2f}"
        lines.append(f"sd over {counted(model['num_draws'], 'draw')}, which is sd over keys: {figures}")
    if model["failed"]:
        lines.append("not scored: " + ", ".join(f"{count} {code}" for code, count in model["failed"].items()))
    if model["overall"]["curve"] is None:
        lines.append(model["overall"]["plcc_fitted"]["undefined"])
    if model["checkpoint_status"] == "untrained":
        lines.append("checkpoint_status = untrained: these scores mean nothing")
    return lines


def _cell(measures: Row) -> list[str]:
    """Return a value over its interval, narrow enough for five of them in 80 columns."""
    if measures["value"] is None:
        return ["undefined"]
    is_share = abs(measures["value"]) <= 1
    value = f"{measures['value']:.3f}" if is_share else f"{measures['value']:.1f}"
    if measures["low"] is None:
        return [value, "none"]
    ends = (
        f"{end:.2f}".replace("0.", ".") if is_share else f"{end:.1f}"
        for end in (measures["low"], measures["high"])
    )
    return [value, " ".join(ends)]


def _interval(measure: Row) -> str:
    if measure["value"] is None:
        return f"undefined ({measure['undefined']})"
    if measure["low"] is None:
        return f"{measure['value']:.3f} ({measure['undefined']})"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"
