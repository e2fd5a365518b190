"""Owns what the values of a report's column are to a gate: their kind, and how each compares with a policy's.

| kind         | columns                             | compared as                                          |
|--------------|-------------------------------------|------------------------------------------------------|
| number       | integers, floats, decimals          | themselves, exactly; NaN is missing                  |
| text         | text of any layout                  | themselves                                           |
| truth        | booleans                            | themselves                                           |
| time         | days, and moments of any resolution | days, and nanoseconds, since 1970                    |
| list of text | lists of any layout                 | themselves; an entry that is missing may be anything |
| nothing      | columns that hold no value at all   | missing, every one of them                           |
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import numpy as np
import pyarrow as pa

from operators.schema import REPORT
from operators.stage import FAILED, SCORED
from securevqa_core.errors import ERROR_CODES

__all__ = [
    "CLOSED",
    "NOTHING",
    "RANGES",
    "Scalar",
    "comparable",
    "group_key",
    "is_told_apart",
    "kind_of_column",
    "operand",
    "time_in_words",
]

Scalar = str | int | float | bool | datetime.datetime | datetime.date
Column = Any  # pa.ChunkedArray of any type

NOTHING = "nothing"
# Columns of a report that hold one of a few words, and what those are. Not taken from where they are written,
# which would import torch: a gate need not wait for it.
CLOSED: dict[str, tuple[str, ...]] = {
    "error_code": tuple(ERROR_CODES),
    "stage": (*dict.fromkeys(code.stage for code in ERROR_CODES.values()), "fragment", "inter"),
    "status": (SCORED, FAILED, "pending"),
    "verdict": ("pass", "review", "reject"),
    "randomness": ("keyed", "ephemeral", "public"),
    "checkpoint_status": ("trained", "untrained", "imported"),
}

_RANGE = re.compile(r"(\d+)\.\.(\d+)\b")  # how a unit that is a range begins
# Columns of a report whose numbers lie between two, both included, by their units.
RANGES: dict[str, tuple[float, float]] = {
    field.name: (float(found[1]), float(found[2]))
    for field in REPORT
    if pa.types.is_floating(field.type)
    and (found := _RANGE.match((field.metadata or {}).get(b"unit", b"").decode()))
}

_KINDS: dict[str, tuple[Callable[[Any], bool], ...]] = {
    "number": (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
    "truth": (pa.types.is_boolean,),
    "time": (pa.types.is_timestamp, pa.types.is_date),
    NOTHING: (pa.types.is_null,),
}
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_EPOCH = datetime.datetime(1970, 1, 1)
_INTEGER = re.compile(r"[+-]?\d+")
_FLOATS: dict[int, Any] = {16: np.float16, 32: np.float32, 64: np.float64}
_TRUTHS = {"true": True, "false": False}


def kind_of_column(kind: pa.DataType) -> str:
    """Name what a column can be compared with: a kind of the table above, or another type by its name."""
    kind = _without_dictionary(kind)
    if _is_list(kind):
        return f"list of {kind_of_column(cast(Any, kind).value_type)}"
    return next((name for name, tests in _KINDS.items() if any(is_so(kind) for is_so in tests)), str(kind))


def comparable(column: Column) -> list[Any]:
    """Return each value of a column as it compares, None where it is missing."""
    kind: Any = _without_dictionary(column.type)
    if pa.types.is_timestamp(kind):
        unit = _NANOSECONDS[kind.unit]
        return [None if one is None else one * unit for one in column.cast(kind).cast(pa.int64()).to_pylist()]
    if pa.types.is_date(kind):
        return cast(list[Any], column.cast(pa.date32()).cast(pa.int32()).to_pylist())
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(kind):
        return [None if one is None or math.isnan(one) else one for one in values]
    return values


def operand(value: Scalar, kind: pa.DataType) -> Any:
    """Return a policy's value as it compares with a column's.

    A fraction is taken as the column would hold it, so that 0.7 meets 0.7 of 32 bits and of a decimal.
    Integers are never rounded.
    """
    kind = _without_dictionary(kind)
    if isinstance(value, datetime.datetime):
        epoch = _EPOCH.replace(tzinfo=None if value.tzinfo is None else datetime.UTC)
        return (value - epoch) // datetime.timedelta(microseconds=1) * 1_000
    if isinstance(value, datetime.date):
        return value.toordinal() - _EPOCH.toordinal()
    if isinstance(value, float) and pa.types.is_decimal(kind):
        return Decimal(repr(value))
    if isinstance(value, float) and pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            held = float(_FLOATS[kind.bit_width](value))
        return held if math.isfinite(held) else value
    return value


def is_told_apart(value: Scalar, kind: pa.DataType) -> bool:
    """Tell whether a column holds a whole number as itself, and no other as that.

    A column of floats that was made of integers has several of them in one value, once they are large: ids
    of 64 bits, of which pandas makes floats where one is missing.
    """
    kind = _without_dictionary(kind)
    if not isinstance(value, int) or not pa.types.is_floating(kind):
        return True
    return abs(value) < _first_alike(kind)


def group_key(text: str, kind: pa.DataType) -> Any:
    """Return the value of a column that a key of `values` stands for: TOML has no keys but text.

    Raises:
        ValueError: the column cannot hold such a value; says what it must be.
    """
    kind = _without_dictionary(kind)
    name = kind_of_column(kind)
    if name in {"text", NOTHING}:
        return text
    if name == "truth" and text in _TRUTHS:
        return _TRUTHS[text]
    try:
        if name == "number":
            number = _number(text)
            if is_told_apart(number, kind):
                return operand(number, kind)
        if name == "time":
            return operand(_time(text, kind), kind)
    except (ValueError, OverflowError):
        pass
    words = {"truth": "true or false", "number": _number_in_words(kind), "time": time_in_words(kind)}
    raise ValueError(f"must be {words[name]}" if name in words else f"{name} has no groups")


def _without_dictionary(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_list(kind: Any) -> bool:
    types = pa.types
    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return views or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _number(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return int(text)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _first_alike(kind: Any) -> int:
    """Return the least whole number that floats cannot tell from the next."""
    return int(2 ** (np.finfo(_FLOATS[kind.bit_width]).nmant + 1))


def _number_in_words(kind: Any) -> str:
    return f"a number, a whole one below {_first_alike(kind)}" if pa.types.is_floating(kind) else "a number"


def _time(text: str, kind: Any) -> datetime.date:
    if not pa.types.is_timestamp(kind):
        return datetime.date.fromisoformat(text)
    moment = datetime.datetime.fromisoformat(text)
    if (moment.tzinfo is None) != (kind.tz is None):
        raise ValueError(text)
    return moment


def time_in_words(kind: pa.DataType) -> str:
    """Say how a policy writes a value of a column of times."""
    kind = _without_dictionary(kind)
    if not pa.types.is_timestamp(kind):
        return "a day, as in 2026-11-22"
    example = "2026-11-22T07:30:00"
    if cast(Any, kind).tz is None:
        return f"a moment without a zone, as in {example}"
    return f"a moment with a zone, as in {example}Z"
