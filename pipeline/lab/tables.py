"""Owns the tables of a suite in Markdown: each measure beside what chance does and what the paper has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

__all__ = ["markdown"]

_HEADINGS = (
    "row",
    "videos",
    "mean change",
    "mean size of it",
    "by chance",
    "SRCC before -> after",
    "PLCC before -> after",
    "R",
    "R of chance",
    "rejected to pass",
    "PSNR",
    "VMAF NEG",
    "paper",
)


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Return one table for each value of `table`, in order; points of 100, 95% intervals in brackets."""
    parts = []
    for title, rows in groupby(records, key=lambda record: record["table"]):
        lines = [f"### {title}", "", _line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
        parts.append("\n".join([*lines, *(_line(cells) for record in rows for cells in _rows(record)), ""]))
    return "\n".join(parts)


def _rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Return the row of a record, and one more for each rate of a codec."""
    attack, floor, agreement = record["attack"], record["noise_floor"], record["agreement"] or {}
    if attack is None:
        return [
            [record["name"], "0", "no video could be read", *[""] * (len(_HEADINGS) - 4), record["paper"]]
        ]
    is_trained = record["settings"]["target"]["checkpoint_status"] != "untrained"
    first = [
        record["name"] + ("" if is_trained else ", untrained"),
        str(record["num_attacked"]),
        _interval(attack["signed"]),
        *(_number(one["absolute"]["value"], 1) for one in (attack, floor)),
        *(_change(agreement, name) for name in ("srcc", "plcc")),
        _number(attack["r"]["value"], 2),
        _number(floor["r"]["value"], 2),
        _number(attack["rejected_to_pass"]["value"], 2),
        _number(record["spent"]["psnr"], 1),
        _number(record["spent"]["vmaf_neg"], 1) if "vmaf_neg" in record["spent"] else "",
        record["paper"],
    ]
    encoded = (
        [f"the same after x264, CRF {crf}", "", _interval(after["signed"]), *[""] * (len(_HEADINGS) - 3)]
        for crf, after in record["codec"].items()
    )
    return [first, *encoded]


def _change(agreement: Mapping[str, Any], name: str) -> str:
    if not agreement:
        return ""
    before, after = (agreement[f"{name}_{when}"]["value"] for when in ("clean", "attacked"))
    return f"{_number(before, 2)} -> {_number(after, 2)}"


def _interval(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None or measure["low"] is None:
        return _number(measure["value"], 1)
    return f"{measure['value']:+.1f} ({measure['low']:+.1f} to {measure['high']:+.1f})"


def _number(value: float | None, places: int) -> str:
    return "undefined" if value is None else f"{value:.{places}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
