"""Owns one condition of a gate's policy: whether it holds for the rows of a report, and how to say so.

A condition on a value that is missing (null or NaN) neither holds nor fails: it is unknown, which a gate
never takes for a reason to publish. Only where no value is itself an answer, as in error_code, it is known.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute

from operators.schema import Row

__all__ = ["CONDITIONS", "ORDERED", "Condition", "Scalar", "Threshold", "holds", "in_words", "kind_of_column"]

Scalar = str | int | float | bool | datetime.datetime | datetime.date
Column = Any  # pa.ChunkedArray of any type
pc: Any = pyarrow.compute  # whose stubs know no function of columns of any type

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "below": pc.less,
    "at_most": pc.less_equal,
    "above": pc.greater,
    "at_least": pc.greater_equal,
    "is": pc.equal,
    "is_not": pc.not_equal,
}
_MEMBER = ("one_of", "none_of")
ORDERED = ("below", "at_most", "above", "at_least")
_NONE_IS_KNOWN = ("stage", "error_code", "error_message")  # of REPORT: null where nothing failed
CONDITIONS = (*_COMPARE, *_MEMBER, "contains", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a column is compared with, the same for all rows or by the value of another column."""

    default: Scalar
    by: str | None = None  # column whose value chooses among `values`; the default where it is not listed
    values: Mapping[str, Scalar] = field(default_factory=dict)

    def of_group(self, group: Any) -> Scalar:
        """Return what rows are compared with that have this value of `by`."""
        return self.default if group is None else self.values.get(str(group), self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison of one column."""

    column: str
    comparison: str  # of `CONDITIONS`
    threshold: Threshold | None = None  # of all comparisons but the two below
    members: tuple[Scalar, ...] = ()  # of one_of and none_of
    is_missing: bool = False  # of missing

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs."""
        by = self.threshold.by if self.threshold else None
        return (self.column,) if by is None else (self.column, by)

    @property
    def operands(self) -> tuple[Scalar, ...]:
        """Everything the column is compared with, on any row."""
        if self.threshold is None:
            return self.members
        return (self.threshold.default, *self.threshold.values.values())


def kind_of_column(kind: pa.DataType) -> str:
    """Name what a column can be compared with: number, text, truth, time, list of text, or another type."""
    if pa.types.is_dictionary(kind):
        return kind_of_column(kind.value_type)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {kind_of_column(kind.value_type)}"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_boolean(kind):
        return "truth"
    return "text" if str(kind).endswith(("string", "string_view")) else str(kind)


def holds(condition: Condition, table: pa.Table) -> Column:
    """Return true, false or null (unknown) for every row of `table`.

    Args:
        condition: fits the columns, as `policy.require_fit` has found.
        table: has the condition's columns.
    """
    column = _known(table[condition.column])
    if condition.comparison == "missing":
        return pc.equal(pc.is_null(column), condition.is_missing)
    if condition.column in _NONE_IS_KNOWN:
        column = pc.fill_null(column, "")
    if condition.comparison in _MEMBER:
        is_member = pc.is_in(column, value_set=_operands(condition.members, column.type))
        wanted = is_member if condition.comparison == "one_of" else pc.invert(is_member)
        return pc.if_else(pc.is_valid(column), wanted, None)
    assert condition.threshold is not None
    if condition.comparison == "contains":
        return _contains(column, str(condition.threshold.default))
    return _COMPARE[condition.comparison](column, _operand(condition.threshold, table, column.type))


def in_words(condition: Condition, row: Row) -> str:
    """Say what was compared for one row, with its value: `score_lower 35.2 below 60 (channel 'kids')`."""
    value = row[condition.column]
    if condition.comparison == "missing":
        return f"{condition.column} is {'missing' if condition.is_missing else 'there'}"
    if condition.threshold is None:
        operand = ", ".join(_shown(one) for one in condition.members)
    else:
        by = condition.threshold.by
        operand = _shown(condition.threshold.of_group(None if by is None else row[by]))
    words = f"{condition.column} {_shown(value)} {condition.comparison.replace('_', ' ')} {operand}"
    by = condition.threshold.by if condition.threshold else None
    return words if by is None else f"{words} ({by} {_shown(row[by])})"


def _known(column: Column) -> Column:
    """Return the column with nulls for NaN and without dictionary encoding."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kind_of_column(column.type) == "number":
        column = column.cast(pa.float64(), safe=False)  # integers beyond 2**53 are compared as they round
        return pc.if_else(pc.is_nan(column), None, column)
    return column


def _operand(threshold: Threshold, table: pa.Table, kind: pa.DataType) -> Any:
    if threshold.by is None or not threshold.values:
        return _operands([threshold.default], kind)[0]
    groups = table[threshold.by].to_pylist()
    return _operands([threshold.of_group(group) for group in groups], kind)


def _operands(values: Sequence[Scalar], kind: pa.DataType) -> Any:
    if pa.types.is_floating(kind):
        values = [float(value) for value in values]  # type: ignore[arg-type]  # the policy fits the column
    array: Any = pa.array(values)
    return array.cast(kind)


def _contains(column: Column, wanted: str) -> Column:
    if kind_of_column(column.type) == "text":
        return pc.match_substring(column, wanted)
    is_contained = [
        None if cell is None else any(wanted in text for text in cell) for cell in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(is_contained, pa.bool_())])


def _shown(value: Any) -> str:
    """Return a value as a person writes it; numbers with six digits, which no threshold needs more of."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value) if isinstance(value, str) else str(value)
