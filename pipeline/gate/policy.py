"""Owns a gate's policy: reading it from TOML, and naming file, line and rule of whatever is wrong with it."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import pyarrow as pa

from operators.storage import StorageError, read_bytes, redact
from pipeline.gate.conditions import CONDITIONS, ORDERED, Condition, Threshold, shown
from pipeline.gate.kinds import (
    CLOSED,
    NOTHING,
    RANGES,
    Scalar,
    group_key,
    is_told_apart,
    kind_of_column,
    time_in_words,
)
from pipeline.toml_source import Path, TomlSource, written
from securevqa_core.errors import ConfigurationError, did_you_mean, or_of

__all__ = [
    "ALLOWANCES",
    "DECIDED_COLUMNS",
    "LIMITS",
    "Decision",
    "Policy",
    "Rule",
    "parse_policy",
    "read_policy",
    "require_fit",
    "where",
]

Decision = Literal["publish", "hold", "review"]

POLICY_VERSION = 1
READ_SECONDS = 60.0

# What never publishes unless the policy holds the sentence, so that no one allows it by a typo.
ALLOWANCES = {
    "unscored": "publish videos that were not scored",
    "public_seed": "publish on scores drawn with a public seed",
    "untrained": "publish on scores of an untrained checkpoint",
    "unknown_checkpoint": "publish on scores of any checkpoint",
    "doubtful_picture": "publish videos of whose picture there is doubt",
}
# What the lists say of every video before its columns.
DECIDED_COLUMNS = ("decision", "rule", "reason")
LIMITS = ("min_rows", "min_publish_share", "max_hold_share", "max_review_share", "max_unscored_share")

_KEYS = frozenset({"version", "default", "checkpoints", "columns", "allow", "limits", "rules"})
_RULE_KEYS = frozenset({"name", "decision", "when"})
_THRESHOLD_KEYS = frozenset({"default", "by", "values"})
_KINDS: dict[type, str] = {
    bool: "truth",
    int: "number",
    float: "number",
    str: "text",
    datetime.datetime: "time",
    datetime.date: "time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is decided for rows for which all conditions hold."""

    name: str
    decision: Decision
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules in order, of which the first that holds decides, and what guards a publication."""

    name: str  # of the file, for people
    sha256: str  # of its bytes
    rules: tuple[Rule, ...]
    default: Decision = "review"  # where no rule holds
    checkpoints: frozenset[str] = frozenset()  # that may publish
    columns: tuple[str, ...] = ()  # of the report, that the lists have besides their own
    allowed: frozenset[str] = frozenset()  # names of `ALLOWANCES`
    limits: Mapping[str, float] = field(default_factory=dict)  # names of `LIMITS`
    source: TomlSource

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """The columns of the report that it names."""
        conditions = [condition for rule in self.rules for condition in rule.conditions]
        return tuple(dict.fromkeys([*(name for one in conditions for name in one.columns), *self.columns]))


def read_policy(uri: str) -> Policy:
    """Read a policy from anywhere that videos can be read from.

    Raises:
        ConfigurationError: it cannot be read or breaks a rule.
    """
    name = redact(uri)
    try:
        content = read_bytes(uri, timeout_seconds=READ_SECONDS)
    except StorageError as error:
        raise ConfigurationError(f"policy {name!r} cannot be read: {error}") from error
    return parse_policy(content, name=name)


def parse_policy(content: bytes, *, name: str) -> Policy:
    """Return the policy that TOML bytes hold.

    Raises:
        ConfigurationError: they are no policy; names `name`, the line and the rule.
    """
    try:
        source = TomlSource(name=name, text=content.decode())
        document = source.document()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"policy {name!r}, line {line}: not UTF-8: {error.reason}") from error
    except ValueError as error:
        raise ConfigurationError(f"policy {name!r}, {error}") from error
    _require_keys(document, _KEYS, (), source)
    if document.get("version") != POLICY_VERSION:
        version = document.get("version")
        raise _error(source, ("version",), f"version must be {POLICY_VERSION}, got {written(version)}")
    return Policy(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        rules=_rules(document.get("rules", []), source),
        default=_decision(document.get("default", "review"), ("default",), source),
        checkpoints=frozenset(_names(document, "checkpoints", source)),
        columns=_columns(document, source),
        allowed=_allowed(document.get("allow", {}), source),
        limits=_limits(document.get("limits", {}), source),
        source=source,
    )


def require_fit(policy: Policy, schema: pa.Schema) -> None:
    """Refuse a policy whose conditions cannot be asked of a report.

    Raises:
        ConfigurationError: a column is not there, or is of another kind than what it is compared with.
    """
    for column in policy.columns:
        if column not in schema.names:
            raise _error(policy.source, ("columns",), _no_column(column, schema))
    for number, rule in enumerate(policy.rules):
        for condition in rule.conditions:
            path = ("rules", number, "when")
            for name in condition.columns:
                if name not in schema.names:
                    raise _error(policy.source, path, _no_column(name, schema))
            if wrong := _misfit(condition, schema.field(condition.column).type) or _misgrouped(
                condition, schema
            ):
                raise _error(policy.source, path, wrong)


def where(policy: Policy, path: Path) -> str:
    """Name a place in a policy: `("rules", 0, "when")` is that of the first rule's conditions."""
    return _place(policy.source, path)


