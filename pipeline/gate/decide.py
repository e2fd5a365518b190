"""Owns the decision on every row of a report: publish, hold or review, and why.

Fail-closed: whatever is unknown, not scored or not vouched for goes to review, whichever rule would publish
it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.schema import Row
from operators.stage import SCORED
from pipeline.gate.conditions import ORDERED, Condition, Threshold, holds, in_words, pc
from pipeline.gate.policy import Decision, Policy, Rule, require_fit
from securevqa_core.doubts import doubts
from securevqa_core.errors import ConfigurationError

__all__ = ["BrokenLimit", "Gated", "WhatIf", "decide", "what_if"]

TRUSTED_STATUS = ("trained", "imported")
TRUSTED_RANDOMNESS = ("keyed", "ephemeral")
# What the guards look at.
GUARD_COLUMNS = (
    "status",
    "score_lower",
    "randomness",
    "checkpoint_status",
    "checkpoint_id",
    "decode_warnings",
)
BY_DEFAULT = -1  # in place of a rule's number
WHAT_IF_STEPS = 20

_Numbers = NDArray[np.int64]
_DECISIONS: tuple[Decision, ...] = get_args(Decision)  # publish first


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenLimit:
    """A limit of the policy that the decisions as a whole do not keep."""

    limit: str
    wanted: float
    found: float | None  # None: a share of no rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """The decisions on a report, row by row in its order."""

    decisions: list[Decision]
    rules: list[str | None]  # name of the rule that decided; None: the policy's default
    reasons: list[str]
    withheld: Counter[str]  # rows that a rule would have published, by what kept them back
    broken_limits: tuple[BrokenLimit, ...]  # where there are any, nothing is published


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """How a report would be decided if a rule had another threshold."""

    group: str | None  # value of the column that chooses the threshold; None: all rows
    threshold: float
    publish: int
    hold: int
    review: int


def decide(report: pa.Table, policy: Policy) -> Gated:
    """Decide on every row of a report.

    Args:
        report: has the columns of `operators.schema.REPORT` and those that the policy names.
        policy: its first rule that holds decides, then the guards look at what would be published.

    Raises:
        ConfigurationError: the policy does not fit the report's columns.
    """
    require_fit(policy, report.schema)
    chosen, doubted = _choose(report, policy)
    would = _decisions(chosen, policy)
    decisions = list(would)
    rules: list[str | None] = []
    reasons: list[str] = []
    withheld: Counter[str] = Counter()
    needed = report.select(list(dict.fromkeys([*GUARD_COLUMNS, *policy.needed_columns])))
    for index, row in enumerate(_rows(needed)):
        number = int(chosen[index])
        rule = None if number == BY_DEFAULT else policy.rules[number]
        rules.append(None if rule is None else rule.name)
        guards = list(_guards(row, policy)) if would[index] == "publish" else []
        if would[index] == "publish" and doubted[index] != BY_DEFAULT:
            guards.append(("undecided", _doubt(policy.rules[doubted[index]], row)))
        if guards:
            decisions[index] = "review"
            withheld.update(name for name, _ in guards)
        reasons.append(_reason(rule, row, [text for _, text in guards]))
    broken = tuple(_broken_limits(decisions, report, policy))
    if broken:
        _withdraw(decisions, reasons, withheld, broken)
    return Gated(decisions=decisions, rules=rules, reasons=reasons, withheld=withheld, broken_limits=broken)


def what_if(report: pa.Table, policy: Policy, *, rule: str, thresholds: Sequence[float] = ()) -> list[WhatIf]:
    """Count the decisions for each of several thresholds of one rule; the policy's limits are left aside.

    Args:
        report: as for `decide`.
        policy: as for `decide`.
        rule: name of a rule; its first condition that compares with a number is varied.
        thresholds: to try; none: 0, 5, ... 100 for a score, else the deciles of the column.

    Returns:
        One entry a threshold, and one a group besides where the rule's threshold goes by group: groups do
        not bear upon each other, so each reads as if that group alone had the threshold.

    Raises:
        ConfigurationError: no such rule, or it compares nothing with a number, or the policy does not fit.
    """
    require_fit(policy, report.schema)
    number, place = _varied(policy, rule)
    condition = policy.rules[number].conditions[place]
    by = condition.threshold.by if condition.threshold else None
    names, member = _groups(report, by)
    publishable = np.array([not list(_guards(row, policy)) for row in _rows(report.select(GUARD_COLUMNS))])
    counted = []
    for threshold in thresholds or _steps(report, condition):
        trial = _with_threshold(policy, number, place, threshold)
        chosen, doubted = _choose(report, trial)
        codes = np.array([_DECISIONS.index(one) for one in _by_number(trial)])[chosen]
        codes[(codes == 0) & ~(publishable & (doubted == BY_DEFAULT))] = _DECISIONS.index("review")
        counts = np.bincount(3 * member + codes, minlength=3 * max(1, len(names))).reshape(-1, 3)
        counted.append(_counted(None, threshold, counts.sum(axis=0)))
        counted += [_counted(name, threshold, row) for name, row in zip(names, counts, strict=False)]
    return counted


def _groups(report: pa.Table, by: str | None) -> tuple[list[str], _Numbers]:
    """Return the values of a column in order, and for every row the place of its own among them."""
    if by is None:
        return [], np.zeros(report.num_rows, np.int64)
    names, member = np.unique(
        np.array([str(one) for one in report[by].to_pylist()], dtype=object), return_inverse=True
    )
    return names.tolist(), member


def _choose(report: pa.Table, policy: Policy) -> tuple[_Numbers, _Numbers]:
    """Return the number of the rule that decides each row, and of the first that might have kept it back.

    A rule that does not publish and whose conditions are unknown for a row casts doubt on what a later rule
    says: the missing value may be what it was written for.
    """
    chosen = np.full(report.num_rows, BY_DEFAULT)
    doubted = np.full(report.num_rows, BY_DEFAULT)
    for number, rule in enumerate(policy.rules):
        verdicts = functools.reduce(pc.and_kleene, (holds(one, report) for one in rule.conditions))
        known = pc.is_valid(verdicts).to_numpy()
        true = pc.fill_null(verdicts, False).to_numpy()
        is_open = chosen == BY_DEFAULT
        if rule.decision != "publish":
            doubted[is_open & ~known & (doubted == BY_DEFAULT)] = number
        chosen[is_open & true] = number
    return chosen, doubted


def _decisions(chosen: _Numbers, policy: Policy) -> list[Decision]:
    by_number = _by_number(policy)
    return [by_number[number] for number in chosen]


def _by_number(policy: Policy) -> list[Decision]:
    """Return the decision of every rule, and last, where BY_DEFAULT finds it, the policy's own."""
    return [*(rule.decision for rule in policy.rules), policy.default]


