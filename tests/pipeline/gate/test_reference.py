"""The gate decides as a slow reading of the policy does, row by row, whatever columns and policies there are.

The reference knows three answers, compares numbers and moments as fractions, and reads nothing from the gate.
"""

from __future__ import annotations

import datetime
import json
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.schema import REPORT
from pipeline.gate.decide import decide
from pipeline.gate.policy import parse_policy

NUM_ROWS = 6
CHECKPOINT = "secure-vqa-compact-0123456789abcdef"
TRUSTED: dict[str, Any] = {
    "status": "scored",
    "score_lower": 50.0,
    "checkpoint_id": CHECKPOINT,
    "checkpoint_status": "trained",
    "randomness": "keyed",
    "decode_warnings": [],
}
UNTRUSTED: list[dict[str, Any]] = [
    {"status": "failed"},
    {"score_lower": None},
    {"score_lower": math.nan},
    {"randomness": "public"},
    {"checkpoint_status": "untrained"},
    {"checkpoint_id": None},
    {"decode_warnings": ["fallback: another decoder"]},
]
NONE_IS_KNOWN = ("error_code", "error_message")
UTC = datetime.UTC
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "below": operator.lt,
    "at_most": operator.le,
    "above": operator.gt,
    "at_least": operator.ge,
}
SAME: dict[str, Callable[[Any, Any], bool]] = {"is": operator.eq, "is_not": operator.ne}


@dataclass(frozen=True)
class Column:
    """A column as Python has it, and as the report does."""

    name: str
    kind: str
    arrow: Any
    values: list[Any]
    operands: list[Any]  # that a policy may compare it with


@dataclass(frozen=True)
class Asked:
    """A condition as it was drawn."""

    column: Column
    comparison: str
    operands: list[Any]  # one for all but one_of and none_of; the default where there are groups
    by: Column | None = None
    groups: tuple[tuple[Any, Any], ...] = ()  # value of `by` -> operand