def _error(source: TomlSource, path: Path, message: str) -> ConfigurationError:
    return ConfigurationError(f"{_place(source, path)}: {message}")


def _place(source: TomlSource, path: Path) -> str:
    place = f"policy {source.name!r}, line {source.line_of(path)}"
    if path[:1] == ("rules",) and len(path) > 1:
        number = cast(int, path[1])
        name = source.document()["rules"][number].get("name")
        place += f", rule {name!r}" if isinstance(name, str) else f", rule number {number + 1}"
    return place


def _no_column(name: str, schema: pa.Schema) -> str:
    return f"the report has no column {name!r}{or_of(name, schema.names)}"


def _misfit(condition: Condition, type_: pa.DataType) -> str | None:
    kind, comparison = kind_of_column(type_), condition.comparison
    words = f"{condition.column} is {kind}"
    if comparison == "missing" or kind == NOTHING:
        return None
    if comparison == "contains":
        return None if kind in {"text", "list of text"} else f"{words}: it cannot be asked what it contains"
    if comparison in ORDERED and kind not in {"number", "time"}:
        hint = f" ({_TEXT_HINTS['number']}; {_TEXT_HINTS['time']})" if kind == "text" else ""
        return f"{words}: it cannot be {comparison.replace('_', ' ')} anything{hint}"
    wrong = [one for one in condition.operands if _KINDS[type(one)] != kind or not _converts(one, type_)]
    if not wrong:
        alike = [one for one in condition.operands if not is_told_apart(one, type_)]
        if alike and comparison not in ORDERED:
            return f"{condition.column} is {type_}, which cannot tell {alike[0]} from its neighbours"
        return None
    hint = f" ({_TEXT_HINTS[_KINDS[type(wrong[0])]]})" if kind == "text" else ""
    hint = f": write {time_in_words(type_)}" if kind == "time" else hint
    return f"{words} and cannot be compared with {written(wrong[0])}{hint}"


_TEXT_HINTS = {  # of a text column that is compared with something else
    "number": "a column of a CSV manifest is of numbers where all its cells are written as numbers",
    "time": "days and moments of CSV and JSON manifests are text, those of Parquet times",
    "truth": 'truths of CSV manifests are text, as in is = "true"; those of JSON and Parquet are truths',
}


def _misgrouped(condition: Condition, schema: pa.Schema) -> str | None:
    """Say which group no value of its column could be, or which is named twice."""
    if condition.threshold is None or condition.by is None:
        return None
    type_ = schema.field(condition.by).type
    kind = kind_of_column(type_)
    if kind not in _GROUP_KINDS:
        return f"{condition.by} is {kind}: thresholds cannot go by it"
    keys: dict[Any, str] = {}
    for text, _ in condition.threshold.values:
        try:
            key = group_key(text, type_)
        except ValueError as error:
            return f"{condition.by} is {kind}: a group of its values {error}, got {text!r}"
        if key in keys:
            return f"{condition.by} is {kind}: the groups {keys[key]!r} and {text!r} are one"
        keys[key] = text
    return None


