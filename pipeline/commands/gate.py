"""Owns `securevqa gate`: a report and a policy in; lists to publish, hold and review out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich import box
from rich.table import Table

from operators.storage import join
from pipeline.commands.terminal import console, events, print_json, say
from pipeline.gate.decide import decide, what_if
from pipeline.gate.lists import FORMATS, list_tables, require_formats, summary, write_lists
from pipeline.gate.policy import read_policy, require_fit
from pipeline.gate.schema import policy_schema
from pipeline.gate.unmatched import unmatched
from pipeline.gate.what_if_table import share, show_what_if
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory
from pipeline.tables import file_names
from pipeline.text import literal
from securevqa_core.errors import ConfigurationError

__all__ = ["EXIT_LIMIT_BROKEN", "gate_command"]

EXIT_LIMIT_BROKEN = 3  # the lists are written, and nothing is published
SHOWN_REASONS = 20  # of each list, in a dry run


def print_schema(is_asked: bool) -> None:
    """Print what editors check policies with, and end, where that is asked."""
    if is_asked:
        print_json(policy_schema())
        raise typer.Exit


def gate_command(
    report: Annotated[str, typer.Argument(help="Run directory of a finished run, local or s3://.")],
    policy: Annotated[str, typer.Option("--policy", "-p", help="TOML file with the rules.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder for the lists; default: REPORT/gate.")
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help=f"{', '.join(FORMATS)}; repeat; default: parquet.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and say why; write nothing.")] = False,
    vary: Annotated[
        str | None,
        typer.Option("--what-if", help="Name of a rule: count decisions by threshold; default: decide."),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            help="Thresholds of --what-if, separated by commas; default: 0, 5, ... 100, or deciles."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a policy with groups or values that no row has.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    _schema: Annotated[
        bool,
        typer.Option(
            "--schema",
            is_eager=True,
            callback=print_schema,
            help="Print the JSON schema of policies, and end.",
        ),
    ] = False,
) -> None:
    """Decide for every video of REPORT: publish, hold or review; exit code 3 where a limit is broken."""
    if thresholds is not None and vary is None:
        raise ConfigurationError(f"thresholds need --what-if RULE, got {thresholds!r} alone")
    require_formats(formats or [])
    rules = read_policy(policy)
    writes = vary is None and not dry_run
    lists_place = RunDirectory(output or join(report, "gate"))
    run, table = read_finished_run(RunDirectory(report), columns=None)
    require_fit(rules, table.schema)
    said = unmatched(rules, table)
    if said and strict:
        raise ConfigurationError("\n".join(said))
    if writes:
        lists_place.require_writable()  # else it is missed after all the work
    for line in said:
        events.note(f"not understood: {line}")
    if vary is not None:
        counts = what_if(table, rules, rule=vary, thresholds=_numbers(thresholds))
        if as_json:
            print_json([asdict(one) for one in counts])
        else:
            show_what_if(counts, rules, rule=vary, console=console)
        return
    gated = decide(table, rules)
    lists = list_tables(table, gated, rules)
    uri = RunDirectory(report).shown()
    about = summary(gated, rules, run, report_uri=uri, unmatched=said) | {"dry_run": dry_run}
    if writes:
        about = write_lists(lists_place, lists, about, formats=formats or ["parquet"])
        about |= {"output": lists_place.shown()}
    if as_json:
        print_json(about)
    else:
        _show(about, lists.values())
    if gated.broken_limits:
        raise typer.Exit(EXIT_LIMIT_BROKEN)


def _numbers(text: str | None) -> list[float]:
    wrong = ConfigurationError(f"thresholds must be numbers separated by commas, got {text!r}")
    try:
        numbers = [] if text is None else [float(one) for one in text.split(",")]
    except ValueError as error:
        raise wrong from error
    if not all(map(math.isfinite, numbers)):
        raise wrong
    return numbers


def _show(about: dict[str, Any], lists: Iterable[pa.Table]) -> None:
    num_rows = about["rows"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(f"{num_rows} videos", overflow="fold")
    for name in ("count", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in ("decisions", "rules", "withheld"):
        for name, count in about[group].items():
            what = literal(f"{_LABELS[group]} {name}", console)
            table.add_row(what, str(count), share(count, num_rows))
    table.add_row("rule (none holds)", str(about["by_default"]), share(about["by_default"], num_rows))
    console.print(table)
    if about["dry_run"]:
        _show_reasons([table.slice(0, SHOWN_REASONS).to_pylist() for table in lists])
    for one in about["broken_limits"]:
        measured = "no rows" if one["found"] is None else f"{one['found']:.4g}"
        say(f"limit {one['limit']} = {one['wanted']:g} is broken: {measured}; nothing is published")
    done = "dry run, nothing written" if about["dry_run"] else f"written: {about['output']}"
    say(done)


_LABELS = {"decisions": "decision", "rules": "rule", "withheld": "withheld"}


def _show_reasons(lists: Iterable[list[dict[str, Any]]]) -> None:
    rows = [row for one in lists for row in one]
    for name, row in zip(file_names([row["uri"] for row in rows]), rows, strict=True):
        say(f"{row['decision']} {name} ({row['video_id']}): {row['reason']}")
