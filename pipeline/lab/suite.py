"""Owns suites: a TOML file of attacks run row by row on the same videos, their tables and plots."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.files import write_json, write_rows
from pipeline.lab.attack import attack_videos
from pipeline.lab.config import AttackRunConfig, TargetConfig, labels_asked
from pipeline.lab.pictures import curve_png
from pipeline.lab.tables import markdown
from pipeline.lab.work import Runner, run_here
from pipeline.text import counted
from pipeline.toml_source import TomlSource
from securevqa_core.attacks.attack import AttackConfig
from securevqa_core.bootstrap import Estimate
from securevqa_core.errors import ConfigurationError

__all__ = ["Suite", "SuitePlot", "SuiteRow", "read_suite", "run_suite"]

_ATTACK = {field.name for field in fields(AttackConfig)}
_RUN = {
    "regime",
    "seconds",
    "max_height",
    "max_videos",
    "fit_videos",
    "seed",
    "keeps_videos",
    "measures_vmaf",
}
_TARGET = {"model", "checkpoint", "defences"}
_SURROGATE = {"surrogate", "surrogate_checkpoint", "surrogate_defences"}
_OTHERS = {"draws", "codec_crfs", "label_column", "where"}
_SETTINGS = _ATTACK | _RUN | _TARGET | _SURROGATE | _OTHERS
_OF_A_ROW = {"name", "table", "paper"}
_OF_A_PLOT = {"name", "x", "lines"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRow:
    """One attack on all videos, a row of a table."""

    name: str
    table: str
    paper: str  # what the paper has in its place; empty: nothing
    config: AttackRunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitePlot:
    """The mean change of rows against a setting of their attacks."""

    name: str
    x: str  # a field of AttackConfig
    lines: Mapping[str, tuple[str, ...]]  # label -> rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What a suite file asks for, in its order."""

    output: Path
    rows: tuple[SuiteRow, ...]
    plots: tuple[SuitePlot, ...]


