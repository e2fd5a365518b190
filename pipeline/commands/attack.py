"""Owns `securevqa attack`: a manifest in, what an attacker could do to its scores out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from pipeline.attack import AttackRunConfig, attack_videos
from pipeline.commands.terminal import console, resumable, say
from securevqa_core.attacks.attack import ATTACKS, AttackConfig

__all__ = ["attack_command"]

_MEASURES = {
    "mean change": "signed",
    "mean size of the change": "absolute",
    "inflation": "inflation",
    "deflation": "deflation",
    "share flipped to pass": "flipped_to_pass",
    "R (Eq. 16)": "r",
    "R, log10": "r_log10",
}


def attack_command(
    manifest: Annotated[str, typer.Argument(help="Parquet, CSV, JSON lines, directory or glob; any URI.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Local folder to write.")],
    attack: Annotated[str, typer.Option(help=f"One of {', '.join(ATTACKS)}.")] = "pgd",
    norm: Annotated[str, typer.Option(help="l2 or linf.")] = "linf",
    epsilon: Annotated[float, typer.Option(help="8-bit levels; of l2, root mean square.")] = 3.0,
    direction: Annotated[str, typer.Option(help="inflate or deflate.")] = "inflate",
    regime: Annotated[str, typer.Option(help="key: the attacker knows the draws; or no-key.")] = "no-key",
    draws: Annotated[int, typer.Option(help="Draws that a score is the mean of.")] = 4,
    steps: Annotated[int, typer.Option(help="Steps of pgd and apgd.")] = 10,
    eot_draws: Annotated[int, typer.Option(help="Draws a gradient is averaged over, without the key.")] = 1,
    queries: Annotated[int, typer.Option(help="Scores that square and nes may ask for.")] = 100,
    repeats: Annotated[int, typer.Option(help="Queries an estimate is averaged over.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length attacked, from the start.")] = 1.0,
    max_height: Annotated[int, typer.Option(help="Higher videos are shrunk to it.")] = 360,
    seed: Annotated[int, typer.Option(help="Of draws and attacks.")] = 0,
    model: Annotated[str | None, typer.Option(help="Architecture from the zoo.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Local checkpoint file.")] = None,
    uri_column: Annotated[str, typer.Option(help="Column that holds the URIs.")] = "uri",
) -> None:
    """Attack the first seconds of every video of MANIFEST and measure what became of its score."""
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
        ),
        regime=regime,  # type: ignore[arg-type]  # validated by AttackRunConfig
        num_draws=draws,
        seconds=seconds,
        max_height=max_height,
        seed=seed,
        model=model,
        checkpoint=checkpoint,
        uri_column=uri_column,
    )
    with resumable():
        _show(attack_videos(config, tell=say), output)


def _show(record: dict[str, Any], output: Path) -> None:
    if record["num_attacked"]:
        table = Table("points of 100", box=box.SIMPLE_HEAD)
        for heading in ("attack", "two clean scorings"):
            table.add_column(heading, justify="right")
        for name, key in _MEASURES.items():
            table.add_row(name, *(_cell(record[one][key]) for one in ("attack", "noise_floor")))
        console.print(table)
    say(f"{record['num_attacked']} attacked, {record['num_failed']} failed; written: {output}/attack.json")


def _cell(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "undefined"
    if found["low"] is None:
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
