"""Owns what other thresholds would decide, as a table: a row a threshold, a column a group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.gate.decide import WhatIf
from pipeline.gate.policy import Policy
from pipeline.text import BLANK, counted, literal

__all__ = ["measured", "share", "show_what_if"]

PRESENT = "*"
BROKEN = "!"
_ALL = "all"
_THRESHOLD_WIDTH = 10
_CELL_WIDTH = 14  # a count of seven digits, its share and the mark
_DECISIONS = ("publish", "hold", "review")


def share(count: int, total: int) -> str:
    """Return a share in per cent, for people; of nothing there is none."""
    return f"{count / total:.1%}" if total else "-"


def measured(found: float | None) -> str:
    """Return what a limit was held against, for people."""
    return "no rows" if found is None else f"{found:.4g}"


def show_what_if(
    found: Sequence[WhatIf],
    policy: Policy,
    *,
    rule: str,
    never_published: Mapping[str, int],
    console: Console,
) -> None:
    """Print the counts of `decide.what_if`: of all decisions, or by group of the rule's own decision.

    Counts are before the limits: thresholds at which one is broken are marked and said. Below them is how
    many rows no threshold publishes, of `decide.never_published`.
    """
    rows: dict[float, dict[str | None, WhatIf]] = defaultdict(dict)
    sizes: Counter[str] = Counter()
    for one in found:
        rows[one.threshold][one.group] = one
        if one.group is not None:
            sizes[one.group] = _size(one)
    decision = next(one.decision for one in policy.rules if one.name == rule)
    shown = _largest(sizes, console.width)
    breaks = list(_broken(by_group[None] for by_group in rows.values()))
    titles = [
        literal(one or BLANK, console) for one in ("threshold", *((_ALL, *shown) if sizes else _DECISIONS))
    ]
    lines = []
    for threshold, by_group in rows.items():
        whole = by_group[None]
        if sizes:
            cells = [_cell(by_group[name], decision, is_marked=True) for name in (None, *shown)]
        else:
            cells = [_cell(whole, one, is_marked=False) for one in _DECISIONS]
        mark = PRESENT if whole.is_present and not sizes else " "
        mark += BROKEN if whole.broken_limits else " " if breaks else ""
        lines.append([f"{threshold:g}{mark}", *cells])
    console.print(_table(titles, lines))
    before = "; counts are before the limits" if policy.limits else ""
    if sizes:
        words = f"{decision} by rule {rule!r}, of each group; {PRESENT} its threshold now{before}"
        console.print(literal(words, console))
    else:
        console.print(f"{PRESENT} the threshold now{before}")
    for line in breaks:
        console.print(line)
    if len(shown) < len(sizes):
        console.print(
            f"{counted(len(sizes) - len(shown), 'smaller group')} left out, for want of room: --json has all"
        )
    if never_published:
        words = ", ".join(f"{count} {name}" for name, count in never_published.items())
        console.print(f"never published, whatever the threshold: {words}")


def _broken(found: Iterable[WhatIf]) -> Iterator[str]:
    """Say of each limit at which thresholds it is broken."""
    places = defaultdict(list)
    whole = list(found)
    for one in whole:
        for broken in one.broken_limits:
            places[broken.limit, broken.wanted].append((one.threshold, measured(broken.found)))
    for (limit, wanted), at in places.items():
        values = {value for _, value in at}
        if len(at) == len(whole) and len(values) == 1:
            where = f"{values.pop()}, at every threshold"
        else:
            where = ", ".join(f"{value} at {threshold:g}" for threshold, value in at)
        yield f"{BROKEN} nothing is published: limit {limit} = {wanted:g} is broken: {where}"


def _largest(sizes: Counter[str], width: int) -> list[str]:
    """Return the groups that fit beside all rows, in their order."""
    fitting = max(1, (width - _THRESHOLD_WIDTH) // (_CELL_WIDTH + 1) - 1)
    return sorted(name for name, _ in sizes.most_common(fitting))


def _size(one: WhatIf) -> int:
    return one.publish + one.hold + one.review


def _table(titles: Sequence[Text], lines: Sequence[Sequence[str]]) -> Table:
    """Return a table whose cells keep the space of a mark at their end, which right-justified text loses."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    wides = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for place, title in enumerate(titles):
        title.truncate(max(_CELL_WIDTH, wides[place]), overflow="ellipsis")
        wides[place] = max(wides[place], title.cell_len)
        title.pad_left(wides[place] - title.cell_len)
        table.add_column(title, no_wrap=True)
    for line in lines:
        table.add_row(*(cell.rjust(wide) for cell, wide in zip(line, wides, strict=True)))
    return table


def _cell(one: WhatIf, decision: str, *, is_marked: bool) -> str:
    mark = PRESENT if is_marked and one.is_present else " " if is_marked else ""
    count = getattr(one, decision)
    return f"{count} {share(count, _size(one)):>6}{mark}"
