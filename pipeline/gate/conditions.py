"""Owns one condition of a gate's policy: whether it holds for the rows of a report, and how to say so.

A condition on a value that is missing (null or NaN), or whose threshold goes by a group that is missing,
neither holds nor fails: it is unknown, which a gate never takes for a reason to publish. Only where no value
is itself an answer, as in error_code, it is known.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.gate.kinds import Scalar, comparable, group_key, operand
from pipeline.tables import readable

__all__ = [
    "CONDITIONS",
    "FALSE",
    "ORDERED",
    "TRUE",
    "UNKNOWN",
    "Answer",
    "Answers",
    "Condition",
    "Threshold",
    "shown",
]

FALSE, UNKNOWN, TRUE = 0, 1, 2  # in this order, so that the least of several is whether all hold
Answer = NDArray[np.int8]  # (num_rows,), each one of the three

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "below": operator.lt,
    "at_most": operator.le,
    "above": operator.gt,
    "at_least": operator.ge,
    "is": operator.eq,
    "is_not": operator.ne,
}
# What was found to be so: where the comparison holds, and where it fails.
_SIGNS = {"below": ("<", ">="), "at_most": ("<=", ">"), "above": (">", "<="), "at_least": (">=", "<")}
_MEMBER = ("one_of", "none_of")
ORDERED = tuple(_SIGNS)
_NONE_IS_KNOWN = ("stage", "error_code", "error_message")  # of REPORT: null where nothing failed
CONDITIONS = (*_COMPARE, *_MEMBER, "contains", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What a column is compared with, the same for all rows or by the value of another column."""

    default: Scalar
    by: str | None = None  # column whose value chooses among `values`; the default where it is not listed
    values: tuple[tuple[str, Scalar], ...] = ()

    def at(self, group: Any, kind: pa.DataType) -> Scalar | None:
        """Return what a row is compared with whose group, of a column of `kind`, this is; None: unknown."""
        return None if group is None else _by_group(self.values, kind).get(group, self.default)


