"""A row's digest changes with what decides its score, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from operators.decode import FetchLimits
from pipeline.scoring.config import ScoreConfig
from securevqa_core import zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.randomness import Key
from securevqa_core.scoring import Thresholds
from securevqa_core.types import DecodeLimits

SAMPLING = zoo.spec(zoo.DEFAULT_MODEL).sampling


def config(**changes: Any) -> ScoreConfig:
    given = {
        "manifest": "m",
        "output": "o",
        "key": Key.public(1),
        "allow_schemes": frozenset(),
        "num_draws": 4,
    }
    return ScoreConfig(**given | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"decode_limits": DecodeLimits(timeout_seconds=180)},
        {"decode_limits": DecodeLimits(memory_bytes=4 << 30, max_pixels=100)},
        {"fetch_limits": FetchLimits(max_bytes=40 << 30)},
        {"fetch_limits": FetchLimits(timeout_seconds=900, max_attempts=5)},
        {"thresholds": Thresholds(pass_at=62, reject_below=10)},
    ],
)
def test_limits_and_thresholds_make_no_row_a_new_one(changes: dict[str, Any]) -> None:
    assert config(**changes).config_id(SAMPLING) == config().config_id(SAMPLING)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_draws": 5},
        {"precision": "bfloat16"},
        {"decoder": "pyav"},
        {"key": Key.public(2)},
        {"as_delivered": "x264:23"},
        {"notice": "x264:23"},
        {"cap": "x264:23"},
    ],
)
def test_what_decides_a_score_makes_it_one(changes: dict[str, Any]) -> None:
    assert config(**changes).config_id(SAMPLING) != config().config_id(SAMPLING)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"notice": "x264:52"}, "notice must be one of x264:0..51, .*, got 'x264:52'"),
        ({"notice": "h264"}, "notice must be one of .*, got 'h264'"),
        (
            {"notice": "x264:23", "as_delivered": "av1:35"},
            "notice and as_delivered exclude each other, .* got 'x264:23' and 'av1:35'",
        ),
        ({"notice": "x264:23", "num_draws": 9}, "draws must be in 1..8, got 9"),
        ({"cap": "x264:23", "num_draws": 9}, "draws must be in 1..8, got 9"),
        ({"cap": "x264:23", "as_delivered": "av1:35"}, "cap and as_delivered exclude each other"),
    ],
)
def test_what_goes_with_nothing_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        config(**changes)


def test_the_limits_are_told_by_name() -> None:
    limits = config(
        fetch_limits=FetchLimits(max_bytes=7), decode_limits=DecodeLimits(timeout_seconds=9)
    ).limits()
    assert (limits["fetch.max_bytes"], limits["decode.timeout_seconds"]) == (7, 9)
    assert {"fetch.timeout_seconds", "decode.memory_bytes", "decode.max_pixels"} < set(limits)