_GROUP_KINDS = ("number", "text", "truth", "time", NOTHING)


def _converts(value: Scalar, type_: pa.DataType) -> bool:
    """Tell whether a time is of the column's own sort: with or without a zone, of a day or a moment."""
    if kind_of_column(type_) != "time":
        return True
    is_moment = isinstance(value, datetime.datetime)
    has_zone = isinstance(value, datetime.datetime) and value.tzinfo is not None
    if not pa.types.is_timestamp(type_):
        return not is_moment
    return is_moment and has_zone == (cast(Any, type_).tz is not None)


def _rules(tables: Any, source: TomlSource) -> tuple[Rule, ...]:
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise _error(source, ("rules",), f"rules must be written as [[rules]], got {written(tables)}")
    if not tables:
        raise _error(source, ("rules",), "a policy must have at least one of [[rules]], got none")
    rules = tuple(_rule(one, number, source) for number, one in enumerate(tables))
    names = [rule.name for rule in rules]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise _error(source, ("rules", number, "name"), f"name must be unique, got {name!r} again")
    return rules


def _rule(table: Mapping[str, Any], number: int, source: TomlSource) -> Rule:
    path: Path = ("rules", number)
    _require_keys(table, _RULE_KEYS, path, source)
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        raise _error(source, (*path, "name"), f"name must be text, got {written(name)}")
    when = table.get("when")
    listed: list[Any] = when if isinstance(when, list) else [when]
    if not listed or not all(isinstance(one, dict) for one in listed):
        raise _error(
            source, (*path, "when"), f"when must be one condition or a list of them, got {written(when)}"
        )
    return Rule(
        name=name,
        decision=_decision(table.get("decision"), (*path, "decision"), source),
        conditions=tuple(_condition(one, (*path, "when"), source) for one in listed),
    )


def _condition(table: Mapping[str, Any], path: Path, source: TomlSource) -> Condition:
    column = table.get("column")
    if not isinstance(column, str):
        raise _error(source, path, f"column must be the name of a column, got {written(column)}")
    others = [name for name in table if name != "column"]
    if len(others) != 1 or others[0] not in CONDITIONS:
        wanted = ", ".join(CONDITIONS)
        raise _error(source, path, f"a condition must have column and one of {wanted}, got {written(others)}")
    comparison, value = others[0], table[others[0]]
    if comparison == "missing":
        if not isinstance(value, bool):
            raise _error(source, path, f"missing must be true or false, got {written(value)}")
        return Condition(column=column, comparison=comparison, is_missing=value)
    if comparison in {"one_of", "none_of"}:
        condition = Condition(column=column, comparison=comparison, members=_members(value, path, source))
    elif comparison == "contains" and not isinstance(value, str):
        raise _error(source, path, f"contains must be text, got {written(value)}")
    else:
        condition = Condition(column=column, comparison=comparison, threshold=_threshold(value, path, source))
    if wrong := _never(condition) or _out_of_range(condition):
        raise _error(source, path, wrong)
    return condition


def _never(condition: Condition) -> str | None:
    """Say what a column of few words is compared with, or its groups are, that it never holds."""
    asked: list[tuple[str, Scalar]] = [(condition.column, one) for one in condition.operands]
    if condition.threshold is not None and condition.by is not None:
        asked += [(condition.by, text) for text, _ in condition.threshold.values]
    for column, value in asked:
        known = CLOSED.get(column)
        if known is None or not isinstance(value, str):
            continue
        if value in known or (condition.comparison == "contains" and any(value in one for one in known)):
            continue
        return f"{column} is never {value!r}{or_of(value, known)}"
    return None