@functools.lru_cache(maxsize=1_000)
def _by_group(values: tuple[tuple[str, Scalar], ...], kind: pa.DataType) -> dict[Any, Scalar]:
    return {group_key(text, kind): value for text, value in values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison of one column."""

    column: str
    comparison: str  # of `CONDITIONS`
    threshold: Threshold | None = None  # of all comparisons but the two below
    members: tuple[Scalar, ...] = ()  # of one_of and none_of
    is_missing: bool = False  # of missing

    @property
    def by(self) -> str | None:
        """The column that chooses the threshold."""
        return self.threshold.by if self.threshold else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs."""
        return (self.column,) if self.by is None else (self.column, self.by)

    @property
    def operands(self) -> tuple[Scalar, ...]:
        """Everything the column is compared with, on any row."""
        if self.threshold is None:
            return self.members
        return (self.threshold.default, *(value for _, value in self.threshold.values))


class Answers:
    """What conditions come to for the rows of a report, whose columns are read once.

    Conditions fit the report's columns, as `policy.require_fit` has found.
    """

    def __init__(self, report: pa.Table) -> None:
        self._report = report
        self._comparable: dict[str, list[Any]] = {}
        self._known: dict[str, list[Any]] = {}  # where none is an answer
        self._readable: dict[str, list[Any]] = {}

    def holds(self, condition: Condition) -> Answer:
        """Tell of every row whether a condition holds."""
        values = self.values(condition.column)
        if condition.comparison == "missing":
            column = self._column(condition.column)
            return _answer((one is None) == condition.is_missing for one in column)
        type_ = self._type(condition.column)
        if condition.comparison in _MEMBER:
            members = {operand(one, type_) for one in condition.members}
            is_wanted = condition.comparison == "one_of"
            return _answer(None if one is None else (one in members) == is_wanted for one in values)
        assert condition.threshold is not None
        if condition.comparison == "contains":
            return _answer(_contains(one, str(condition.threshold.default)) for one in values)
        compare = _COMPARE[condition.comparison]
        if condition.by is None:
            fixed = operand(condition.threshold.default, type_)
            return _answer(None if one is None else compare(one, fixed) for one in values)
        compared = {one: operand(one, type_) for one in condition.operands}
        return _answer(
            None if one is None or other is None else compare(one, compared[other])
            for one, other in zip(values, self._thresholds(condition), strict=True)
        )

    def words(self, condition: Condition, index: int, answer: int) -> str:
        """Say what was found of one row, by names and values: `score_lower 35.2 < 60 (channel 'kids')`."""
        if condition.comparison != "missing" and answer == UNKNOWN:
            missing = [name for name in condition.columns if self.values(name)[index] is None]
            return f"{' and '.join(missing) or f'an entry of {condition.column}'} is missing"
        by = condition.by
        found = self._found(condition, index, is_so=answer == TRUE)
        return found if by is None else f"{found} ({by} {shown(self._shown_value(by, index))})"

    def values(self, name: str) -> list[Any]:
        """Return a column as it compares; where no value is an answer it is an empty text."""
        if name not in _NONE_IS_KNOWN:
            return self._column(name)
        if name not in self._known:
            self._known[name] = ["" if one is None else one for one in self._column(name)]
        return self._known[name]

    def _found(self, condition: Condition, index: int, *, is_so: bool) -> str:
        column, comparison = condition.column, condition.comparison
        if comparison == "missing":
            return f"{column} is {'missing' if condition.is_missing == is_so else 'there'}"
        value, words = self._shown_value(column, index), shown(self._shown_value(column, index))
        if comparison == "contains":
            assert condition.threshold is not None
            return _contents(column, value, str(condition.threshold.default), is_so=is_so)
        by = condition.by
        operands: tuple[Any, ...] = condition.members or condition.operands[:1]
        if by is not None and condition.threshold is not None:
            operands = (condition.threshold.at(self.values(by)[index], self._type(by)),)
        if comparison in ORDERED:
            sign = _SIGNS[comparison][0 if is_so else 1]
            return f"{column} {' '.join(_apart(value, sign, operands[0]))}"
        if (comparison in {"is", "one_of"}) == is_so:  # the value says which of them
            return f"{column} is {words}"
        return f"{column} is {words}, not {' or '.join(shown(one) for one in operands)}"

    def _thresholds(self, condition: Condition) -> Iterator[Scalar | None]:
        """Yield the threshold of every row; None where its group is missing."""
        threshold, by = condition.threshold, condition.by
        assert threshold is not None
        assert by is not None
        groups, kind = self.values(by), self._type(by)
        known = {group: threshold.at(group, kind) for group in set(groups)}
        return (known[group] for group in groups)

    def _type(self, name: str) -> Any:
        return self._report.schema.field(name).type

    def _column(self, name: str) -> list[Any]:
        if name not in self._comparable:
            self._comparable[name] = comparable(self._report[name])
        return self._comparable[name]

    def _shown_value(self, name: str, index: int) -> Any:
        if name not in self._readable:
            self._readable[name] = readable(self._report[name])
        value = self._readable[name][index]
        return "" if value is None and name in _NONE_IS_KNOWN else value


def shown(value: Any) -> str:
    """Return a value as a person writes it; numbers with six digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value) if isinstance(value, str) else str(value)


def _answer(found: Iterable[bool | None]) -> Answer:
    return np.fromiter((UNKNOWN if one is None else TRUE if one else FALSE for one in found), np.int8)


def _contains(value: str | list[str | None] | None, wanted: str) -> bool | None:
    if value is None or isinstance(value, str):
        return None if value is None else wanted in value
    if any(one is not None and wanted in one for one in value):
        return True
    return None if None in value else False


def _contents(column: str, value: Any, wanted: str, *, is_so: bool) -> str:
    if isinstance(value, str):
        return f"{column} {shown(value)} {'contains' if is_so else 'does not contain'} {shown(wanted)}"
    if not is_so:
        return f"{column} has no {shown(wanted)}"
    return f"{column} has {shown(next(one for one in value if one is not None and wanted in one))}"


def _apart(value: Any, sign: str, other: Any) -> tuple[str, str, str]:
    """Return a comparison as it is shown: with all digits where six would make two numbers one."""
    texts = shown(value), shown(other)
    if texts[0] == texts[1] and value != other:
        texts = str(value), str(other)
    return texts[0], sign, texts[1]
