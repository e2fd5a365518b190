"""A policy, and what can be wrong with one."""

from __future__ import annotations

from pipeline.gate.policy import ALLOWANCES

__all__ = ["GOOD", "WRONG", "changed", "wrong"]

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
    "no version": ("version = 1", "", 1, "got nothing"),
    "unknown key": ("[limits]", "[limit]", 19, "'limit'"),
    "unknown key of a rule": ('decision = "hold"', 'decisions = "hold"', 14, "rule 'second': 'decisions'"),
    "unknown default": ("version = 1", 'version = 1\ndefault = "pass"', 2, "default must be .* got 'pass'"),
    "columns of numbers": ('"channel",', "7,", 2, r"columns must be a list of texts, got \[7\]"),
    "columns of the lists' own": ('"channel",', '"reason",', 2, "columns must not .* got 'reason'"),
    "no rules": ("min_rows = 1", "min_rows = 1 # the rules are cut off", 1, r"at least one of \[\[rules\]\], got none"),  # noqa: E501
    "rules in no list": ("version = 1", "version = 1\nrules = 5", 2, "rules must be written as .* got 5"),
    "no name": ('name = "second"', "", 11, "rule number 2: name must be text, got nothing"),
    "a name twice": ('name = "second"', 'name = "first"', 12, "unique, got 'first' again"),
    "no decision": ('decision = "hold"', "", 11, "rule 'second': decision .* got nothing"),
    "unknown decision": ('"publish"', '"release"', 8, "rule 'first': decision .* got 'release'"),
    "no condition": ("{ column", "7 # { column", 9, "rule 'first': when .* got 7"),
    "empty list": ("{ column = \"width\", below = 320 },", "", 15, r"rule 'second': when .* got \[\]"),
    "no column": ('{ column = "width", below', "{ below", 15, "rule 'second': column .* got nothing"),
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
    "limit that is true": ("min_rows = 1", "min_rows = true", 20, "min_rows .* got true"),
    "allowed by a flag": ("[limits]", "[allow]\nuntrained = true\n[limits]", 20, "untrained .* got true"),
    "allowed in other words": ("[limits]", '[allow]\nunscored = "yes"\n[limits]', 20, ALLOWANCES["unscored"]),
    "unknown allowance": ("[limits]", "[allow]\nall = true\n[limits]", 20, "'all'"),
    "unknown error code": ('"width", below = 320', '"error_code", one_of = ["not_a_vidoe"]', 15, r"did you mean 'not_a_video'\?\)$"),  # noqa: E501
    "unknown verdict": ('"width", below = 320', '"verdict", is_not = "failed"', 15, "verdict is never 'failed'.* pass, review, reject"),  # noqa: E501
    "a score above 100": ('"width", below = 320', '"score_lower", at_least = 150', 15, r"score_lower is in 0\.\.100, never 150"),  # noqa: E501
    "a score below its least": ('"width", below = 320', '"score", below = 0', 15, r"100, never below 0"),
    "a score above its most": ('"width", below = 320', '"score", above = { by = "c", values = { a = 100 }, default = 100 }', 15, "never above 100"),  # noqa: E501
    "a score below 0": ('"width", below = 320', '"score", below = -5', 15, r"score is in 0\.\.100, never -5"),
    "a score without end": ('"width", below = 320', '"near_copy_best_score", below = inf', 15, r"0\.\.100, never inf"),  # noqa: E501
    "a suspicion of 100": ('"width", below = 320', '"suspicion", at_least = 99', 15, r"suspicion is in 0\.\.1, never 99"),  # noqa: E501
    "a group above 100": ('"width", below = 320', '"score", above = { by = "c", values = { a = 200 }, default = 1 }', 15, "never 200"),  # noqa: E501
    "a member above 100": ('"width", below = 320', '"rendition_score", one_of = [1, 101]', 15, "never 101"),
    "part of no error code": ('"width", below = 320', '"error_code", contains = "vidoe"', 15, "never 'vidoe'"),  # noqa: E501
    "group of no status": ("below = 320", "below = { by = 'status', values = { fail = 1 }, default = 1 }", 15, "status is never 'fail'"),  # noqa: E501
    "allow that is no table": ("version = 1", "version = 1\nallow = 5", 2, "allow must be a table, got 5"),
}  # fmt: skip


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def wrong(case: str) -> str:
    """The policy with what is wrong in it."""
    text = changed(*WRONG[case][:2])
    return text.split("[[rules]]")[0] if case in {"rules in no list", "no rules"} else text
