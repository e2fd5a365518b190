"""Owns `securevqa attack`: a manifest in, what an attacker could do to its scores out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from operators.uris import redact, scheme_of
from pipeline.commands.naming import option_of
from pipeline.commands.options import complete_models
from pipeline.commands.places import folder_option
from pipeline.commands.terminal import events, resumable
from pipeline.results import Result
from securevqa_core.attacks.names import ATTACKS, DEFENCES
from securevqa_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["attack_command"]

_BESIDE_A_SUITE = {"manifest", "output", "suite", "workers", "address"}
_MEASURES = {
    "mean change": "signed",
    "mean size of the change": "absolute",
    "inflation": "inflation",
    "deflation": "deflation",
    "share with another verdict": "flipped",
    "share flipped to pass": "flipped_to_pass",
    "share flipped from reject to pass": "rejected_to_pass",
    "R (Eq. 16)": "r",
    "R, log10": "r_log10",
}


_KIND, _SPENT = "The attack", "What it may spend"
_TARGET, _SEEN, _RUN = "What is attacked", "Videos and what is measured", "Ray and the run"


def attack_command(
    context: typer.Context,
    manifest: Annotated[str, typer.Argument(help="Parquet, CSV, JSON lines, directory or glob; any URI.")],
    output: Annotated[Path, folder_option("--output", "-o", help="Local folder to write.")],
    suite: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of many attacks: a [[row]] table each, of the settings below, as "
            "examples/attacks.toml has; default: one attack."
        ),
    ] = None,
    attack: Annotated[str, typer.Option(help=f"One of {', '.join(ATTACKS)}.", rich_help_panel=_KIND)] = "pgd",
    norm: Annotated[str, typer.Option(help="l2 or linf.", rich_help_panel=_KIND)] = "linf",
    epsilon: Annotated[
        float, typer.Option(help="8-bit levels; of l2, root mean square.", rich_help_panel=_KIND)
    ] = 3.0,
    direction: Annotated[
        str,
        typer.Option(
            help="inflate, deflate, or boundary: away from each video's label.", rich_help_panel=_KIND
        ),
    ] = "inflate",
    regime: Annotated[
        str,
        typer.Option(
            help="What the attacker knows: key, no-key, or replay: no key, but draws follow content.",
            rich_help_panel=_KIND,
        ),
    ] = "no-key",
    steps: Annotated[int, typer.Option(help="Steps of gradients.", rich_help_panel=_SPENT)] = 10,
    eot_draws: Annotated[
        int, typer.Option(help="Draws a gradient is averaged over, without the key.", rich_help_panel=_SPENT)
    ] = 1,
    queries: Annotated[
        int, typer.Option(help="Scores that a black box may ask for.", rich_help_panel=_SPENT)
    ] = 100,
    repeats: Annotated[
        int, typer.Option(help="Queries an estimate is averaged over.", rich_help_panel=_SPENT)
    ] = 1,
    remeasure: Annotated[
        bool, typer.Option(help="Measure what a black box keeps anew.", rich_help_panel=_SPENT)
    ] = True,
    patch_share: Annotated[
        float, typer.Option(help="Share of a frame that patch may change.", rich_help_panel=_SPENT)
    ] = 0.05,
    held_from: Annotated[
        int,
        typer.Option(
            help="Near copy among a black box's uploads that is the first without an answer.",
            rich_help_panel=_SPENT,
        ),
    ] = 0,
    fit_videos: Annotated[
        int, typer.Option(help="Others, that universal is fitted to.", rich_help_panel=_SPENT)
    ] = 4,
    model: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_models,
            help="Architecture, as in `securevqa models`; default: the checkpoint's.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint: a local file, or a model's name for what ships; default: secure-vqa-compact.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="Draws that a score is pooled from.", rich_help_panel=_TARGET)
    ] = 4,
    defence: Annotated[
        list[str] | None,
        typer.Option(
            help=f"NAME=VALUE of {', '.join(DEFENCES)}; repeat; default: none.", rich_help_panel=_TARGET
        ),
    ] = None,
    surrogate: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_models,
            help="Model that is attacked in its place; default: the target.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    surrogate_checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Of the surrogate: a local file, or a model's name; default: what ships.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    surrogate_defence: Annotated[
        list[str] | None,
        typer.Option(help="Of the surrogate; repeat; default: the target's.", rich_help_panel=_TARGET),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length attacked, from the start.", rich_help_panel=_SEEN)
    ] = 1.0,
    max_height: Annotated[
        int, typer.Option(help="Higher videos are shrunk to it.", rich_help_panel=_SEEN)
    ] = 360,
    max_videos: Annotated[
        int | None,
        typer.Option(help="So many, chosen by the seed; default: all.", rich_help_panel=_SEEN),
    ] = None,
    crf: Annotated[
        list[int] | None,
        typer.Option(
            help="Score again after x264 at this rate; repeat; default: none.", rich_help_panel=_SEEN
        ),
    ] = None,
    write_videos: Annotated[
        bool, typer.Option(help="Keep attacked videos, lossless.", rich_help_panel=_SEEN)
    ] = False,
    vmaf: Annotated[
        bool,
        typer.Option(
            help="Measure VMAF of attacked videos too; needs securevqa[train].", rich_help_panel=_SEEN
        ),
    ] = False,
    uri_column: Annotated[
        str, typer.Option(help="Column that holds the URIs.", rich_help_panel=_SEEN)
    ] = "uri",
    label_column: Annotated[
        str | None, typer.Option(help="Column of labels; default: none.", rich_help_panel=_SEEN)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="COLUMN=VALUE that rows must have; repeat; default: all rows.", rich_help_panel=_SEEN
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of draws and attacks.", rich_help_panel=_RUN)] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Videos at a time; 1: here, without Ray; default: as many as the cluster has CPUs.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster; default: RAY_ADDRESS, else Ray is started here.", rich_help_panel=_RUN
        ),
    ] = None,
) -> Result:
    """Attack the first seconds of every video of MANIFEST and measure what became of its score."""
    given = _given(context)
    if suite is not None:
        if ignored := sorted(given - _BESIDE_A_SUITE):
            besides = ", ".join(map(option_of, ignored))
            raise ConfigurationError(f"--suite holds all settings, got {besides} besides")
    else:
        _require_used(given, attack, workers)
    with resumable():
        with events.doing("loading"):
            from pipeline.lab.attack import attack_videos  # noqa: PLC0415 - seconds of imports
            from pipeline.lab.config import AttackRunConfig, TargetConfig, labels_asked  # noqa: PLC0415
            from pipeline.lab.suite import read_suite, run_suite  # noqa: PLC0415
            from pipeline.lab.work import runner  # noqa: PLC0415
            from securevqa_core.attacks.attack import AttackConfig  # noqa: PLC0415
        if suite is not None:
            rows = read_suite(suite, manifest=manifest, output=output)
            with _started(runner, workers, address) as run:
                suite_record = run_suite(rows, tell=events.note, run=run)
            return Result(record=suite_record, shown=(output / "tables.md").read_text().splitlines())
        target = TargetConfig(
            model=model, checkpoint=_path(checkpoint, "checkpoint"), defences=tuple(defence or ())
        )
        config = AttackRunConfig(
            manifest=manifest,
            output=output,
            attack=AttackConfig(
                attack=attack,  # type: ignore[arg-type]  # validated by AttackConfig
                norm=norm,  # type: ignore[arg-type]
                epsilon=epsilon,
                direction=direction,  # type: ignore[arg-type]
                steps=steps,
                eot_draws=eot_draws,
                queries=queries,
                repeats=repeats,
                remeasures=remeasure,
                patch_share=patch_share,
                held_from=held_from,
            ),
            target=target,
            surrogate=target.in_its_place(
                model=surrogate,
                checkpoint=_path(surrogate_checkpoint, "surrogate_checkpoint"),
                defences=surrogate_defence,
            ),
            regime=regime,  # type: ignore[arg-type]  # validated by AttackRunConfig
            num_draws=draws,
            seconds=seconds,
            max_height=max_height,
            max_videos=max_videos,
            fit_videos=fit_videos,
            codec_crfs=tuple(crf or ()),
            keeps_videos=write_videos,
            measures_vmaf=vmaf,
            seed=seed,
            uri_column=uri_column,
            labels=labels_asked(label_column, where),
        )
        with _started(runner, workers, address) as run:
            record = attack_videos(config, tell=events.note, run=run)
    return Result(record=record, shown=list(_lines(record, output)))


@contextlib.contextmanager
def _started(runner: Any, workers: int | None, address: str | None) -> Iterator[Any]:
    with contextlib.ExitStack() as opened:
        with events.doing("starting Ray") if workers != 1 else contextlib.nullcontext():
            run = opened.enter_context(runner(workers, address))
        yield run


def _path(checkpoint: str | None, name: str) -> Path | None:
    """Return where a checkpoint lies, or the name of one that ships, which no folder is."""
    if checkpoint is not None and scheme_of(checkpoint) != "file":
        raise ConfigurationError(f"{name} must be a local file, got {redact(checkpoint)!r}")
    return None if checkpoint is None else Path(checkpoint)


def _given(context: typer.Context) -> set[str]:
    """Return the names of the options that were given."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    return given - {"quiet", "verbose", "json"}


