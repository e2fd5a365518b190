"""A policy that is wrong is refused by file, line and rule; nothing in it is guessed or ignored."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from policies import GOOD, WRONG, changed, wrong

from pipeline.gate.policy import Decision, Policy, Rule, parse_policy, read_policy, require_fit
from pipeline.toml_source import TomlSource
from securevqa_core.errors import ConfigurationError

LIMIT, BY = "below = 320", "below = {{by = '{}', values = {{{} = 1}}, default = 1}}"
MISFITS = {
    "column that is not there": ('"width", below', '"widht", below', 15, "rule 'second'.* no column 'widht'"),
    "group that is not there": ("below = 320", 'below = {by="c", values={}, default=1}', 15, "no column 'c'"),
    "listed column": ('"channel",', '"chanel",', 2, "no column 'chanel'"),
    "number and text": ("below = 320", 'below = "320"', 15, "width is number .* '320'"),
    "text and number": ('"width", below', '"channel", is', 15, "channel is text .* 320"),
    "order of text": ('"width", below', '"channel", below', 15, "channel is text"),
    "number and truth": ("below = 320", "is = true", 15, "width is number .* with true"),
    "list and text": ('"width", below = 320', '"warnings", is = "a"', 15, "list of text .* 'a'"),
    "contents of a number": ("below = 320", 'contains = "3"', 15, "width is number"),
    "time without a zone": ('"width", below = 320', '"at", below = 2026-01-01T00:00:00', 15, "with 2026-01-01T00:00:00: write a moment with a zone, as in .*Z"),  # noqa: E501
    "day for a moment": ('"width", below = 320', '"at", below = 2026-01-01', 15, "at is time and cannot be compared with 2026-01-01: write a moment with a zone, as in .*Z"),  # noqa: E501
    "moment for a day": ('"width", below = 320', '"day", below = 2026-01-01T00:00:00Z', 15, "day is time .*: write a day, as in 2026-11-22"),  # noqa: E501
    "number and text of a CSV": ('"width", below', '"channel", is', 15, "of numbers where all its cells"),
    "near miss": ('"width", below', '"widht", below', 15, r"did you mean 'width'\?"),
    "group that is no number": (LIMIT, BY.format("width", "film"), 15, "width is number: .* got 'film'"),
    "group that is no truth": (LIMIT, BY.format("paid", "yes"), 15, "paid is truth: .*true or false, got 'yes'"),  # noqa: E501
    "group that is no day": (LIMIT, BY.format("day", "'2026-11'"), 15, "day is time: .* a day.* got '2026-11'"),  # noqa: E501
    "group without a zone": (LIMIT, BY.format("at", "'2026-11-22T00:00:00'"), 15, "at is time: .*Z"),
    "a group twice": (LIMIT, BY.format("width", "1 = 2, '1.0'"), 15, "'1' and '1.0' are one"),
    "groups by a list": (LIMIT, BY.format("warnings", "x"), 15, "warnings is list of text"),
    "groups by a duration": (LIMIT, BY.format("took", "x"), 15, r"took is duration\[s\]"),
    "an id in floats": ('"width", below = 320', '"ratio", one_of = [9007199254740993]', 15, "ratio is double, .* tell 9007199254740993 from"),  # noqa: E501
    "no id in floats": ('"width", below = 320', '"ratio", is_not = -9007199254740992', 15, "ratio is double, .* -9007199254740992"),  # noqa: E501
    "a group of ids in floats": (LIMIT, BY.format("ratio", "1800000000000000001"), 15, "ratio is number: .* below 9007199254740992, got '18"),  # noqa: E501
    "a group of ids in short floats": (LIMIT, BY.format("half", "16777216"), 15, "half is number: .* below 16777216, got '16777216'"),  # noqa: E501
    "a duration": ('"width", below = 320', '"took", above = 3', 15, r"took is duration\[s\]"),
}  # fmt: skip
SCHEMA = pa.schema(
    {
        "width": pa.int32(),
        "channel": pa.dictionary(pa.int32(), pa.string()),
        "warnings": pa.list_(pa.string()),
        "at": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
        "paid": pa.bool_(),
        "took": pa.duration("s"),
        "ratio": pa.float64(),
        "half": pa.dictionary(pa.int8(), pa.float32()),
    }
)


def parse(text: str) -> Policy:
    return parse_policy(text.encode(), name="night.toml")


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_file_line_and_rule(case: str) -> None:
    line, named = WRONG[case][2:]
    with pytest.raises(ConfigurationError, match=rf"(?s)^policy 'night\.toml', line {line}\b.*{named}"):
        parse(wrong(case))


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