def _guards(row: Row, policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield the name and the words of everything that keeps a row from being published."""
    allowed, lower = policy.allowed, row["score_lower"]
    if "unscored" not in allowed and (row["status"] != SCORED or lower is None or lower != lower):  # noqa: PLR0124
        yield "unscored", f"status is {row['status']!r}"
    if "public_seed" not in allowed and row["randomness"] not in TRUSTED_RANDOMNESS:
        yield "public_seed", f"randomness is {row['randomness']!r}"
    if "untrained" not in allowed and row["checkpoint_status"] not in TRUSTED_STATUS:
        yield "untrained", f"checkpoint_status is {row['checkpoint_status']!r}"
    if "unknown_checkpoint" not in allowed and row["checkpoint_id"] not in policy.checkpoints:
        yield "unknown_checkpoint", f"checkpoint {row['checkpoint_id']!r} is not one of the policy's"
    if "doubtful_picture" not in allowed and (doubtful := doubts(row["decode_warnings"])):
        yield "doubtful_picture", " and ".join(doubtful)


def _doubt(rule: Rule, row: Row) -> str:
    missing = [one.column for one in rule.conditions if row[one.column] is None]
    return f"rule {rule.name!r} cannot be decided without {', '.join(missing) or 'a number'}"


def _reason(rule: Rule | None, row: Row, guards: list[str]) -> str:
    if rule is None:
        reason = "no rule holds"
    else:
        reason = f"{rule.name}: {' and '.join(in_words(one, row) for one in rule.conditions)}"
    return f"not published, {'; '.join(guards)} ({reason})" if guards else reason


def _broken_limits(decisions: list[Decision], report: pa.Table, policy: Policy) -> Iterator[BrokenLimit]:
    total = len(decisions)
    counts = Counter[str](decisions)
    counts["unscored"] = total - report["status"].to_pylist().count(SCORED)
    for name, wanted in policy.limits.items():
        bound, kind = name.split("_")[:2]
        measured: float | None = total if kind == "rows" else counts[kind] / total if total else None
        if measured is None or (measured < wanted if bound == "min" else measured > wanted):
            yield BrokenLimit(limit=name, wanted=wanted, found=measured)


def _withdraw(
    decisions: list[Decision],
    reasons: list[str],
    withheld: Counter[str],
    broken: Sequence[BrokenLimit],
) -> None:
    """Send to review what would be published: the report as a whole cannot be believed."""
    words = ", ".join(f"{one.limit} {one.wanted:g} is broken" for one in broken)
    for index, decision in enumerate(decisions):
        if decision == "publish":
            decisions[index] = "review"
            reasons[index] = f"not published, {words} ({reasons[index]})"
            withheld["limits"] += 1


def _varied(policy: Policy, rule: str) -> tuple[int, int]:
    for number, one in enumerate(policy.rules):
        if one.name == rule:
            for place, condition in enumerate(one.conditions):
                if condition.comparison in ORDERED and _is_number(condition.operands[0]):
                    return number, place
            raise ConfigurationError(f"what_if needs a rule that compares with a number, got {rule!r}")
    known = ", ".join(repr(one.name) for one in policy.rules)
    raise ConfigurationError(f"what_if must be the name of a rule, one of {known}, got {rule!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _steps(report: pa.Table, condition: Condition) -> list[float]:
    if condition.column.startswith("score"):
        return [float(one) for one in np.linspace(0, 100, WHAT_IF_STEPS + 1)]
    values = np.array([one for one in report[condition.column].to_pylist() if one is not None], dtype=float)
    values = values[~np.isnan(values)]
    if not values.size:
        raise ConfigurationError(f"thresholds must be given: no row has a {condition.column}")
    return [float(one) for one in np.unique(np.percentile(values, range(0, 101, 10)))]


def _with_threshold(policy: Policy, number: int, place: int, threshold: float) -> Policy:
    rule = policy.rules[number]
    conditions, rules = list(rule.conditions), list(policy.rules)
    old = conditions[place].threshold
    by = old.by if old else None
    conditions[place] = dataclasses.replace(conditions[place], threshold=Threshold(default=threshold, by=by))
    rules[number] = dataclasses.replace(rule, conditions=tuple(conditions))
    return dataclasses.replace(policy, rules=tuple(rules))


def _counted(group: str | None, threshold: float, counts: _Numbers) -> WhatIf:
    by_decision = dict(zip(_DECISIONS, counts.tolist(), strict=True))
    return WhatIf(group=group, threshold=float(threshold), **by_decision)


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()