def read_suite(path: Path, *, manifest: str, output: Path) -> Suite:
    """Read a suite; settings above the first row hold for every row that does not have its own.

    Raises:
        ConfigurationError: the file cannot be read or breaks a rule, which is named with its line.
    """
    try:
        source = TomlSource(name=path.name, text=path.read_text())
        document = source.document()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"suite {str(path)!r} cannot be read: {error}") from error
    row_tables, plots = document.pop("row", []), document.pop("plot", [])
    _require_known(source, (), document, _SETTINGS, of_tables=", and [[row]] and [[plot]] tables")
    rows = []
    for number, row in enumerate(row_tables):
        where = ("row", number)
        _require_known(source, where, row, _SETTINGS | _OF_A_ROW)
        try:
            config = _run_config(
                document | row, manifest=manifest, output=output / "rows" / _slug(row["name"])
            )
        except (ConfigurationError, TypeError, ValueError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ConfigurationError(f"{source.name}, line {source.line_of(where)}: {reason}") from error
        named = {name: str(row.get(name, "")) for name in _OF_A_ROW}
        rows.append(SuiteRow(**named, config=config))
    _require_unique(source, [_slug(row.name) for row in rows])
    return Suite(output=output, rows=tuple(rows), plots=_plots(source, plots, {row.name for row in rows}))


def run_suite(suite: Suite, *, tell: Callable[[str], None], run: Runner = run_here) -> dict[str, Any]:
    """Run the rows that are not finished; write `suite.json`, `suite.parquet`, `tables.md`, last the plots.

    What is written is of the rows so far, after each of them.

    Args:
        suite: what `read_suite` returned.
        tell: is given one line a video.
        run: where.

    Returns:
        The content of `suite.json`.
    """
    records: list[dict[str, Any]] = []
    started = time.perf_counter()
    for number, row in enumerate(suite.rows):

        def told(line: str, row: SuiteRow = row, number: int = number) -> None:
            tell(f"row {number + 1} of {len(suite.rows)}, {row.name}, {line}")

        outcome = attack_videos(row.config, tell=told, run=run)
        records.append({"name": row.name, "table": row.table, "paper": row.paper} | outcome)
        _write(suite.output, records)
        left = (time.perf_counter() - started) / (number + 1) * (len(suite.rows) - number - 1)
        tell(f"{number + 1} of {counted(len(suite.rows), 'row')}, about {left / 60:.0f} min left")
    for plot in suite.plots:
        (suite.output / f"{_slug(plot.name)}.png").write_bytes(_drawn(plot, records))
    return {"rows": records}


def _write(output: Path, records: list[dict[str, Any]]) -> None:
    write_json(output / "suite.json", {"rows": records})
    write_rows(output / "suite.parquet", [_flat(one) for one in records])
    (output / "tables.md").write_text(markdown(records))


def _run_config(settings: Mapping[str, Any], *, manifest: str, output: Path) -> AttackRunConfig:
    target = TargetConfig(
        model=settings.get("model"),
        checkpoint=_path(settings, "checkpoint"),
        defences=tuple(settings.get("defences", ())),
    )
    surrogate = target.in_its_place(
        model=settings.get("surrogate"),
        checkpoint=_path(settings, "surrogate_checkpoint"),
        defences=settings.get("surrogate_defences"),
    )
    draws = {"num_draws": settings["draws"]} if "draws" in settings else {}
    return AttackRunConfig(
        manifest=manifest,
        output=output,
        attack=AttackConfig(**{name: settings[name] for name in _ATTACK & settings.keys()}),
        target=target,
        surrogate=surrogate,
        codec_crfs=tuple(settings.get("codec_crfs", ())),
        labels=labels_asked(settings.get("label_column"), settings.get("where")),
        **draws,
        **{name: settings[name] for name in _RUN & settings.keys()},
    )


def _path(settings: Mapping[str, Any], name: str) -> Path | None:
    return Path(settings[name]) if name in settings else None


def _plots(source: TomlSource, tables: list[Any], names: set[str]) -> tuple[SuitePlot, ...]:
    plots = []
    for number, plot in enumerate(tables):
        where = ("plot", number)
        _require_known(source, where, plot, _OF_A_PLOT)
        line = f"{source.name}, line {source.line_of(where)}"
        missing = sorted(_OF_A_PLOT - plot.keys())
        if missing or plot["x"] not in _ATTACK:
            known = ", ".join(sorted(_ATTACK))
            raise ConfigurationError(
                f"{line}: a plot has {', '.join(sorted(_OF_A_PLOT))}, and x is one of {known}; got {plot}"
            )
        unknown = [name for rows in plot["lines"].values() for name in rows if name not in names]
        if unknown:
            raise ConfigurationError(f"{line}: there is no row {unknown[0]!r}")
        lines = {label: tuple(rows) for label, rows in plot["lines"].items()}
        plots.append(SuitePlot(name=plot["name"], x=plot["x"], lines=lines))
    return tuple(plots)


def _drawn(plot: SuitePlot, records: list[dict[str, Any]]) -> bytes:
    by_name = {record["name"]: record for record in records if record["attack"] is not None}
    curves = {
        label: {
            by_name[name]["settings"]["attack"][plot.x]: Estimate(**by_name[name]["attack"]["signed"])
            for name in rows
            if name in by_name
        }
        for label, rows in plot.lines.items()
    }
    return curve_png(curves, xlabel=plot.x)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of numbers: every measure, and its interval as `_low` and `_high`."""
    flat: dict[str, Any] = {name: record[name] for name in ("name", "table", "paper", "num_attacked")}
    flat |= {f"attack_{name}": value for name, value in record["settings"]["attack"].items()}
    for part in ("attack", "noise_floor", "agreement"):
        for name, found in (record[part] or {}).items():
            if isinstance(found, Mapping):
                flat[f"{part}_{name}"] = found["value"]
                flat |= {f"{part}_{name}_{end}": found[end] for end in ("low", "high")}
    return flat | {f"spent_{name}": value for name, value in (record["spent"] or {}).items()}


def _require_known(
    source: TomlSource,
    where: tuple[str | int, ...],
    table: Mapping[str, Any],
    known: set[str],
    *,
    of_tables: str = "",
) -> None:
    for name, value in table.items():
        if name in known:
            continue
        line = f"{source.name}, line {source.line_of((*where, name))}"
        if of_tables and isinstance(value, list) and any(isinstance(one, dict) for one in value):
            raise ConfigurationError(
                f"{line}: there are no [[{name}]] tables, only [[row]], one an attack, and [[plot]]"
            )
        raise ConfigurationError(
            f"{line}: there is no setting {name!r}, only {', '.join(sorted(known))}{of_tables}"
        )


def _require_unique(source: TomlSource, slugs: list[str]) -> None:
    for number, slug in enumerate(slugs):
        if slug in slugs[:number]:
            raise ConfigurationError(
                f"{source.name}, line {source.line_of(('row', number))}: there is a row {slug!r} already"
            )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
