"""Owns `securevqa gate`: a report and a policy in; lists to publish, hold and review out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.table import Table

from operators.storage import join
from pipeline.commands.terminal import console, print_json, say
from pipeline.gate.decide import WhatIf, decide, what_if
from pipeline.gate.lists import FORMATS, list_tables, summary, write_lists
from pipeline.gate.policy import read_policy
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from pipeline.text import literal
from securevqa_core.errors import ConfigurationError

__all__ = ["EXIT_LIMIT_BROKEN", "gate_command"]

EXIT_LIMIT_BROKEN = 3  # the lists are written, and nothing is published
SHOWN_REASONS = 20  # in a dry run


def gate_command(
    report: Annotated[str, typer.Argument(help="Run directory of a finished run, local or s3://.")],
    policy: Annotated[str, typer.Option("--policy", "-p", help="TOML file with the rules.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder for the lists; default REPORT/gate.")
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; repeat. Default: parquet.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and say why; write nothing.")] = False,
    vary: Annotated[
        str | None, typer.Option("--what-if", help="Name of a rule: count decisions over its threshold.")
    ] = None,
    thresholds: Annotated[
        str | None, typer.Option(help="Thresholds of --what-if, separated by commas.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Decide for every video of REPORT: publish, hold or review; exit code 3 where a limit is broken."""
    rules = read_policy(policy)
    run, table = read_finished_run(RunDirectory(report), columns=None)
    if vary is not None:
        counts = what_if(table, rules, rule=vary, thresholds=_numbers(thresholds))
        _show_what_if(counts, as_json=as_json)
        return
    gated = decide(table, rules)
    lists = list_tables(table, gated, rules)
    about = summary(gated, rules, run, report_uri=RunDirectory(report).shown()) | {"dry_run": dry_run}
    if not dry_run:
        directory = RunDirectory(output or join(report, "gate"))
        about = write_lists(directory, lists, about, formats=formats or ["parquet"])
        about |= {"output": directory.shown()}
    if as_json:
        print_json(about)
    else:
        _show(about, lists.values())
    if gated.broken_limits:
        raise typer.Exit(EXIT_LIMIT_BROKEN)


def _numbers(text: str | None) -> list[float]:
    try:
        return [] if text is None else [float(one) for one in text.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"thresholds must be numbers separated by commas, got {text!r}") from error


def _show(about: dict[str, Any], lists: Iterable[pa.Table]) -> None:
    table = Table(title=f"{about['rows']} videos")
    table.add_column("what")
    table.add_column("count", justify="right")
    for group in ("decisions", "rules", "withheld"):
        for name, count in about[group].items():
            table.add_row(literal(f"{_LABELS[group]} {name}", console), str(count))
    table.add_row("rule (none holds)", str(about["by_default"]))
    console.print(table)
    if about["dry_run"]:
        for row in _first_rows(lists):
            console.print(literal(f"{row['decision']} {row['video_id']}: {row['reason']}", console))
    for one in about["broken_limits"]:
        measured = "no rows" if one["found"] is None else f"{one['found']:.4g}"
        console.print(f"limit {one['limit']} = {one['wanted']:g} is broken: {measured}; nothing is published")
    done = "dry run, nothing written" if about["dry_run"] else f"written: {about['output']}"
    say(done)


_LABELS = {"decisions": "decision", "rules": "rule", "withheld": "withheld"}


def _first_rows(lists: Iterable[pa.Table]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for table in lists:
        rows += table.slice(0, SHOWN_REASONS).to_pylist()
    return rows


def _show_what_if(found: list[WhatIf], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in found])
        return
    table = Table()
    for name in ("group", "threshold", "publish", "hold", "review"):
        table.add_column(name, justify="left" if name == "group" else "right")
    for one in found:
        group = "all" if one.group is None else one.group
        counts = (str(count) for count in (one.publish, one.hold, one.review))
        table.add_row(literal(group, console), f"{one.threshold:g}", *counts)
    console.print(table)
