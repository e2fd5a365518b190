"""The schema that editors use takes what the gate takes, and refuses what the gate refuses to read."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pyarrow as pa
import pytest
from cli import call
from policies import GOOD, WRONG, wrong

from operators.schema import REPORT
from operators.stage import FAILED, SCORED
from pipeline.gate.kinds import CLOSED
from pipeline.gate.policy import parse_policy, require_fit
from pipeline.gate.schema import policy_schema
from pipeline.runs.report import PENDING
from securevqa_core.errors import ERROR_CODES, ConfigurationError
from securevqa_core.randomness import Randomness
from securevqa_core.scoring import Verdict
from securevqa_core.weights import Status

EXAMPLES = Path(__file__).parents[3] / "examples"
# What no schema can tell: text that is no TOML, names that repeat, and values that JSON has no sort of.
UNSEEN = {
    "a score below its least",  # of a range in which the number is
    "a score above its most",
    "not TOML",
    "ends early",
    "a name twice",
    "comparison with NaN",
    "a time of day",
    "part of no error code",
}
CHECKER = jsonschema.Draft7Validator(policy_schema())


def as_editors_have_it(value: Any) -> Any:
    """A TOML value as JSON has it."""
    if isinstance(value, dict):
        return {name: as_editors_have_it(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_editors_have_it(one) for one in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def complaints(text: str) -> list[str]:
    return [one.message for one in CHECKER.iter_errors(as_editors_have_it(tomllib.loads(text)))]


def test_the_schema_is_one_and_the_examples_name_the_one_that_ships() -> None:
    jsonschema.Draft7Validator.check_schema(policy_schema())
    shipped = json.loads((EXAMPLES / "policy.schema.json").read_text())
    assert shipped == policy_schema(), "securevqa gate --schema > examples/policy.schema.json"


@pytest.mark.parametrize("name", ["policy.toml", "first_policy.toml"])
def test_the_examples_are_taken(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert text.startswith("#:schema policy.schema.json\n")
    assert complaints(text) == []


@pytest.mark.parametrize(
    "when",
    [
        '{ column = "scored_at", at_least = 2026-11-22T00:00:00Z }',
        '{ column = "day", is = 2026-11-22 }',
        '{ column = "paid", is_not = true }',
        '[{ column = "near_copies", at_least = 9 }, { column = "near_copy_of", missing = false }]',
        '{ column = "score", at_most = { default = 0, by = "a", values = { b = 100 } } }',
        '{ column = "suspicion", none_of = [0, 1.0] }',
        '{ column = "raw_score", above = -1000 }',
        '{ column = "tags", contains = "x" }',
        '{ column = "error_code", missing = false }',
        '{ column = "error_code", none_of = ["fetch_denied", "scratch_full"] }',
        '{ column = "verdict", is = { default = "pass", by = "randomness", values = { keyed = "review" } } }',
        '[{ column = "width", above = 1 }, { column = "fps", below = { default = 1.5, by = "a", values = {} } }]',  # noqa: E501
    ],
)
def test_what_the_gate_reads_is_taken(when: str) -> None:
    text = GOOD.replace('{ column = "width", at_least = 320 }', when)
    assert text != GOOD
    parse_policy(text.encode(), name="p.toml")
    assert complaints(text) == []


@pytest.mark.parametrize("case", sorted(WRONG.keys() - UNSEEN))
def test_what_the_gate_refuses_to_read_is_refused(case: str) -> None:
    assert complaints(wrong(case))


@pytest.mark.parametrize(
    "when",
    [
        '{ column = "score", below = "4" }',
        '{ column = "score", below = { default = 1, by = "a", values = { b = "4" } } }',
        '{ column = "width", one_of = ["4"] }',
        '{ column = "width", contains = "4" }',
        '{ column = "codec", above = "a" }',
        '{ column = "codec", is = 264 }',
        '{ column = "codec", none_of = [264] }',
        '{ column = "decode_warnings", is = "x" }',
        '{ column = "decode_warnings", one_of = ["x"] }',
        '{ column = "clip_scores", below = 4 }',
        '{ column = "clip_scores", contains = "4" }',
        '{ column = "scored_at", below = 4 }',
        '{ column = "scored_at", contains = "4" }',
    ],
)
def test_what_does_not_fit_a_column_of_every_report_is_refused(when: str) -> None:
    text = GOOD.replace('{ column = "width", at_least = 320 }', when)
    policy = parse_policy(text.encode(), name="p.toml")
    with pytest.raises(ConfigurationError, match="rule 'first'"):
        require_fit(
            policy, pa.schema([*REPORT, pa.field("channel", pa.string()), pa.field("a", pa.string())])
        )
    assert complaints(text)


def test_what_the_schema_cannot_see_is_told_of() -> None:
    assert WRONG.keys() >= UNSEEN
    assert set(CLOSED) <= set(REPORT.names)


def test_words_that_a_column_is_known_to_hold_are_those_that_are_written() -> None:
    assert CLOSED["status"] == (SCORED, FAILED, PENDING)
    assert CLOSED["verdict"] == get_args(Verdict)
    assert CLOSED["randomness"] == get_args(Randomness)
    assert CLOSED["checkpoint_status"] == get_args(Status)
    assert {code.stage for code in ERROR_CODES.values()} <= set(CLOSED["stage"])


def test_the_gate_waits_for_no_torch() -> None:
    program = "import sys, pipeline.commands.gate, pipeline.commands.runs; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=EXAMPLES.parent, check=True, timeout=120)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("gate", "--schema") == 0
    assert json.loads(capsys.readouterr().out) == policy_schema()