def _require_used(given: set[str], attack: str, workers: int | None) -> None:
    """Refuse options that this attack would not look at."""
    for names, attacks in _LOOKED_AT.items():
        if attack in ATTACKS and attack not in attacks and (ignored := sorted(given.intersection(names))):
            raise ConfigurationError(
                f"{option_of(ignored[0])} is of {', '.join(attacks)}, got --attack {attack}"
            )
    if workers == 1 and "address" in given:
        raise ConfigurationError("--address is of Ray, and --workers 1 works without it")


_GRADIENTS = ("pgd", "apgd", "patch", "universal")
_QUERIES = ("square", "nes", "patches", "reroll", "drop", "repeat", "reorder")
_LOOKED_AT = {
    ("steps", "eot_draws"): _GRADIENTS,
    ("queries", "repeats", "remeasure", "held_from"): _QUERIES,
    ("patch_share",): ("patch",),
    ("fit_videos",): ("universal",),
}


def _lines(record: dict[str, Any], output: Path) -> Iterator[RenderableType]:
    from rich import box  # noqa: PLC0415 - what help need not wait for
    from rich.table import Table  # noqa: PLC0415

    if record["num_attacked"]:
        table = Table("points of 100", box=box.SIMPLE_HEAD)
        for heading in ("attack", "two clean scorings"):
            table.add_column(heading, justify="right")
        for name, key in _MEASURES.items():
            table.add_row(name, *(_cell(record[one][key]) for one in ("attack", "noise_floor")))
        for crf, measures in record["codec"].items():
            table.add_row(f"mean change after x264, CRF {crf}", _cell(measures["signed"]), "")
        yield table
        for name, measures in (record["agreement"] or {}).items():
            yield f"{name.replace('_', ' ')}: {_cell(measures)}"
    spent = record["spent"] or {}
    columns = ("linf", "psnr", "ssim", "vmaf", "vmaf_neg")
    yield ", ".join(f"{name} {spent[name]:.2f}" for name in columns if spent.get(name) is not None)
    yield f"{record['num_attacked']} attacked, {record['num_failed']} failed; written: {output}/attack.json"


def _cell(measures: dict[str, Any]) -> str:
    if measures["value"] is None:
        return "undefined"
    if measures["low"] is None:
        return f"{measures['value']:.2f}"
    return f"{measures['value']:.2f} [{measures['low']:.2f}, {measures['high']:.2f}]"
