"""A policy that is wrong is refused by file, line and rule; nothing in it is guessed or ignored."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.gate.policy import ALLOWANCES, Decision, Policy, Rule, parse_policy, read_policy, require_fit
from pipeline.toml_source import TomlSource
from securevqa_core.errors import ConfigurationError

GOOD = """version = 1
columns = [
  "channel",   # a value of several lines
]

[[rules]]
name = "first"
decision = "publish"
when = { column = "width", at_least = 320 }

[[rules]]
name = "second"
# a comment that looks like [[rules]]
decision = "hold"
when = [
  { column = "width", below = 320 },
]

[limits]
min_rows = 1
"""

# what is put in place of what -> the line it is found on, and what is named
WRONG: dict[str, tuple[str, str, int, str]] = {
    "not TOML": ("version = 1", "version = ", 1, "not readable TOML"),
    "ends early": ("min_rows = 1\n", 'min_rows = """', 20, "not readable TOML"),
    "another version": ("version = 1", "version = 2", 1, "version must be 1, got 2"),
    "no version": ("version = 1", "", 1, "got None"),
    "unknown key": ("[limits]", "[limit]", 19, "'limit'"),
    "unknown key of a rule": ('decision = "hold"', 'decisions = "hold"', 14, "rule 'second': 'decisions'"),
    "unknown default": ("version = 1", 'version = 1\ndefault = "pass"', 2, "default must be .* got 'pass'"),
    "columns of numbers": ('"channel",', "7,", 2, r"columns must be a list of texts, got \[7\]"),
    "rules in no list": ("version = 1", "version = 1\nrules = 5", 2, "rules must be written as .* got 5"),
    "no name": ('name = "second"', "", 11, "rule number 2: name must be text, got None"),
    "a name twice": ('name = "second"', 'name = "first"', 12, "unique, got 'first' again"),
    "no decision": ('decision = "hold"', "", 11, "rule 'second': decision .* got None"),
    "unknown decision": ('"publish"', '"release"', 8, "rule 'first': decision .* got 'release'"),
    "no condition": ("{ column", "7 # { column", 9, "rule 'first': when .* got 7"),
    "empty list": ("{ column = \"width\", below = 320 },", "", 15, r"rule 'second': when .* got \[\]"),
    "no column": ('{ column = "width", below', "{ below", 15, "rule 'second': column .* got None"),
    "unknown comparison": ("below = 320", "under = 320", 15, r"got \['under'\]"),
    "two comparisons": ("below = 320", "below = 320, above = 1", 15, r"got \['below', 'above'\]"),
    "comparison with nothing sensible": ("below = 320", "below = [1]", 15, r"got \[1\]"),
    "comparison with NaN": ("below = 320", "below = nan", 15, "got nan"),
    "a time of day": ("below = 320", "below = 07:32:00", 15, "07|datetime.time"),
    "missing with a number": ("below = 320", "missing = 1", 15, "missing must be true or false, got 1"),
    "contains a number": ("below = 320", "contains = 5", 15, "contains must be text, got 5"),
    "one of nothing": ("below = 320", "one_of = []", 15, r"got \[\]"),
    "no default": ("below = 320", 'below = { by = "c", values = {} }', 15, "by group must have"),
    "groups by a number": ("below = 320", "below = { by = 1, values = {}, default = 1 }", 15, "by .* got 1"),
    "unknown limit": ("min_rows", "min_row", 20, "'min_row'"),
    "share above one": ("min_rows = 1", "max_hold_share = 20", 20, r"max_hold_share .* 0\.\.1, got 20"),
    "limit in words": ("min_rows = 1", 'min_rows = "one"', 20, "min_rows .* got 'one'"),
    "limit that is true": ("min_rows = 1", "min_rows = true", 20, "min_rows .* got True"),
    "allowed by a flag": ("[limits]", "[allow]\nuntrained = true\n[limits]", 20, "untrained .* got True"),
    "allowed in other words": ("[limits]", '[allow]\nunscored = "yes"\n[limits]', 20, ALLOWANCES["unscored"]),
    "unknown allowance": ("[limits]", "[allow]\nall = true\n[limits]", 20, "'all'"),
    "allow that is no table": ("version = 1", "version = 1\nallow = 5", 2, "allow must be a table, got 5"),
}  # fmt: skip
MISFITS = {
    "column that is not there": ('"width", below', '"widht", below', 15, "rule 'second'.* no column 'widht'"),
    "group that is not there": ("below = 320", 'below = {by="c", values={}, default=1}', 15, "no column 'c'"),
    "listed column": ('"channel",', '"chanel",', 2, "no column 'chanel'"),
    "number and text": ("below = 320", 'below = "320"', 15, "width is number .* '320'"),
    "text and number": ('"width", below', '"channel", is', 15, "channel is text .* 320"),
    "order of text": ('"width", below', '"channel", below', 15, "channel is text"),
    "number and truth": ("below = 320", "is = true", 15, "width is number .* True"),
    "list and text": ('"width", below = 320', '"warnings", is = "a"', 15, "list of text .* 'a'"),
    "contents of a number": ("below = 320", 'contains = "3"', 15, "width is number"),
    "time without a zone": ('"width", below = 320', '"at", below = 2026-01-01T00:00:00', 15, "at is time"),
    "day for a moment": ('"width", below = 320', '"at", below = 2026-01-01', 15, "at is time"),
    "moment for a day": ('"width", below = 320', '"day", below = 2026-01-01T00:00:00Z', 15, "day is time"),
}
SCHEMA = pa.schema(
    {
        "width": pa.int32(),
        "channel": pa.dictionary(pa.int32(), pa.string()),
        "warnings": pa.list_(pa.string()),
        "at": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
    }
)


