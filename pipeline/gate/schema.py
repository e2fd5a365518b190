"""Owns the JSON schema of policies, for editors that complete and check as one writes.

It is of draft 7, which TOML's editors know, and sees what `policy.parse_policy` sees, but for what no schema
can tell: a name used twice, NaN, a time of day, and parts of words that `contains` asks for.
"""

from __future__ import annotations

from typing import Any, get_args

from operators.schema import REPORT
from pipeline.gate.conditions import ORDERED
from pipeline.gate.kinds import CLOSED, RANGES, kind_of_column
from pipeline.gate.policy import ALLOWANCES, DECIDED_COLUMNS, LIMITS, POLICY_VERSION, Decision

__all__ = ["policy_schema"]

_Schema = dict[str, Any]

_SCALAR: _Schema = {"type": ["string", "number", "boolean"]}  # times are strings to an editor
_DECISION: _Schema = {"enum": list(get_args(Decision))}
_EQUAL = ("is", "is_not")
_MEMBER = ("one_of", "none_of")
_MEANINGS = {
    "below": "the value is less than this",
    "at_most": "the value is this or less",
    "above": "the value is more than this",
    "at_least": "the value is this or more",
    "is": "the value is this",
    "is_not": "the value is there, and another",
    "one_of": "the value is one of these",
    "none_of": "the value is there, and none of these",
    "contains": "the text, or one of the texts of a list, has this in it",
    "missing": "true: there is no value (null or NaN); false: there is one",
}


def policy_schema() -> _Schema:
    """Return the schema as JSON values."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Policy of securevqa gate",
        **_table(
            {
                "version": {"const": POLICY_VERSION, "description": "of this language"},
                "default": _DECISION
                | {"description": "of videos for which no rule holds; review if left out"},
                "checkpoints": _texts(
                    "the checkpoint_ids that may publish; while it is empty nothing is published"
                ),
                "columns": _texts("columns of the report that the lists have besides their own")
                | {"items": {"type": "string", "minLength": 1, "not": {"enum": list(DECIDED_COLUMNS)}}},
                "allow": _allow(),
                "limits": _limits(),
                "rules": {
                    "type": "array",
                    "items": _rule(),
                    "minItems": 1,
                    "description": "asked in order; the first decides",
                },
            },
            required=["version", "rules"],
        ),
        "definitions": _definitions(),
    }


def _table(properties: _Schema, *, required: list[str] | None = None) -> _Schema:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": required or [],
    }


def _texts(description: str) -> _Schema:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "description": description}


def _allow() -> _Schema:
    sentences = {name: {"const": sentence} for name, sentence in ALLOWANCES.items()}
    return _table(sentences) | {"description": "what is never published without these sentences"}


def _limits() -> _Schema:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    limits = dict.fromkeys(LIMITS, share) | {"min_rows": {"type": "number", "minimum": 0, "maximum": 1 << 50}}
    return _table(limits) | {"description": "where the report breaks one, nothing is published"}


def _rule() -> _Schema:
    several = {"type": "array", "items": _ref("condition"), "minItems": 1}
    properties = {
        "name": {
            "type": "string",
            "pattern": r"\S",
            "description": "stands in the lists beside what it decided",
        },
        "decision": _DECISION | {"description": "of videos for which all conditions hold"},
        "when": {
            "anyOf": [_ref("condition"), several],
            "description": "one condition, or several that must all hold",
        },
    }
    return _table(properties, required=["name", "decision", "when"])


def _definitions() -> _Schema:
    words = {f"{column}_word": _word(list(words)) for column, words in CLOSED.items()}
    return {"condition": _condition(), "threshold": _threshold(), **words}


def _condition() -> _Schema:
    """Return the schema of a column and one comparison."""
    operands: dict[str, _Schema] = {
        **dict.fromkeys((*ORDERED, *_EQUAL), _ref("threshold")),
        **{name: {"type": "array", "items": _SCALAR, "minItems": 1} for name in _MEMBER},
        "contains": {"type": "string"},
        "missing": {"type": "boolean"},
    }
    described = {
        name: {"allOf": [operand], "description": _MEANINGS[name]} for name, operand in operands.items()
    }
    column = {"type": "string", "description": "of the report, or of the manifest"}
    condition = _table({"column": column, **described}, required=["column"])
    few_words = [
        _if_is("column", {"const": column}, _of(_ref(f"{column}_word"), _EQUAL)) for column in CLOSED
    ]
    ranges = [
        _if_is(
            "column",
            {"enum": [name for name, known in RANGES.items() if known == (low, high)]},
            _of({"minimum": low, "maximum": high}, (*ORDERED, *_EQUAL)),
        )
        for low, high in sorted(set(RANGES.values()))
    ]
    return condition | {"minProperties": 2, "maxProperties": 2, "allOf": few_words + ranges + _by_kind()}


def _by_kind() -> list[_Schema]:
    """Return what each column of a report may be compared with, by its kind; a manifest's may be anything."""
    taken: dict[str, tuple[str, tuple[str, ...]]] = {
        "number": ("number", (*ORDERED, *_EQUAL)),
        "time": ("string", (*ORDERED, *_EQUAL)),
        "text": ("string", (*_EQUAL, "contains")),
        "list of text": ("string", ("contains",)),
    }
    columns: dict[str, list[str]] = {}
    for field in REPORT:
        columns.setdefault(kind_of_column(field.type), []).append(field.name)
    found = []
    for kind, names in columns.items():
        type_, comparisons = taken.get(kind, ("string", ()))
        allowed = _of({"type": type_}, comparisons)
        refused = [
            one
            for one in (*ORDERED, *_EQUAL, *_MEMBER, "contains")
            if one not in comparisons and not (one in _MEMBER and _EQUAL[0] in comparisons)
        ]
        properties = allowed["properties"] | {one: {"not": {}} for one in refused}
        found.append(_if_is("column", {"enum": names}, {"properties": properties}))
    return found


def _of(value: _Schema, comparisons: tuple[str, ...]) -> _Schema:
    """Return the schema of comparisons with such a value, by group too, and with members that are such."""
    values = {"properties": {"default": value, "values": {"additionalProperties": value}}}
    single = {"if": {"type": "object"}, "then": values, "else": value}
    return {"properties": dict.fromkeys(comparisons, single) | {name: {"items": value} for name in _MEMBER}}


def _threshold() -> _Schema:
    """Return the schema of what a column is compared with, by group where it is a table."""
    properties = {
        "default": _SCALAR | {"description": "for groups that are not listed"},
        "by": {"type": "string", "description": "the column of the groups"},
        "values": {"type": "object", "additionalProperties": _SCALAR, "description": "by group"},
    }
    by_group = _table(properties, required=["default", "by", "values"])
    groups = [
        _if_is("by", {"const": column}, {"properties": {"values": {"propertyNames": _ref(f"{column}_word")}}})
        for column in CLOSED
    ]
    return {"if": {"type": "object"}, "then": by_group | {"allOf": groups}, "else": _SCALAR}


def _word(words: list[str]) -> _Schema:
    return {"anyOf": [{"enum": words}, {"not": {"type": "string"}}]}  # another type is told of elsewhere


def _if_is(name: str, value: _Schema, then: _Schema) -> _Schema:
    return {"if": {"properties": {name: value}, "required": [name]}, "then": then}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/definitions/{name}"}
