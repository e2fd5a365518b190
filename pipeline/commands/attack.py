"""Owns `securevqa attack`: a manifest in, what an attacker could do to its scores out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from pipeline.commands.terminal import console, resumable, say
from pipeline.lab.attack import attack_videos
from pipeline.lab.config import AttackRunConfig, TargetConfig, labels_asked
from pipeline.lab.suite import read_suite, run_suite
from pipeline.lab.work import runner
from securevqa_core.attacks.attack import ATTACKS, AttackConfig
from securevqa_core.defences import DEFENCES
from securevqa_core.errors import ConfigurationError

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


def attack_command(
    context: typer.Context,
    manifest: Annotated[str, typer.Argument(help="Parquet, CSV, JSON lines, directory or glob; any URI.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Local folder to write.")],
    suite: Annotated[
        Path | None, typer.Option(help="TOML file of many attacks; it holds all the settings below.")
    ] = None,
    attack: Annotated[str, typer.Option(help=f"One of {', '.join(ATTACKS)}.")] = "pgd",
    norm: Annotated[str, typer.Option(help="l2 or linf.")] = "linf",
    epsilon: Annotated[float, typer.Option(help="8-bit levels; of l2, root mean square.")] = 3.0,
    direction: Annotated[
        str, typer.Option(help="inflate, deflate, or boundary: away from each video's label.")
    ] = "inflate",
    regime: Annotated[
        str,
        typer.Option(
            help="What the attacker knows: key, no-key, or replay: no key, but draws follow content."
        ),
    ] = "no-key",
    draws: Annotated[int, typer.Option(help="Draws that a score is pooled from.")] = 4,
    steps: Annotated[int, typer.Option(help="Steps of gradients.")] = 10,
    eot_draws: Annotated[int, typer.Option(help="Draws a gradient is averaged over, without the key.")] = 1,
    queries: Annotated[int, typer.Option(help="Scores that a black box may ask for.")] = 100,
    repeats: Annotated[int, typer.Option(help="Queries an estimate is averaged over.")] = 1,
    remeasure: Annotated[bool, typer.Option(help="Measure what a black box keeps anew.")] = True,
    patch_share: Annotated[float, typer.Option(help="Share of a frame that patch may change.")] = 0.05,
    held_from: Annotated[
        int, typer.Option(help="Near copy among a black box's uploads that is the first without an answer.")
    ] = 0,
    defence: Annotated[
        list[str] | None, typer.Option(help=f"NAME=VALUE of {', '.join(DEFENCES)}; repeat.")
    ] = None,
    surrogate: Annotated[str | None, typer.Option(help="Model that is attacked in its place.")] = None,
    surrogate_checkpoint: Annotated[Path | None, typer.Option(help="Of the surrogate; local.")] = None,
    surrogate_defence: Annotated[list[str] | None, typer.Option(help="Of the surrogate; repeat.")] = None,
    crf: Annotated[
        list[int] | None, typer.Option(help="Score again after x264 at this rate; repeat.")
    ] = None,
    write_videos: Annotated[bool, typer.Option(help="Keep attacked videos, lossless.")] = False,
    vmaf: Annotated[
        bool, typer.Option(help="Measure VMAF of attacked videos too; needs securevqa[train].")
    ] = False,
    seconds: Annotated[float, typer.Option(help="Length attacked, from the start.")] = 1.0,
    max_height: Annotated[int, typer.Option(help="Higher videos are shrunk to it.")] = 360,
    max_videos: Annotated[int | None, typer.Option(help="So many, chosen by the seed.")] = None,
    fit_videos: Annotated[int, typer.Option(help="Others, that universal is fitted to.")] = 4,
    label_column: Annotated[str | None, typer.Option(help="Column of labels, 0 to 100.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="COLUMN=VALUE that rows must have; repeat.")] = None,
    seed: Annotated[int, typer.Option(help="Of draws and attacks.")] = 0,
    model: Annotated[str | None, typer.Option(help="Architecture from the zoo.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Local checkpoint file.")] = None,
    uri_column: Annotated[str, typer.Option(help="Column that holds the URIs.")] = "uri",
    workers: Annotated[
        int | None,
        typer.Option(help="Videos at a time; 1: here, without Ray; else as many as the cluster has CPUs."),
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster; default RAY_ADDRESS, else start Ray.")] = (
        None
    ),
) -> None:
    """Attack the first seconds of every video of MANIFEST and measure what became of its score."""
    if suite is not None:
        _refuse_beside_a_suite(context)
        rows = read_suite(suite, manifest=manifest, output=output)
        with resumable(), runner(workers, address) as run:
            run_suite(rows, tell=say, run=run)
        for line in (output / "tables.md").read_text().splitlines():
            say(line)
        return
    target = TargetConfig(model=model, checkpoint=checkpoint, defences=tuple(defence or ()))
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
            model=surrogate, checkpoint=surrogate_checkpoint, defences=surrogate_defence
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
    with resumable(), runner(workers, address) as run:
        _show(attack_videos(config, tell=say, run=run), output)


def _refuse_beside_a_suite(context: typer.Context) -> None:
    """Refuse options that a suite would not look at."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given_options = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    if ignored := sorted(given_options - _BESIDE_A_SUITE):
        raise ConfigurationError(f"suite holds all settings, got {', '.join(ignored)} besides")


def _show(record: dict[str, Any], output: Path) -> None:
    if record["num_attacked"]:
        table = Table("points of 100", box=box.SIMPLE_HEAD)
        for heading in ("attack", "two clean scorings"):
            table.add_column(heading, justify="right")
        for name, key in _MEASURES.items():
            table.add_row(name, *(_cell(record[one][key]) for one in ("attack", "noise_floor")))
        for crf, measures in record["codec"].items():
            table.add_row(f"mean change after x264, CRF {crf}", _cell(measures["signed"]), "")
        console.print(table)
        for name, measures in (record["agreement"] or {}).items():
            say(f"{name.replace('_', ' ')}: {_cell(measures)}")
    spent = record["spent"] or {}
    columns = ("linf", "psnr", "ssim", "vmaf", "vmaf_neg")
    say(", ".join(f"{name} {spent[name]:.2f}" for name in columns if spent.get(name) is not None))
    say(f"{record['num_attacked']} attacked, {record['num_failed']} failed; written: {output}/attack.json")


def _cell(measures: dict[str, Any]) -> str:
    if measures["value"] is None:
        return "undefined"
    if measures["low"] is None:
        return f"{measures['value']:.2f}"
    return f"{measures['value']:.2f} [{measures['low']:.2f}, {measures['high']:.2f}]"
