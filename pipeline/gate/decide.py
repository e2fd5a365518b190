"""Owns the decision on every row of a report: publish, hold or review, and why.

Fail-closed: whatever is unknown, not scored or not vouched for goes to review, whichever rule would publish
it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.schema import Row
from operators.stage import SCORED
from pipeline.gate.conditions import (
    ORDERED,
    TRUE,
    UNKNOWN,
    Answer,
    Answers,
    Condition,
    Threshold,
    shown,
)
from pipeline.gate.policy import Decision, Policy, require_fit
from pipeline.tables import readable
from securevqa_core.doubts import doubts
from securevqa_core.errors import ConfigurationError

__all__ = ["BrokenLimit", "Gated", "WhatIf", "decide", "never_published", "what_if"]

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
    "error_code",
)
BY_DEFAULT = -1  # in place of a rule's number
WHAT_IF_STEPS = 20
MOST_TOLD = 3  # rules, of why they do not hold

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
    """How a report, or a group of its rows, would be decided if a rule had another threshold."""

    group: str | None  # value of the column that chooses the threshold; None: all rows
    threshold: float
    is_present: bool  # the policy's own threshold, of this group
    publish: int  # before the limits
    hold: int
    review: int
    broken_limits: tuple[BrokenLimit, ...] = ()  # of all rows: where there are any, nothing is published


def decide(report: pa.Table, policy: Policy) -> Gated:
    """Decide on every row of a report.

    Args:
        report: has the columns of `operators.schema.REPORT` and those that the policy names.
        policy: its first rule that holds decides, then the guards look at what would be published.

    Raises:
        ConfigurationError: the policy does not fit the report's columns.
    """
    require_fit(policy, report.schema)
    answers = Answers(report)
    answered = _ask(answers, policy)
    chosen, doubted = _choose(answered, policy, num_rows=report.num_rows)
    by_number = _by_number(policy)
    decisions: list[Decision] = [by_number[number] for number in chosen]
    reasons: list[str] = []
    withheld: Counter[str] = Counter()
    told = _told(policy)
    for index, row in enumerate(_rows(report.select(GUARD_COLUMNS))):
        guards = list(_guards(row, policy)) if decisions[index] == "publish" else []
        if decisions[index] == "publish" and doubted[index] != BY_DEFAULT:
            rule = policy.rules[doubted[index]]
            unknown = _found(answers, rule.conditions, answered[doubted[index]], index, without=TRUE)
            guards.append(("undecided", f"rule {rule.name!r} cannot be decided: {unknown}"))
        if guards:
            decisions[index] = "review"
            withheld.update(name for name, _ in guards)
        if chosen[index] == BY_DEFAULT:
            reason = _no_rule(answers, policy, answered, index, told=told, row=row)
        else:
            rule = policy.rules[chosen[index]]
            reason = f"{rule.name}: {_found(answers, rule.conditions, answered[chosen[index]], index)}"
        if guards:
            reason = f"not published, {'; '.join(text for _, text in guards)} ({reason})"
        reasons.append(reason)
    broken = _broken_limits(Counter[str](decisions), report, policy)
    if broken:
        _withdraw(decisions, reasons, withheld, broken)
    rules = [None if number == BY_DEFAULT else policy.rules[number].name for number in chosen]
    return Gated(decisions=decisions, rules=rules, reasons=reasons, withheld=withheld, broken_limits=broken)


def what_if(report: pa.Table, policy: Policy, *, rule: str, thresholds: Sequence[float] = ()) -> list[WhatIf]:
    """Count the decisions for each of several thresholds of one rule, and say which limits those break.

    Args:
        report: as for `decide`.
        policy: as for `decide`.
        rule: name of a rule; its first condition that compares with a number is varied.
        thresholds: to try; none: 0, 5, ... 100 for a score, else the deciles of the column. The policy's own
            are tried besides.

    Returns:
        By threshold, one entry of all rows, and one a group besides where the rule's threshold goes by group:
        groups do not bear upon each other, so each reads as if that group alone had the threshold. Rows whose
        group is missing are counted with all rows only.

    Raises:
        ConfigurationError: no such rule, or it compares nothing with a number, or the policy does not fit.
    """
    require_fit(policy, report.schema)
    number, place = _varied(policy, rule)
    condition = policy.rules[number].conditions[place]
    answers = Answers(report)
    answered = _ask(answers, policy)
    names, member, present = _groups(answers, report, condition)
    guarded = (list(_guards(row, policy)) for row in _rows(report.select(GUARD_COLUMNS)))
    publishable = np.fromiter((not one for one in guarded), np.bool_)
    by_number = np.array([_DECISIONS.index(one) for one in _by_number(policy)])
    counted = []
    for threshold in sorted({*(thresholds or _steps(answers, condition)), *present}):
        answered[number][place] = answers.holds(_with_threshold(condition, threshold))
        chosen, doubted = _choose(answered, policy, num_rows=report.num_rows)
        codes = by_number[chosen]
        codes[(codes == 0) & ~(publishable & (doubted == BY_DEFAULT))] = _DECISIONS.index("review")
        counts = np.bincount(3 * member + codes, minlength=3 * len(names)).reshape(-1, 3)
        whole = _counted(None, threshold, counts.sum(axis=0), is_present={threshold} == {*present})
        by_decision = Counter(publish=whole.publish, hold=whole.hold, review=whole.review)
        broken = _broken_limits(by_decision, report, policy)
        counted.append(dataclasses.replace(whole, broken_limits=broken))
        counted += [
            _counted(name, threshold, row, is_present=threshold == own)
            for name, row, own in zip(names, counts, present, strict=True)
            if name is not None
        ]
    return counted


def never_published(report: pa.Table, policy: Policy) -> dict[str, int]:
    """Count the rows that no threshold publishes, by what keeps them back; a row may count several times."""
    rows = _rows(report.select(GUARD_COLUMNS))
    return dict(sorted(Counter(name for row in rows for name, _ in _guards(row, policy)).items()))


def _groups(
    answers: Answers, report: pa.Table, condition: Condition
) -> tuple[list[str | None], _Numbers, list[float]]:
    """Return the groups in order, for every row the place of its own among them, and their thresholds.

    A group is named as a policy names it. Rows without one come last, as None; so do all where there are no
    groups.
    """
    threshold = condition.threshold
    assert threshold is not None
    if condition.by is None:
        return [None], np.zeros(report.num_rows, np.int64), [cast(float, threshold.default)]
    kind = report.schema.field(condition.by).type
    values = answers.values(condition.by)
    named = dict(zip(values, _group_names(report, condition.by), strict=True))
    order = sorted((one for one in named if one is not None), key=named.__getitem__)
    places = {value: place for place, value in enumerate([*order, None])}
    member = np.fromiter((places[one] for one in values), np.int64)
    own = [threshold.at(value, kind) for value in order]
    return (
        [*(named[one] for one in order), None],
        member,
        [*cast(list[float], own), cast(float, threshold.default)],
    )


def _group_names(report: pa.Table, by: str) -> list[str]:
    return [one if isinstance(one, str) else shown(one) for one in readable(report[by])]


def _ask(answers: Answers, policy: Policy) -> list[list[Answer]]:
    """Return what every condition of every rule comes to."""
    return [[answers.holds(one) for one in rule.conditions] for rule in policy.rules]


def _choose(
    answered: Sequence[Sequence[Answer]], policy: Policy, *, num_rows: int
) -> tuple[_Numbers, _Numbers]:
    """Return the number of the rule that decides each row, and of the first that might have kept it back.

    A rule that does not publish and whose conditions are unknown for a row casts doubt on what a later rule
    says: the missing value may be what it was written for.
    """
    chosen = np.full(num_rows, BY_DEFAULT)
    doubted = np.full(num_rows, BY_DEFAULT)
    for number, rule in enumerate(policy.rules):
        together = np.minimum.reduce(answered[number])
        is_open = chosen == BY_DEFAULT
        if rule.decision != "publish":
            doubted[is_open & (together == UNKNOWN) & (doubted == BY_DEFAULT)] = number
        chosen[is_open & (together == TRUE)] = number
    return chosen, doubted


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


def _found(
    answers: Answers,
    conditions: Sequence[Condition],
    answered: Sequence[Answer],
    index: int,
    *,
    without: int | None = None,
) -> str:
    """Say what was found of one row, leaving out what came to `without`."""
    found = ((one, int(answer[index])) for one, answer in zip(conditions, answered, strict=True))
    return " and ".join(answers.words(one, index, answer) for one, answer in found if answer != without)


def _told(policy: Policy) -> list[int]:
    """Return the rules of which is said why they do not hold where none does: those that would publish.

    Where what no rule decides is published, those that would not; all, if that leaves none.
    """
    publishes = policy.default != "publish"
    told = [number for number, one in enumerate(policy.rules) if (one.decision == "publish") == publishes]
    return told or list(range(len(policy.rules)))


def _no_rule(
    answers: Answers,
    policy: Policy,
    answered: Sequence[Sequence[Answer]],
    index: int,
    *,
    told: Sequence[int],
    row: Row,
) -> str:
    parts = [] if row["status"] == SCORED else [f"{row['status']} ({row['error_code']})"]
    for number in told[:MOST_TOLD]:
        rule = policy.rules[number]
        parts.append(
            f"{rule.name}: {_found(answers, rule.conditions, answered[number], index, without=TRUE)}"
        )
    if len(told) > MOST_TOLD:
        parts.append(f"and {len(told) - MOST_TOLD} more")
    return f"no rule holds: {'; '.join(parts)}" if parts else "no rule holds"


def _broken_limits(counts: Counter[str], report: pa.Table, policy: Policy) -> tuple[BrokenLimit, ...]:
    """Return the limits that a report breaks, of whose rows so many are decided so."""
    total = report.num_rows
    counts = counts | Counter(unscored=total - report["status"].to_pylist().count(SCORED))
    broken = []
    for name, wanted in policy.limits.items():
        bound, kind = name.split("_")[:2]
        measured: float | None = total if kind == "rows" else counts[kind] / total if total else None
        if measured is None or (measured < wanted if bound == "min" else measured > wanted):
            broken.append(BrokenLimit(limit=name, wanted=wanted, found=measured))
    return tuple(broken)


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


def _steps(answers: Answers, condition: Condition) -> list[float]:
    if condition.column.startswith("score"):
        return [float(one) for one in np.linspace(0, 100, WHAT_IF_STEPS + 1)]
    values = np.array([one for one in answers.values(condition.column) if one is not None], dtype=float)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ConfigurationError(f"thresholds must be given: no row has a {condition.column}")
    return [float(one) for one in np.unique(np.percentile(values, range(0, 101, 10)))]


def _with_threshold(condition: Condition, threshold: float) -> Condition:
    """Return the condition with one threshold for all groups; where the group is missing it stays unknown."""
    return dataclasses.replace(condition, threshold=Threshold(default=threshold, by=condition.by))


def _counted(group: str | None, threshold: float, counts: _Numbers, *, is_present: bool) -> WhatIf:
    by_decision = dict(zip(_DECISIONS, counts.tolist(), strict=True))
    return WhatIf(group=group, threshold=float(threshold), is_present=is_present, **by_decision)


def _rows(table: pa.Table) -> Iterator[Row]:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()