def _out_of_range(condition: Condition) -> str | None:
    """Say what a column of a known range is compared with that lies outside it."""
    low, high = RANGES.get(condition.column, (-math.inf, math.inf))
    for value in condition.operands:
        if _KINDS[type(value)] == "number" and not low <= cast(float, value) <= high:
            return f"{condition.column} is in {low:g}..{high:g}, never {shown(value)}"
    end = {"below": low, "above": high}.get(condition.comparison)
    if condition.operands and all(value == end for value in condition.operands):
        return f"{condition.column} is in {low:g}..{high:g}, never {condition.comparison} {end:g}"
    return None


def _members(value: Any, path: Path, source: TomlSource) -> tuple[Scalar, ...]:
    if not isinstance(value, list) or not value:
        raise _error(
            source, path, f"one_of and none_of need a list with something in it, got {written(value)}"
        )
    return tuple(_scalar(one, path, source) for one in value)


def _threshold(value: Any, path: Path, source: TomlSource) -> Threshold:
    if not isinstance(value, dict):
        return Threshold(default=_scalar(value, path, source))
    if set(value) != _THRESHOLD_KEYS or not isinstance(value["values"], dict):
        wanted = ", ".join(sorted(_THRESHOLD_KEYS))
        raise _error(source, path, f"thresholds by group must have {wanted}, got {written(sorted(value))}")
    if not isinstance(value["by"], str):
        raise _error(source, path, f"by must be the name of a column, got {written(value['by'])}")
    groups = tuple((name, _scalar(one, path, source)) for name, one in value["values"].items())
    return Threshold(default=_scalar(value["default"], path, source), by=value["by"], values=groups)


def _scalar(value: Any, path: Path, source: TomlSource) -> Scalar:
    if type(value) not in _KINDS or value != value:  # noqa: PLR0124 - NaN, with which nothing compares
        raise _error(
            source, path, f"a value to compare with must be text, a number or a time, got {written(value)}"
        )
    return cast(Scalar, value)


def _decision(value: Any, path: Path, source: TomlSource) -> Decision:
    if value not in get_args(Decision):
        raise _error(
            source, path, f"{path[-1]} must be one of {', '.join(get_args(Decision))}, got {written(value)}"
        )
    return cast(Decision, value)


def _names(document: Mapping[str, Any], key: str, source: TomlSource) -> tuple[str, ...]:
    values = document.get(key, [])
    if not isinstance(values, list) or not all(isinstance(one, str) and one for one in values):
        raise _error(source, (key,), f"{key} must be a list of texts, got {written(values)}")
    return tuple(dict.fromkeys(values))


def _columns(document: Mapping[str, Any], source: TomlSource) -> tuple[str, ...]:
    columns = _names(document, "columns", source)
    for name in columns:
        if name in DECIDED_COLUMNS:
            raise _error(source, ("columns",), f"columns must not be named as the lists' own, got {name!r}")
    return columns


def _allowed(table: Any, source: TomlSource) -> frozenset[str]:
    _require_keys(table, frozenset(ALLOWANCES), ("allow",), source)
    for name, value in table.items():
        if value != ALLOWANCES[name]:
            message = f"{name} must be the words {ALLOWANCES[name]!r}, got {written(value)}"
            raise _error(source, ("allow", name), message)
    return frozenset(table)


def _limits(table: Any, source: TomlSource) -> dict[str, float]:
    _require_keys(table, frozenset(LIMITS), ("limits",), source)
    for name, value in table.items():
        high, rule = (1 << 50, ">= 0") if name == "min_rows" else (1, "in 0..1")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= high:
            raise _error(source, ("limits", name), f"{name} must be a number {rule}, got {written(value)}")
    return {name: float(value) for name, value in table.items()}


def _require_keys(table: Any, known: frozenset[str], path: Path, source: TomlSource) -> None:
    if not isinstance(table, dict):
        raise _error(source, path, f"{path[-1]} must be a table, got {written(table)}")
    for name in table:
        if name not in known:
            words = f"{name!r} is not one of {', '.join(sorted(known))}{did_you_mean(name, known)}"
            raise _error(source, (*path, name), words)
