"""Owns what in a policy is most likely misspelt: no row of a report answers to it, or nearly every one.

A night may well have no row of a group. So nothing is refused, and all is said.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

from operators.schema import REPORT
from pipeline.gate.conditions import ORDERED, Answers, Condition, shown
from pipeline.gate.kinds import RANGES, group_key, kind_of_column
from pipeline.gate.policy import Policy, where
from pipeline.text import BLANK
from securevqa_core.doubts import WARNINGS
from securevqa_core.errors import did_you_mean, or_of

__all__ = ["unmatched"]

MOST_NAMED = 10  # groups of the report in a message
_OF_100 = (0.0, 100.0)
_EQUAL = ("is", "is_not", "one_of", "none_of")


def unmatched(policy: Policy, report: pa.Table) -> list[str]:
    """Return what is said of checkpoints and groups that no row has, of values much like one that rows have,
    and of shares.

    Args:
        policy: fits the report's columns, as `policy.require_fit` has found.
        report: as for `decide.decide`.
    """
    answers = Answers(report)
    found = [f"{where(policy, ('checkpoints',))}: {one}" for one in _checkpoints(policy, report)]
    for number, rule in enumerate(policy.rules):
        for condition in rule.conditions:
            said = [
                *_shares(condition),
                *_groups(condition, answers, report),
                *_values(condition, answers, report),
                *_warnings(condition, answers),
            ]
            found += [f"{where(policy, ('rules', number, 'when'))}: {one}" for one in said]
    return found


def _checkpoints(policy: Policy, report: pa.Table) -> list[str]:
    """Tell of checkpoints that no row has but that are much like one, and of a list of which no row has any.

    Checkpoints of one model have long names that differ at the end, so it is the ends that are compared.
    """
    if not policy.checkpoints or "unknown_checkpoint" in policy.allowed:
        return []
    counts = Counter(one for one in report["checkpoint_id"].to_pylist() if one is not None)
    others = {name: count for name, count in counts.most_common() if name not in policy.checkpoints}
    absent = sorted(policy.checkpoints - counts.keys())
    hints = {one: did_you_mean(one, [name for name in others if _end_alike(one, name)]) for one in absent}
    if others and len(absent) == len(policy.checkpoints):
        return [
            f"no row has checkpoint {one!r}{hint}; rows have {_counted(others)}"
            for one, hint in hints.items()
        ]
    return [f"no row has checkpoint {one!r}{hint}" for one, hint in hints.items() if hint]


def _end_alike(one: str, other: str) -> bool:
    return bool(did_you_mean(one.rpartition("-")[2], [other.rpartition("-")[2]]))


def _shares(condition: Condition) -> list[str]:
    """Tell of thresholds that are shares, as of 1, of a column that is of 100."""
    if condition.comparison not in ORDERED or RANGES.get(condition.column) != _OF_100:
        return []
    small = [one for one in condition.operands if isinstance(one, int | float) and 0 < one <= 1]
    return [
        f"{condition.column} is in 0..100, and {shown(one)} is nearly its least (did you mean {100 * one:g}?)"
        for one in small
    ]


def _groups(condition: Condition, answers: Answers, report: pa.Table) -> list[str]:
    if condition.threshold is None or condition.by is None:
        return []
    by, threshold = condition.by, condition.threshold
    kind = report.schema.field(by).type
    counts = Counter(one for one in answers.values(by) if one is not None)
    named = {group_key(text, kind): text for text, _ in threshold.values}
    absent = [text for key, text in named.items() if key not in counts]
    others = {_name(key): count for key, count in counts.most_common() if key not in named}
    there = _counted(others)
    rest = f"the default {shown(threshold.default)} goes for {there}" if there else "no other group is there"
    return [f"no row has {by} {text!r}{did_you_mean(text, others)}; {rest}" for text in absent]


def _values(condition: Condition, answers: Answers, report: pa.Table) -> list[str]:
    """Tell of values in a text column of the manifest that no row has, but much like one that rows have."""
    column = condition.column
    kind = kind_of_column(report.schema.field(column).type)
    if condition.comparison not in _EQUAL or kind != "text" or column in REPORT.names:
        return []
    there = set(answers.values(column)) - {None}
    absent = [str(one) for one in condition.operands if one not in there]
    hints = {text: did_you_mean(text, there - set(condition.operands)) for text in absent}
    return [f"no row has {column} {text!r}{hint}" for text, hint in hints.items() if hint]


def _warnings(condition: Condition, answers: Answers) -> list[str]:
    """Tell of a word that is asked of the decode warnings and stands in no name of one, nor in a row."""
    if (condition.column, condition.comparison) != ("decode_warnings", "contains"):
        return []
    (text,) = map(str, condition.operands)
    name, colon, _ = text.partition(":")
    known = [one.removesuffix(":") for one in WARNINGS]
    if (not colon and not name.isidentifier()) or any(name + colon in one for one in WARNINGS):
        return []
    if any(text in one for row in answers.values(condition.column) for one in row or () if one is not None):
        return []
    return [f"no warning is named {name!r}{or_of(name, known)}"]


def _name(key: Any) -> str:
    return key if isinstance(key, str) else shown(key)


def _counted(groups: dict[str, int]) -> str:
    named = [
        f"{repr(text) if text else BLANK} ({count})" for text, count in list(groups.items())[:MOST_NAMED]
    ]
    more = [f"{len(groups) - MOST_NAMED} more"] if len(groups) > MOST_NAMED else []
    return ", ".join([*named, *more])
