"""A gate decides by the first rule that holds, says why, and never publishes on what it does not know."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from operators.schema import REPORT
from pipeline.gate.decide import BrokenLimit, Gated, decide, what_if
from pipeline.gate.policy import ALLOWANCES, Policy, parse_policy
from securevqa_core.errors import ConfigurationError

CHECKPOINT = "secure-vqa-compact-0123456789abcdef"
TRUSTED: dict[str, Any] = {
    "status": "scored",
    "verdict": "pass",
    "score_lower": 80.0,
    "width": 640,
    "duration_seconds": 10.0,
    "decode_warnings": [],
    "checkpoint_id": CHECKPOINT,
    "checkpoint_status": "trained",
    "randomness": "keyed",
    "scored_at": datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
}
HEADER = f'version = 1\ncheckpoints = ["{CHECKPOINT}"]\n'
PUBLISH = '[[rules]]\nname = "good"\ndecision = "publish"\nwhen = { column = "score_lower", at_least = 60 }\n'


def policy(*rules: str, header: str = HEADER) -> Policy:
    return parse_policy((header + "\n".join(rules)).encode(), name="p.toml")


def rule(when: str, decision: str = "hold", name: str = "r") -> str:
    return f'[[rules]]\nname = "{name}"\ndecision = "{decision}"\nwhen = {when}\n'


def report(*rows: dict[str, Any], **columns: Any) -> pa.Table:
    whole = [
        {"video_id": str(number), "uri": f"/{number}"} | TRUSTED | row for number, row in enumerate(rows)
    ]
    table = pa.Table.from_pylist(whole, schema=REPORT)
    for name, values in columns.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return table


def decided(rules: Policy, *rows: dict[str, Any], **columns: Any) -> Gated:
    return decide(report(*rows, **columns), rules)


def test_the_first_rule_that_holds_decides_and_the_default_the_rest() -> None:
    rules = policy(
        rule('{ column = "score_lower", below = 40 }', "hold", "poor"),
        rule('{ column = "width", below = 320 }', "review", "small"),
        PUBLISH,
    )
    rows = ({"score_lower": 30.0, "width": 100}, {"width": 100}, {}, {"score_lower": 50.0})
    found = decided(rules, *rows)
    assert found.decisions == ["hold", "review", "publish", "review"]
    assert found.rules == ["poor", "small", "good", None]
    assert found.reasons == [
        "poor: score_lower 30 < 40",
        "small: width 100 < 320",
        "good: score_lower 80 >= 60",
        "no rule holds: good: score_lower 50 < 60",
    ]
    assert not found.withheld


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ('{ column = "score_lower", below = 80 }', False),
        ('{ column = "score_lower", at_most = 80 }', True),
        ('{ column = "score_lower", above = 80 }', False),
        ('{ column = "score_lower", at_least = 80.0 }', True),
        ('{ column = "width", is = 640 }', True),
        ('{ column = "width", is = 640.5 }', False),
        ('{ column = "width", one_of = [1, 640.0] }', True),
        ('{ column = "width", none_of = [1, 2.5] }', True),
        ('{ column = "size_bytes", above = 9007199254740991 }', True),
        ('{ column = "verdict", is = "pass" }', True),
        ('{ column = "verdict", is_not = "pass" }', False),
        ('{ column = "verdict", contains = "as" }', True),
        ('{ column = "verdict", none_of = ["reject", "review"] }', True),
        ('{ column = "decode_warnings", contains = "short" }', True),
        ('{ column = "decode_warnings", contains = "long" }', False),
        ('{ column = "error_code", missing = true }', True),
        ('{ column = "error_code", missing = false }', False),
        ('{ column = "scored_at", at_least = 2026-11-22T00:00:00Z }', True),
        ('{ column = "scored_at", below = 2026-11-22T01:00:00+02:00 }', False),
        ('{ column = "day", above = 2026-11-21 }', True),
        ('{ column = "is_paid", is = true }', True),
        ('{ column = "kind", is = "live" }', True),
        ('[{ column = "width", above = 0 }, { column = "width", above = 640 }]', False),
    ],
)
def test_every_comparison_holds_where_it_should(when: str, expected: bool) -> None:
    row = {"size_bytes": 2**60, "decode_warnings": ["odd", "stream_short: 99 of 100"]}
    columns = {
        "day": [datetime.date(2026, 11, 22)],
        "is_paid": [True],
        "kind": pa.array(["live"]).dictionary_encode(),
    }
    found = decided(policy(rule(when), PUBLISH), row, **columns)
    assert found.decisions == ["hold" if expected else "publish"]
    assert not found.withheld


def test_thresholds_go_by_group_and_fall_back_to_the_default() -> None:
    values = "{ default = 40, by = 'channel', values = { film = 75 } }"
    rules = policy(rule(f'{{ column = "score_lower", below = {values} }}', name="poor"), PUBLISH)
    rows = [{"score_lower": 70.0}] * 3 + [{"score_lower": 30.0}]
    found = decided(rules, *rows, channel=["film", "news", None, "None"])
    assert found.decisions == ["hold", "publish", "review", "hold"]
    assert found.reasons[0] == "poor: score_lower 70 < 75 (channel 'film')"
    assert found.reasons[2] == (
        "not published, rule 'poor' cannot be decided: channel is missing (good: score_lower 70 >= 60)"
    )


NOW = datetime.datetime(2026, 11, 22, 7, 30, 0, 500_000, tzinfo=datetime.UTC)
SECONDS = pa.array([1_795_332_600], pa.timestamp("s", tz="UTC"))  # 2026-11-22T07:30:00Z


@pytest.mark.parametrize(
    ("column", "values", "strict"),
    [
        (pa.array([True, False]), "true = 80", [True, False]),
        (pa.array([1, 2], pa.int8()), "1 = 80", [True, False]),
        (pa.array([1.0, 1.5]), "1 = 80", [True, False]),
        (pa.array([1.0, 1.5]), "'1.5' = 80", [False, True]),
        (pa.array([0.1, 0.2], pa.float32()), "'0.1' = 80", [True, False]),
        (pa.array([Decimal("1.00"), Decimal("2.00")]), "'2' = 80", [False, True]),
        (pa.array([2**53 + 1, 2**53]), f"{2**53} = 80", [False, True]),
        (pa.array(["1", "1.0"]), "1 = 80", [True, False]),
        (pa.array(["film", "news"]).cast(pa.string_view()), "film = 80", [True, False]),
        (pa.array(["film", "news"]).dictionary_encode(), "news = 80", [False, True]),
        (pa.array([NOW.date(), datetime.date(2026, 11, 23)]), "2026-11-22 = 80", [True, False]),
        (pa.array([NOW, SECONDS[0].as_py()]), "'2026-11-22T07:30:00Z' = 80", [False, True]),
        (pa.array(["", "x"]), '"" = 80', [True, False]),
    ],
)  # fmt: skip
def test_groups_are_met_by_value_and_type(column: pa.Array[Any], values: str, strict: list[bool]) -> None:
    by = f'{{ default = 40, by = "group", values = {{ {values} }} }}'
    rules = policy(rule(f'{{ column = "score_lower", at_least = {by} }}', "publish", "good"))
    found = decided(rules, {"score_lower": 50.0}, {"score_lower": 50.0}, group=column)
    assert found.decisions == ["review" if one else "publish" for one in strict]


@pytest.mark.parametrize("missing", [pa.array([None]), pa.array([math.nan]), pa.array([None], pa.string())])
def test_a_group_that_is_missing_is_unknown_and_never_the_default(missing: pa.Array[Any]) -> None:
    by = '{ default = 40, by = "group", values = { 1 = 80 } }'
    rules = policy(rule(f'{{ column = "score_lower", at_least = {by} }}', "publish", "good"))
    found = decided(rules, {"score_lower": 90.0}, group=missing)
    assert found.decisions == ["review"]
    assert found.reasons == ["no rule holds: good: group is missing"]


@pytest.mark.parametrize(
    ("column", "when", "decision"),
    [
        (pa.array([1_800_000_000_000_000_100]), "one_of = [1800000000000000001]", "publish"),
        (pa.array([1_800_000_000_000_000_001]), "one_of = [1800000000000000001]", "hold"),
        (pa.array([2**64 - 1], pa.uint64()), "is = 18446744073709551615", "hold"),
        (pa.array([2**53 + 1]), f"at_most = {2**53}.0", "publish"),
        (pa.array([["a", None]]), 'contains = "nsfw"', "review"),
        (pa.array([["nsfw", None]]), 'contains = "nsfw"', "hold"),
        (pa.array([["a", "b"]], pa.list_(pa.string(), 2)), 'contains = "b"', "hold"),
        (pa.array([["a"]], pa.list_view(pa.string_view())), 'contains = "b"', "publish"),
        (pa.array(["ax"]).cast(pa.string_view()), 'contains = "x"', "hold"),
        (pa.array(["ax"]).cast(pa.string_view()), 'one_of = ["ax"]', "hold"),
        (pa.array(["ax"]).cast(pa.large_string()).dictionary_encode(), 'is = "ax"', "hold"),
        (SECONDS, "above = 2026-11-22T07:29:59.5Z", "hold"),
        (SECONDS, "above = 2026-11-22T07:30:00.5Z", "publish"),
        (SECONDS.cast(pa.timestamp("ns", tz="Asia/Tokyo")), "is = 2026-11-22T16:30:00+09:00", "hold"),
        (pa.array([1], pa.timestamp("ns")), "above = 1970-01-01T00:00:00", "hold"),
        (pa.array([2**60], pa.timestamp("s")), "above = 1970-01-01T00:00:00", "hold"),
        (pa.array([0.7], pa.float32()), "at_most = 0.7", "hold"),
        (pa.array([Decimal("0.700")]), "is = 0.7", "hold"),
        (pa.array([1e30]).cast(pa.float32()), "above = 1e300", "publish"),
        (pa.array([math.inf]), "above = 1e300", "hold"),
        (pa.array([None]), "above = 3", "review"),
        (pa.array([None]), 'one_of = ["x"]', "review"),
        (pa.array([None]), "missing = true", "hold"),
    ],
)
def test_columns_of_every_layout_decide_exactly(column: pa.Array[Any], when: str, decision: str) -> None:
    found = decided(policy(rule(f'{{ column = "own", {when} }}'), PUBLISH), {}, own=column)
    assert found.decisions == [decision], found.reasons


def test_what_differs_beyond_six_digits_is_shown_so() -> None:
    found = decided(policy(PUBLISH), {"score_lower": 59.99999999})
    assert found.reasons == ["no rule holds: good: score_lower 59.99999999 < 60"]


FOUND: dict[str, tuple[str, str]] = {  # condition -> what is said where it holds, and where it fails
    "verdict, is = 'pass'": ("verdict is 'pass'", "verdict is 'review', not 'pass'"),
    "verdict, is_not = 'review'": ("verdict is 'pass', not 'review'", "verdict is 'review'"),
    "verdict, one_of = ['pass', 'reject']": ("verdict is 'pass'", "verdict is 'review', not 'pass' or 'reject'"),  # noqa: E501
    "verdict, none_of = ['review']": ("verdict is 'pass', not 'review'", "verdict is 'review'"),
    "verdict, contains = 'pas'": ("verdict 'pass' contains 'pas'", "verdict 'review' does not contain 'pas'"),
    "decode_warnings, contains = 'od'": ("decode_warnings has 'odd'", "decode_warnings has no 'od'"),
    "codec, missing = true": ("codec is missing", "codec is there"),
    "codec, missing = false": ("codec is there", "codec is missing"),
    "width, at_most = 640": ("width 640 <= 640", "width 641 > 640"),
    "width, above = 640": ("width 641 > 640", "width 640 <= 640"),
}  # fmt: skip


@pytest.mark.parametrize("when", FOUND)
def test_what_was_found_is_said_by_names_and_values(when: str) -> None:
    column, _, rest = when.partition(", ")
    passing = {"verdict": "pass", "decode_warnings": ["odd"], "codec": None, "width": 640}
    failing = {"verdict": "review", "decode_warnings": [], "codec": "h264", "width": 641}
    if rest in {"missing = false", "above = 640"}:
        passing, failing = failing, passing
    rules = policy(rule(f'{{ column = "{column}", {rest} }}', "publish"))
    assert decided(rules, passing, failing).reasons == [
        f"r: {FOUND[when][0]}",
        f"no rule holds: r: {FOUND[when][1]}",
    ]


def test_where_no_rule_holds_it_is_said_why_of_those_that_would_have_told_otherwise() -> None:
    poor = rule('{ column = "score_lower", below = 40 }', name="poor")
    many = [rule('{ column = "width", above = 999 }', "publish", f"wide {number}") for number in range(4)]
    row = {"score_lower": None, "status": "failed", "error_code": "fetch_denied", "width": 640}
    assert decided(policy(PUBLISH), row).reasons == [
        "no rule holds: failed (fetch_denied); good: score_lower is missing"
    ]
    (reason,) = decided(policy(poor, *many), {"score_lower": 50.0}).reasons
    assert reason.startswith("no rule holds: wide 0: width 640 <= 999; wide 1: ")
    assert reason.endswith("; and 1 more")
    (reason,) = decided(
        policy(poor, PUBLISH, header=HEADER + 'default = "publish"\n'), {"score_lower": 50.0}
    ).reasons
    assert reason == "no rule holds: poor: score_lower 50 >= 40"


@pytest.mark.parametrize("missing", [None, math.nan])
def test_what_a_rule_cannot_know_is_not_published_by_a_later_one(missing: float | None) -> None:
    short = rule('{ column = "duration_seconds", below = 1 }', name="short")
    found = decided(policy(short, PUBLISH), {"duration_seconds": missing})
    assert found.decisions == ["review"]
    assert found.withheld == {"undecided": 1}
    assert "rule 'short' cannot be decided: duration_seconds is missing" in found.reasons[0]
    known = rule(
        '[{ column = "duration_seconds", below = 1 }, { column = "width", below = 100 }]', name="short"
    )
    assert decided(policy(known, PUBLISH), {"duration_seconds": missing}).decisions == ["publish"]
    later = decided(policy(PUBLISH, short), {"duration_seconds": missing})
    assert later.decisions == ["publish"]
    asked = rule('{ column = "duration_seconds", missing = true }', name="none")
    assert decided(policy(asked, PUBLISH), {"duration_seconds": missing}).decisions == ["hold"]


def test_no_error_is_known_and_not_a_missing_value() -> None:
    gone = rule('{ column = "error_code", one_of = ["fetch_not_found"] }', name="gone")
    other = rule('{ column = "error_code", is_not = "fetch_denied" }', "publish", "other")
    found = decided(
        policy(gone, other), {}, {"error_code": "fetch_not_found"}, {"error_code": "fetch_denied"}
    )
    assert found.decisions == ["publish", "hold", "review"]


UNTRUSTED: dict[str, list[dict[str, Any]]] = {
    "unscored": [
        {"status": "failed", "score_lower": None},
        {"status": "pending", "score_lower": None},
        {"status": "scored", "score_lower": None},
        {"status": "scored", "score_lower": math.nan},
        {"status": None},
    ],
    "public_seed": [{"randomness": "public"}, {"randomness": None}, {"randomness": "new"}],
    "untrained": [{"checkpoint_status": "untrained"}, {"checkpoint_status": None}],
    "unknown_checkpoint": [{"checkpoint_id": "another"}, {"checkpoint_id": None}],
    "doubtful_picture": [
        {"decode_warnings": ["damaged_frames: 1 of 9", "fallback: pyav failed"]},
        {"decode_warnings": ["several_video_streams: stream 0 of 2 was read"]},
        {"decode_warnings": ["track_changes: packet id 256 was read, and not 512"]},
        {"decode_warnings": ["field_coded: 9 of 9 sampled frames are single fields"]},
        {"decode_warnings": ["damaged_frames: 51 of 248 sampled frames"]},
    ],
}


@pytest.mark.parametrize("guard", UNTRUSTED)
def test_what_is_not_vouched_for_is_published_only_when_the_policy_says_so_in_words(guard: str) -> None:
    any_row = rule('{ column = "video_id", missing = false }', "publish", "all")
    rows = UNTRUSTED[guard]
    for header in (HEADER, HEADER + 'default = "publish"\n'):
        found = decided(policy(any_row, header=header), *rows)
        assert found.decisions == ["review"] * len(rows)
        assert found.withheld == {guard: len(rows)}
        assert all(reason.startswith("not published, ") for reason in found.reasons)
    words = f'{HEADER}[allow]\n{guard} = "{ALLOWANCES[guard]}"\n'
    assert decided(policy(any_row, header=words), *rows).decisions == ["publish"] * len(rows)


def test_without_a_list_of_checkpoints_nothing_is_published() -> None:
    assert decided(policy(PUBLISH, header="version = 1\n"), {}).decisions == ["review"]


@pytest.mark.parametrize(
    ("limit", "wanted", "found"),
    [
        ("min_rows", 5, 4),
        ("min_publish_share", 0.6, 0.5),
        ("max_hold_share", 0.2, 0.25),
        ("max_review_share", 0.2, 0.25),
        ("max_unscored_share", 0.2, 0.25),
    ],
)
def test_a_report_that_breaks_a_limit_publishes_nothing(limit: str, wanted: float, found: float) -> None:
    poor = rule('{ column = "score_lower", below = 40 }', name="poor")
    rows = ({}, {}, {"score_lower": 10.0}, {"status": "failed", "score_lower": None})
    kept = decided(policy(poor, PUBLISH, header=f"{HEADER}[limits]\n{limit} = {found}\n"), *rows)
    assert (kept.decisions.count("publish"), kept.broken_limits) == (2, ())
    broken = decided(policy(poor, PUBLISH, header=f"{HEADER}[limits]\n{limit} = {wanted}\n"), *rows)
    assert broken.broken_limits == (BrokenLimit(limit=limit, wanted=wanted, found=found),)
    assert broken.decisions == ["review", "review", "hold", "review"]
    assert broken.withheld == {"limits": 2}
    assert f"{limit} {wanted:g} is broken" in broken.reasons[0]


def test_a_share_of_no_rows_breaks_its_limit() -> None:
    found = decided(policy(PUBLISH, header=f"{HEADER}[limits]\nmax_hold_share = 1\n"))
    assert found.broken_limits == (BrokenLimit(limit="max_hold_share", wanted=1, found=None),)


def test_what_if_counts_the_decisions_at_each_threshold_as_deciding_would() -> None:
    rows = [{"score_lower": float(score)} for score in range(0, 100, 10)] + [{"randomness": "public"}]
    table = report(*rows, channel=["film"] * 5 + ["news"] * 6)
    small = rule('{ column = "width", below = 1 }', name="small")
    rules = policy(small, PUBLISH)
    for one in what_if(table, rules, rule="good", thresholds=[0, 35, 90.5]):
        said = rule(f'{{ column = "score_lower", at_least = {one.threshold} }}', "publish", "good")
        whole = decide(table, policy(small, said)).decisions
        assert (one.publish, one.hold, one.review) == tuple(map(whole.count, ("publish", "hold", "review")))
    found = what_if(table, rules, rule="good")
    assert [one.threshold for one in found] == list(range(0, 101, 5))
    assert [one.threshold for one in found if one.is_present] == [60]


def test_what_if_counts_each_group_by_itself_and_marks_its_own_threshold() -> None:
    rows = [{"score_lower": float(score)} for score in range(0, 100, 10)] + [{"randomness": "public"}]
    table = report(*rows, channel=["film"] * 5 + ["news"] * 5 + [None])
    grouped = "{ default = 60, by = 'channel', values = { film = 40 } }"
    rules = policy(rule(f'{{ column = "score_lower", at_least = {grouped} }}', "publish", "good"))
    found = what_if(table, rules, rule="good", thresholds=[50])
    assert [(one.threshold, one.group, one.publish, one.review, one.is_present) for one in found] == [
        (40, None, 6, 5, False),
        (40, "film", 1, 4, True),
        (40, "news", 5, 0, False),
        (50, None, 5, 6, False),
        (50, "film", 0, 5, False),
        (50, "news", 5, 0, False),
        (60, None, 4, 7, False),
        (60, "film", 0, 5, False),
        (60, "news", 4, 1, True),
    ]


def test_what_if_says_which_limits_each_threshold_breaks_as_deciding_would() -> None:
    table = report(*({"score_lower": float(score)} for score in range(0, 100, 10)))
    header = f"{HEADER}[limits]\nmin_rows = 11\nmin_publish_share = 0.4\n"
    for one in what_if(table, policy(PUBLISH, header=header), rule="good", thresholds=[20, 60, 70]):
        said = rule(f'{{ column = "score_lower", at_least = {one.threshold} }}', "publish", "good")
        assert one.broken_limits == decide(table, policy(said, header=header)).broken_limits
        assert len(one.broken_limits) == 1 + (one.threshold == 70)


def test_what_if_of_no_rows_counts_none() -> None:
    found = what_if(report(), policy(PUBLISH), rule="good", thresholds=[50])
    assert [(one.threshold, one.publish + one.hold + one.review) for one in found] == [(50, 0), (60, 0)]


def test_what_if_tries_the_values_that_a_column_without_a_range_has() -> None:
    table = report(
        *({"duration_seconds": float(seconds)} for seconds in (*range(101), math.inf, -math.inf, math.nan))
    )
    rules = policy(rule('{ column = "duration_seconds", below = 1 }', name="short"))
    found = what_if(table, rules, rule="short")
    assert [one.threshold for one in found] == sorted([1, *range(0, 101, 10)])
    assert [one.hold for one in found] == sorted([2, *range(1, 102, 10)])
    with pytest.raises(ConfigurationError, match="duration_seconds"):
        what_if(report({"duration_seconds": None}), rules, rule="short")


@pytest.mark.parametrize("name", ["absent", "wide"])
def test_what_if_needs_a_rule_that_compares_with_a_number(name: str) -> None:
    rules = policy(rule('{ column = "verdict", is = "pass" }', name="wide"))
    with pytest.raises(ConfigurationError, match=f"'{name}'"):
        what_if(report({}), rules, rule=name)


def example(name: str) -> Policy:
    """An example policy, with the checkpoint named that the rows are of."""
    text = (Path(__file__).parents[3] / "examples" / name).read_text()
    named = text.replace("checkpoints = []", f'checkpoints = ["{CHECKPOINT}"]')
    assert named != text
    return parse_policy(named.encode(), name=name)


def test_the_first_example_decides_on_any_report() -> None:
    rows = (
        {"score_lower": 60.0},
        {"score_lower": 59.0},
        {"score_lower": 39.0},
        {"status": "failed", "score_lower": None, "error_code": "not_a_video"},
    )
    decided_rows = decided(example("first_policy.toml"), *rows)
    assert decided_rows.broken_limits[0].limit == "max_unscored_share"
    assert decided(example("first_policy.toml"), *rows[:3]).decisions == ["publish", "review", "hold"]


def test_the_example_decides_on_a_report() -> None:
    rules = example("policy.toml")
    rows = (
        {"score_lower": 70.0},
        {"score_lower": 70.0},
        {"score_lower": 30.0},
        {"status": "failed", "score_lower": None, "error_code": "not_a_video", "duration_seconds": None},
        {"decode_warnings": ["stream_short: 60 of 100"]},
        {"duration_seconds": 0.5},
    )
    found = decided(rules, *rows, channel=["news", "film", "archive", "news", "news", "news"])
    assert found.decisions == ["publish", "review", "review", "hold", "review", "hold"]
    assert found.rules == ["good enough", None, None, "not a video", "damaged", "too short"]


def test_the_example_answers_no_tenth_near_copy_and_all_others_as_before() -> None:
    counts = (None, 0, 8, 9, 300)
    rows = [{"score_lower": score, "near_copies": count} for score in (70.0, 30.0) for count in counts]
    found = decided(example("policy.toml"), *rows, channel=["news"] * len(rows))
    assert found.decisions == ["publish"] * 3 + ["review"] * 2 + ["hold"] * 3 + ["review"] * 2
    assert "near_copies 9 >= 9" in found.reasons[3]


def test_the_example_sends_what_is_suspected_to_review_and_publishes_none_that_is_unknown() -> None:
    reasons = ["falls by 14.2 points when it is encoded as x264:23; of clean videos ..."]
    rows = [
        {"score_lower": 90.0, "suspicion": suspicion, "suspicion_reasons": said}
        for suspicion, said in (
            (None, None),
            (0.5, reasons),
            (0.99, reasons),
            (None, ["there is no rendition"]),
        )
    ]
    found = decided(example("policy.toml"), *rows, channel=["news"] * len(rows))
    assert found.decisions == ["publish", "publish", "review", "review"]
    assert found.rules[2] == "suspected of an attack"
    assert "suspicion 0.99 >= 0.99" in found.reasons[2]
