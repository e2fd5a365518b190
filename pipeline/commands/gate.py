"""Owns `securevqa gate`: a report and a policy in; lists to publish, hold and review out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from operators.uris import join
from pipeline.commands.places import require_output
from pipeline.commands.terminal import console, events, print_json, show, warn
from pipeline.results import Result
from securevqa_core.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.gate.decide import Gated
    from pipeline.gate.policy import Policy

__all__ = ["EXIT_LIMIT_BROKEN", "gate_command"]

EXIT_LIMIT_BROKEN = 3  # the lists are written, and nothing is published


def print_schema(is_asked: bool) -> None:
    """Print what editors check policies with, and end, where that is asked."""
    if is_asked:
        from pipeline.gate.schema import policy_schema  # noqa: PLC0415 - imports that help need not wait for

        print_json(policy_schema())
        raise typer.Exit


def gate_command(
    report: Annotated[str, typer.Argument(help="Run directory of a finished run, local or s3://.")],
    policy: Annotated[str, typer.Option("--policy", "-p", help="TOML file with the rules.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder for the lists; default: REPORT/gate.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="parquet, csv or jsonl; repeat; default: parquet."),
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
        raise ConfigurationError(f"--thresholds need --what-if RULE, got {thresholds!r} alone")
    with events.doing("loading", is_logged=False):
        from pipeline.gate.decide import decide  # noqa: PLC0415 - as above
        from pipeline.gate.lists import list_tables, require_formats, summary, write_lists  # noqa: PLC0415
        from pipeline.gate.policy import read_policy, require_fit  # noqa: PLC0415
        from pipeline.gate.told import gate_lines  # noqa: PLC0415
        from pipeline.gate.unmatched import unmatched  # noqa: PLC0415
        from pipeline.runs.finished import finished_directory, read_finished_run  # noqa: PLC0415
        from pipeline.runs.rundir import RunDirectory  # noqa: PLC0415
        from pipeline.tables import plain  # noqa: PLC0415
    require_formats(formats or [])
    if output is not None:
        require_output("output", output)
    rules = read_policy(policy)
    writes = vary is None and not dry_run
    directory = finished_directory(report)
    lists_place = RunDirectory(output or join(directory.uri, "gate"))
    run, table = read_finished_run(directory, columns=None)
    require_fit(rules, table.schema)
    said = unmatched(rules, table)
    if said and strict:
        raise ConfigurationError("\n".join(said))
    if writes:
        lists_place.require_writable()  # else it is missed after all the work
    for line in said:
        warn(f"not understood: {line}")
    gated = decide(table, rules)
    if vary is not None:
        _what_if(table, rules, vary, _numbers(thresholds), as_json=as_json)
        _end(gated)
        return
    lists = list_tables(table, gated, rules)
    about = summary(gated, rules, run, report_uri=directory.shown(), unmatched=said) | {"dry_run": dry_run}
    if writes:
        about = write_lists(lists_place, lists, about, formats=formats or ["parquet"])
        about |= {"output": lists_place.shown()}
    if as_json:
        videos = [row for one in lists.values() for row in plain(one).to_pylist()] if dry_run else None
        print_json(about if videos is None else about | {"videos": videos})
    else:
        show(Result(record=about, shown=list(gate_lines(about, lists.values()))))
    _end(gated)


def _what_if(
    table: pa.Table, rules: Policy, rule: str, thresholds: Sequence[float], *, as_json: bool
) -> None:
    """Print what other thresholds of a rule would decide."""
    from pipeline.gate.decide import never_published, what_if  # noqa: PLC0415 - as above
    from pipeline.gate.what_if_table import show_what_if  # noqa: PLC0415

    counts = what_if(table, rules, rule=rule, thresholds=thresholds)
    if as_json:
        print_json([asdict(one) for one in counts])
    else:
        kept = never_published(table, rules)
        show_what_if(counts, rules, rule=rule, never_published=kept, console=console)


def _end(gated: Gated) -> None:
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
