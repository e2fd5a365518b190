"""Configuration is refused, naming the parameter, the value and the rule, before it can mean anything."""

from __future__ import annotations

import pickle
import re
from dataclasses import FrozenInstanceError, fields
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from securevqa_core.errors import (
    ERROR_CODES,
    ConfigurationError,
    DecodeError,
    FetchError,
    ScoreError,
    VideoError,
)
from securevqa_core.types import DecodeLimits, SamplingConfig, require_range


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_clips", 0),
        ("clip_frames", 0),
        ("frame_interval", 0),
        ("grid_size", -3),
        ("patch_side", 4097),
        ("num_temporal_fragments", 0),
        ("aligned_frames", -1),
        ("num_segments", -1),
        ("segment_frames", 0),
        ("segment_side", 0),
        ("guardian_amplitude", 128),
        ("segments_span", 2),
    ],
)
def test_sampling_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be in .*, got {value}$"):
        SamplingConfig(**{name: value})


@pytest.mark.parametrize("name", ["aligned_frames", "num_segments", "guardian_amplitude"])
def test_zero_switches_off_what_is_optional(name: str) -> None:
    assert getattr(SamplingConfig(**{name: 0}), name) == 0


def test_a_clip_is_a_whole_number_of_temporal_fragments() -> None:
    with pytest.raises(ConfigurationError, match=r"multiple of num_temporal_fragments=5, got 32"):
        SamplingConfig(clip_frames=32, num_temporal_fragments=5)


def test_a_setting_that_was_added_later_leaves_older_digests_alone() -> None:
    later = {
        *("segments_span", "statistics_interval", "statistics_rate", "statistics_lines", "statistics_tlvqm"),
    }
    later |= {"picture_rate", "picture_height", "picture_width"}
    first = {field.name for field in fields(SamplingConfig)} - later
    assert SamplingConfig().as_dict().keys() == first
    assert SamplingConfig(aligned_frames=0, num_segments=0).as_dict().keys() == first
    assert SamplingConfig(segments_span=True).as_dict()["segments_span"] is True


@pytest.mark.parametrize(
    "pictures", [{"picture_rate": 1}, {"picture_height": 64}, {"picture_rate": 1, "picture_width": 64}]
)
def test_pictures_have_a_rate_and_a_size(pictures: dict[str, int]) -> None:
    got = tuple(pictures.get(f"picture_{name}", 0) for name in ("rate", "height", "width"))
    with pytest.raises(
        ConfigurationError, match=re.escape(f"picture_width go together, and with no statistics, got {got}")
    ):
        SamplingConfig(**pictures)
    size = {"picture_rate": 1, "picture_height": 64, "picture_width": 64}
    with pytest.raises(ConfigurationError, match=r"with no statistics, got \(1, 64, 64\)"):
        SamplingConfig(**size, statistics_rate=1)
    assert SamplingConfig(**size).has_statistics


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout_seconds", 0), ("timeout_seconds", float("nan")), ("memory_bytes", 1024), ("max_pixels", 0)],
)
def test_decode_limits_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be in .*, got {value}$"):
        DecodeLimits(**{name: value})


def test_a_range_includes_both_ends() -> None:
    for value in (1, 2):
        require_range("x", value, low=1, high=2)
    with pytest.raises(ConfigurationError, match=r"x must be in 1\.\.2, got 2\.001"):
        require_range("x", 2.001, low=1, high=2)


@pytest.mark.parametrize("value", ["1", None, [1]])
def test_what_is_no_number_is_in_no_range(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"x must be a number, got {re.escape(repr(value))}"):
        require_range("x", value, low=1, high=2)


@pytest.mark.parametrize("value", ["1", 1.0])
def test_what_is_no_whole_number_is_refused_where_one_is_wanted(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"x must be a whole number, got {value!r}"):
        require_range("x", value, low=1, high=2, whole=True)
    for name in ("memory_bytes", "max_pixels"):
        with pytest.raises(ConfigurationError, match=f"{name} must be a whole number, got 1000000000.0"):
            DecodeLimits(**{name: 1e9})


@pytest.mark.parametrize("value", [np.int64(1), np.float32(1.5), Fraction(3, 2), True])
def test_numbers_of_every_kind_are_in_a_range(value: Any) -> None:
    require_range("x", value, low=1, high=2)


def test_the_papers_setting_gives_fragments_of_224_pixels_with_one_set_of_offsets() -> None:
    config = SamplingConfig()
    assert (config.fragment_side, config.num_offset_groups) == (224, 1)


@pytest.mark.parametrize(("aligned", "groups"), [(0, 1), (32, 1), (8, 4), (5, 7), (100, 1)])
def test_offset_groups_cover_the_clip(aligned: int, groups: int) -> None:
    assert SamplingConfig(aligned_frames=aligned).num_offset_groups == groups


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="num_clips"):
        SamplingConfig().num_clips = 2  # type: ignore[misc]


@pytest.mark.parametrize("kind", [DecodeError, FetchError, ScoreError])
def test_a_video_error_survives_the_way_between_processes(kind: type[VideoError]) -> None:
    code = next(code for code, entry in ERROR_CODES.items() if entry.stage in kind.__name__.lower())
    error = pickle.loads(pickle.dumps(kind(code, "what happened")))
    assert (type(error), error.code, error.stage, str(error)) == (
        kind,
        code,
        ERROR_CODES[code].stage,
        "what happened",
    )


def test_a_code_nobody_declared_is_refused() -> None:
    with pytest.raises(KeyError, match="no_such_code"):
        VideoError("no_such_code", "x")


def test_every_code_names_its_stage_and_says_what_it_means() -> None:
    assert {entry.stage for entry in ERROR_CODES.values()} == {"manifest", "fetch", "decode", "score"}
    assert all(entry.meaning for entry in ERROR_CODES.values())