def parse(text: str) -> Policy:
    return parse_policy(text.encode(), name="night.toml")


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_file_line_and_rule(case: str) -> None:
    old, new, line, named = WRONG[case]
    text = changed(old, new)
    if case == "rules in no list":
        text = text.split("[[rules]]")[0]
    with pytest.raises(ConfigurationError, match=rf"(?s)^policy 'night\.toml', line {line}\b.*{named}"):
        parse(text)


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_the_report_is_named_by_file_line_and_rule(case: str) -> None:
    require_fit(parse(GOOD), SCHEMA)
    old, new, line, named = MISFITS[case]
    with pytest.raises(ConfigurationError, match=rf"(?s)^policy 'night\.toml', line {line}\b.*{named}"):
        require_fit(parse(changed(old, new)), SCHEMA)


def test_a_policy_is_read_as_it_is_written() -> None:
    found = parse(GOOD)
    assert [(one.name, one.decision) for one in found.rules] == [("first", "publish"), ("second", "hold")]
    assert found.columns == ("channel",)
    assert found.needed_columns == ("width", "channel")
    assert found.limits == {"min_rows": 1.0}
    assert (found.default, found.checkpoints, found.allowed) == ("review", frozenset(), frozenset())
    assert found.sha256 != parse(GOOD + "\n").sha256
    assert isinstance(found.rules[0], Rule)
    assert set(Decision.__args__) == {"publish", "hold", "review"}


def test_bytes_that_are_not_utf_8_are_refused_by_line() -> None:
    with pytest.raises(ConfigurationError, match=r"'p\.toml', line 2: not UTF-8"):
        parse_policy(b"version = 1\nname = '\xff'", name="p.toml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        read_policy(str(tmp_path / "absent.toml"))


def test_lines_are_those_of_the_statement_that_brings_a_value_about() -> None:
    source = TomlSource(name="t", text=GOOD)
    assert source.document()["version"] == 1
    paths = [("version",), ("columns",), ("rules", 0), ("rules", 1, "when"), ("limits", "min_rows")]
    assert [source.line_of(tuple(path)) for path in paths] == [1, 2, 6, 15, 20]
    assert source.line_of(("rules", 1, "absent")) == 11
    assert source.line_of(("absent",)) == 1