def exactly(value: Any, arrow_type: Any) -> Any:
    """A value of a policy or a column as one that compares exactly."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, datetime.datetime):
        start = datetime.datetime(1970, 1, 1, tzinfo=UTC if value.tzinfo else None)
        return Fraction((value - start) // datetime.timedelta(microseconds=1), 1_000_000)
    if isinstance(value, datetime.date):
        return Fraction(value.toordinal())
    if isinstance(value, float) and pa.types.is_decimal(arrow_type):
        return Fraction(str(value))
    if isinstance(value, float) and pa.types.is_float32(arrow_type):
        return Fraction(float(np.float32(value)))
    return Fraction(value)


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def threshold(asked: Asked, row: int) -> Any:
    """What a row is compared with; None: its group is missing."""
    if asked.by is None:
        return asked.operands[0]
    own, type_ = asked.by.values[row], asked.by.arrow.type
    if is_missing(own) and asked.by.name not in NONE_IS_KNOWN:
        return None
    for group, value in asked.groups:
        if own is not None and exactly(own, type_) == exactly(group, type_):
            return value
    return asked.operands[0]


def answer(asked: Asked, row: int) -> bool | None:
    value, type_ = asked.column.values[row], asked.column.arrow.type
    if asked.comparison == "missing":
        return is_missing(value) == asked.operands[0]
    if asked.column.name in NONE_IS_KNOWN and value is None:
        value = ""
    if is_missing(value):
        return None
    if asked.comparison == "contains":
        if isinstance(value, str):
            return asked.operands[0] in value
        found = [None if one is None else asked.operands[0] in one for one in value]
        return True if True in found else None if None in found else False
    own = exactly(value, type_)
    if asked.comparison in {"one_of", "none_of"}:
        is_member = any(own == exactly(one, type_) for one in asked.operands)
        return is_member == (asked.comparison == "one_of")
    other = threshold(asked, row)
    return None if other is None else (ORDER | SAME)[asked.comparison](own, exactly(other, type_))


def reference(rules: list[tuple[str, list[Asked]]], default: str, row: int, *, is_trusted: bool) -> str:
    is_doubted = False
    decision = default
    for one, conditions in rules:
        answers = [answer(asked, row) for asked in conditions]
        if all(said is True for said in answers):
            decision = one
            break
        if False not in answers and one != "publish":
            is_doubted = True
    return "review" if decision == "publish" and (is_doubted or not is_trusted) else decision


INTEGERS = [0, 1, -1, 7, 100, 2**53, 2**53 + 1, 1_800_000_000_000_000_001, 1_800_000_000_000_000_100]
FRACTIONS = [0.0, 0.1, 0.7, 1.0, -1.5, 100.0, 1e30, float(2**53)]
DECIMALS = [Decimal("0.100"), Decimal("0.700"), Decimal("1.000"), Decimal("-1.500")]
TEXTS = ["", "film", "Film", "1", "true", "a film", "None"]
MOMENTS = [datetime.datetime(2026, 11, 22, 7, 30, second) for second in (0, 1)]
LATER = [one.replace(microsecond=500_000) for one in MOMENTS]
DAYS = [datetime.date(2026, 11, 21), datetime.date(2026, 11, 22)]
LISTS = [[], ["a film"], [None], ["a film", None], ["nsfw"]]


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    kind = draw(st.sampled_from(["integer", "float", "decimal", "text", "truth", "moment", "day", "list"]))
    more: list[Any] = []
    if kind == "integer":
        type_: Any = draw(st.sampled_from([pa.int64(), pa.uint64(), pa.int8()]))
        low, high = (0, 2**64) if type_ == pa.uint64() else (-(2 ** (type_.bit_width - 1)),) * 2
        pool: list[Any] = [one for one in INTEGERS if low <= one < abs(high)]
        more = [0.5, 1.0, float(2**53), 2**64 - 1]
    elif kind == "float":
        type_ = draw(st.sampled_from([pa.float32(), pa.float64()]))
        pool = [*FRACTIONS, math.nan]
        if type_ == pa.float32():
            pool = [float(np.float32(one)) for one in pool]
            more = [*FRACTIONS]
        more += [one for one in INTEGERS if one < 2**24]  # larger ones are refused: see test_policy
    elif kind == "decimal":
        type_, pool, more = pa.decimal128(9, 3), DECIMALS, [*FRACTIONS, 1]
    elif kind == "text":
        pool, type_ = TEXTS, draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
    elif kind == "truth":
        pool, type_ = [True, False], pa.bool_()
    elif kind == "moment":
        zone = draw(st.sampled_from([None, "UTC", "Asia/Tokyo"]))
        type_ = pa.timestamp(draw(st.sampled_from(["s", "ms", "us", "ns"])), tz=zone)
        tz = UTC if zone else None
        pool, more = ([one.replace(tzinfo=tz) for one in some] for some in (MOMENTS, LATER))
    elif kind == "day":
        pool, type_ = DAYS, draw(st.sampled_from([pa.date32(), pa.date64()]))
    else:
        pool, type_ = LISTS, draw(st.sampled_from([pa.list_(pa.string()), pa.large_list(pa.string_view())]))
    chances = st.lists(st.sampled_from([None, *pool]), min_size=NUM_ROWS, max_size=NUM_ROWS)
    values = draw(chances)
    arrow: Any = pa.array(values, type_)
    if kind == "text" and draw(st.booleans()):
        arrow = pa.array(values, pa.string()).dictionary_encode()
    known = [one for one in pool if not is_missing(one)]
    return Column(name=name, kind=kind, arrow=arrow, values=values, operands=[*known, *more])


@st.composite
def conditions(draw: st.DrawFn, available: list[Column]) -> Asked:
    column = draw(st.sampled_from(available))
    comparisons = ["missing", *([] if column.kind == "list" else [*SAME, "one_of", "none_of"])]
    if column.kind in {"text", "list"}:
        comparisons.append("contains")
    if column.kind not in {"text", "list", "truth"}:
        comparisons += ORDER
    comparison = draw(st.sampled_from(comparisons))
    if comparison == "missing":
        return Asked(column, comparison, [draw(st.booleans())])
    if comparison == "contains":
        return Asked(column, comparison, [draw(st.sampled_from(["film", "nsfw", ""]))])
    operand = st.sampled_from(column.operands)
    if comparison in {"one_of", "none_of"}:
        return Asked(column, comparison, draw(st.lists(operand, min_size=1, max_size=3)))
    grouping = [one for one in available if one.kind != "list"]
    by = draw(st.sampled_from([None, *grouping]))
    if by is None:
        return Asked(column, comparison, [draw(operand)])
    type_ = by.arrow.type
    names = draw(
        st.lists(st.sampled_from(by.operands), max_size=3, unique_by=lambda one: exactly(one, type_))
    )
    return Asked(column, comparison, [draw(operand)], by, tuple((name, draw(operand)) for name in names))


def written(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(float(value)) if isinstance(value, Decimal) else repr(value)


def group_written(value: Any) -> str:
    text = written(value)
    return text if isinstance(value, str) else json.dumps(text)


def in_toml(asked: Asked) -> str:
    if asked.comparison in {"one_of", "none_of"}:
        operand = f"[{', '.join(map(written, asked.operands))}]"
    else:
        operand = written(asked.operands[0])
    if asked.by is not None:
        values = ", ".join(f"{group_written(group)} = {written(value)}" for group, value in asked.groups)
        operand = f'{{ default = {operand}, by = "{asked.by.name}", values = {{ {values} }} }}'
    return f'{{ column = "{asked.column.name}", {asked.comparison} = {operand} }}'


@pytest.mark.slow
@given(st.data())
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_gate_decides_as_a_slow_reading_of_the_policy_does(data: st.DataObject) -> None:
    available = [data.draw(columns(name)) for name in ("one", "two", "three")]
    decisions = st.sampled_from(["publish", "hold", "review"])
    rule = st.tuples(decisions, st.lists(conditions(available), min_size=1, max_size=2))
    rules = data.draw(st.lists(rule, min_size=1, max_size=4))
    default = data.draw(decisions)
    faults = data.draw(
        st.lists(st.sampled_from([{}, {}, {}, *UNTRUSTED]), min_size=NUM_ROWS, max_size=NUM_ROWS)
    )
    text = [f'version = 1\ndefault = "{default}"\ncheckpoints = ["{CHECKPOINT}"]']
    for number, (decision, asked) in enumerate(rules):
        when = ", ".join(map(in_toml, asked))
        text.append(f'[[rules]]\nname = "rule {number}"\ndecision = "{decision}"\nwhen = [{when}]')
    rows = [{"video_id": str(row), "uri": f"/{row}"} | TRUSTED | fault for row, fault in enumerate(faults)]
    report = pa.Table.from_pylist(rows, schema=REPORT)
    for column in available:
        report = report.append_column(column.name, column.arrow)
    found = decide(report, parse_policy("\n".join(text).encode(), name="p.toml"))
    expected = [reference(rules, default, row, is_trusted=not fault) for row, fault in enumerate(faults)]
    assert found.decisions == expected, "\n".join([*text, *found.reasons])
    assert all(found.reasons)
