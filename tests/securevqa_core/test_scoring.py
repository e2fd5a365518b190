"""The way from pixels to a verdict: what the networks are given, and what is made of what they answer."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from securevqa_core.calibration import Calibration
from securevqa_core.errors import ConfigurationError, ScoreError
from securevqa_core.scoring import (
    PIXEL_MEAN,
    PIXEL_SD,
    Thresholds,
    ahead,
    inter_features,
    normalise,
    raw_scores,
    summarise,
    verdict,
)
from securevqa_core.types import SamplingConfig

CPU = torch.device("cpu")
SAMPLING = SamplingConfig(num_clips=2, clip_frames=4, num_segments=3, segment_frames=4, segment_side=16)
SEEDS = [b"a" * 32, b"b" * 32]


class Recorder:
    """Stands in for a model and keeps what its branches are given."""

    def __init__(self, score: float = 0.25) -> None:
        self.inter_inputs: list[Tensor] = []
        self.intra_inputs: list[Tensor] = []
        self.head_inputs: list[tuple[Tensor, Tensor | None]] = []
        self._score = score

    def inter(self, x: Tensor) -> Tensor:
        self.inter_inputs.append(x.clone())
        return x.mean(dim=(2, 3, 4))

    def intra(self, x: Tensor) -> Tensor:
        self.intra_inputs.append(x.clone())
        return x

    def head(self, intra: Tensor, inter: Tensor | None) -> Tensor:
        self.head_inputs.append((intra, inter))
        return torch.full((1, 16), self._score) + len(self.head_inputs)


def test_normalising_is_the_published_arithmetic() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 4, 5, 6, 3), dtype=np.uint8))
    x = normalise(pixels)
    assert x.shape == (2, 3, 4, 5, 6)
    assert x.dtype == torch.float32
    for channel, (mean, sd) in enumerate(
        zip((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), strict=True)
    ):
        expected = (pixels[..., channel].double() - mean) / sd
        torch.testing.assert_close(x[:, channel].double(), expected, rtol=1e-6, atol=1e-6)


def _denormalised(x: Tensor) -> np.ndarray:
    """(1, 3, t, h, w) normalised -> (t, h, w, 3) levels."""
    levels = x[0].permute(1, 2, 3, 0).double().numpy() * PIXEL_SD + PIXEL_MEAN
    assert np.abs(levels - levels.round()).max() < 1e-3  # 8-bit levels, guarded before normalising
    return levels.round().astype(int)


def _inter(frames: np.ndarray, segments: np.ndarray, sampling: SamplingConfig = SAMPLING) -> Recorder:
    model = Recorder()
    inter_features(model.inter, frames, segments, SEEDS, sampling=sampling, device=CPU, precision="float32")
    return model


FRAMES = np.random.default_rng(0).integers(1, 255, (6, 16, 16, 3), dtype=np.uint8)
SEGMENTS = np.array([[0, 1, 2, 3], [2, 3, 4, 5], [5, 5, 5, 5]])


def test_the_inter_backbone_sees_every_segment_of_every_draw_moved_by_exactly_one_level() -> None:
    model = _inter(FRAMES, SEGMENTS)
    assert len(model.inter_inputs) == len(SEEDS) * len(SEGMENTS)
    for place, seen in enumerate(model.inter_inputs):
        step = _denormalised(seen) - FRAMES[SEGMENTS[place % 3]]
        assert set(np.unique(step)) == {-1, 1}
        assert abs(step.mean()) < 0.2


def test_the_inter_guardian_map_is_fresh_for_every_frame_segment_and_draw() -> None:
    model = _inter(FRAMES, SEGMENTS)
    steps = [
        _denormalised(seen) - FRAMES[SEGMENTS[place % 3]] for place, seen in enumerate(model.inter_inputs)
    ]
    maps = [frame.tobytes() for step in steps for frame in step]
    assert len(set(maps)) == len(maps) == 2 * 3 * 4  # even where a segment repeats one frame


def test_without_an_amplitude_the_inter_backbone_sees_the_frames_themselves() -> None:
    model = _inter(FRAMES, SEGMENTS, replace(SAMPLING, guardian_amplitude=0))
    for place, seen in enumerate(model.inter_inputs):
        assert (_denormalised(seen) == FRAMES[SEGMENTS[place % 3]]).all()


def test_inter_features_are_ordered_by_draw_then_segment() -> None:
    levels = np.array([10, 60, 110, 160, 210, 250], dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (6, 16, 16, 3))
    sampling = replace(SAMPLING, guardian_amplitude=0)
    segments = np.array([[0] * 4, [2] * 4, [4] * 4])
    features = inter_features(
        Recorder().inter, frames, segments, SEEDS, sampling=sampling, device=CPU, precision="float32"
    )
    assert features.shape == (2, 3, 3)
    assert features.dtype == np.float32
    expected = (np.array([[10], [110], [210]]) - PIXEL_MEAN) / PIXEL_SD
    np.testing.assert_allclose(features, np.stack([expected] * 2), rtol=1e-4)


def test_raw_scores_are_the_mean_over_positions_of_every_clip_of_every_draw() -> None:
    fragments = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 8, 8, 3), dtype=np.uint8)
    features = np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 3, 5)
    model = Recorder()
    raw = raw_scores(model, fragments, features, device=CPU, precision="float32")
    assert raw.tolist() == [[1.25, 2.25, 3.25], [4.25, 5.25, 6.25]]
    for place, (seen, (_, inter)) in enumerate(zip(model.intra_inputs, model.head_inputs, strict=True)):
        draw, clip = divmod(place, 3)
        assert (_denormalised(seen) == fragments[draw, clip]).all()
        assert inter is not None
        assert (inter[0].numpy() == features[draw]).all()


def test_a_model_without_an_inter_branch_is_given_none() -> None:
    model = Recorder()
    raw_scores(model, np.zeros((1, 1, 4, 8, 8, 3), np.uint8), None, device=CPU, precision="float32")
    assert model.head_inputs[0][1] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    fragments = np.zeros((1, 2, 4, 8, 8, 3), np.uint8)
    with pytest.raises(ScoreError, match=f"must be finite, got .*{value}") as caught:
        raw_scores(Recorder(score=value), fragments, None, device=CPU, precision="float32")
    assert (caught.value.code, caught.value.stage) == ("score_not_finite", "score")


def test_items_made_ahead_come_in_order_one_early_and_errors_where_they_belong() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number
        raise ScoreError("score_not_finite", "the fifth is none")

    taken = ahead(items())
    assert next(taken) == 0
    for _ in range(500):
        if made == [0, 1]:
            break
        time.sleep(0.01)
    assert made == [0, 1]
    assert [next(taken), next(taken), next(taken)] == [1, 2, 3]
    with pytest.raises(ScoreError, match="the fifth is none"):
        next(taken)
    assert list(ahead([])) == []


def test_memory_that_tensors_freed_is_not_asked_for_again_page_by_page() -> None:
    code = """
import ctypes, sys, torch
from securevqa_core.scoring import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
class Allocated(ctypes.Structure):  # as `man mallinfo2` has it
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
allocated = ctypes.CDLL(None).mallinfo2
allocated.restype = Allocated
before = allocated().hblks
large = torch.empty(20 << 20, dtype=torch.uint8)
mapped, size = allocated().hblks - before, allocated().arena  # what is mapped is given back once it is freed
del large
print(mapped, size - allocated().arena, allocated().fordblks)
"""
    (given, _, _), (kept, given_back, free) = (
        map(
            int,
            subprocess.run([sys.executable, "-c", code, how], check=True, capture_output=True).stdout.split(),
        )
        for how in ("give", "keep")
    )
    assert (given, kept) == (1, 0)
    assert given_back == 0
    assert free >= 20 << 20, "for the next tensors"


def test_bfloat16_runs_and_answers_in_float32() -> None:
    class Linear(Recorder):
        def inter(self, x: Tensor) -> Tensor:
            product = x.flatten(1) @ torch.ones(x[0].numel(), 2)
            assert product.dtype == torch.bfloat16
            return product

    features = inter_features(
        Linear().inter, FRAMES, SEGMENTS, SEEDS, sampling=SAMPLING, device=CPU, precision="bfloat16"
    )
    assert features.dtype == np.float32


RAW = {
    "one draw": np.array([[0.1, 0.3, -0.2, 0.4]]),
    "two draws": np.array([[0.1, 0.3], [0.2, -0.4]]),
    "many draws": np.random.default_rng(0).normal(0, 0.5, (12, 4)),
}
CALIBRATION = Calibration(low=5, high=95, midpoint=0.1, scale=0.3)


@pytest.mark.parametrize("name", RAW)
def test_a_score_is_the_mean_over_draws_of_the_calibrated_mean_over_clips(name: str) -> None:
    raw = RAW[name]
    score = summarise(raw, CALIBRATION)
    draws = [float(np.asarray(CALIBRATION.to_score(clips.mean()))) for clips in raw]
    assert score.score == pytest.approx(np.mean(draws))
    assert score.raw_score == pytest.approx(raw.mean())
    assert score.clip_scores == pytest.approx(np.asarray(CALIBRATION.to_score(raw.ravel())).tolist())
    assert len(score.clip_scores) == raw.size


@pytest.mark.parametrize("name", ["two draws", "many draws"])
def test_the_lower_bound_is_scipys_one_sided_95_percent_bound(name: str) -> None:
    raw = RAW[name]
    score = summarise(raw, CALIBRATION)
    draws = np.asarray(CALIBRATION.to_score(raw.mean(axis=1)))
    assert score.score_sd == pytest.approx(stats.tstd(draws))
    low, _ = stats.t.interval(0.9, len(draws) - 1, loc=draws.mean(), scale=stats.sem(draws))
    assert score.score_lower == pytest.approx(max(CALIBRATION.low, low))
    assert score.score_lower <= score.score


def test_one_draw_has_no_spread_and_is_its_own_lower_bound() -> None:
    score = summarise(RAW["one draw"], CALIBRATION)
    assert score.score_sd is None
    assert score.score_lower == score.score


def test_draws_that_agree_have_no_spread() -> None:
    score = summarise(np.full((5, 4), 0.3), CALIBRATION)
    assert score.score_sd == pytest.approx(0)
    assert score.score_lower == pytest.approx(score.score)


def test_the_lower_bound_never_leaves_the_declared_range() -> None:
    score = summarise(np.array([[-50.0], [50.0]]), CALIBRATION)
    assert score.score_lower == CALIBRATION.low


@pytest.mark.parametrize(
    ("lower", "status", "expected"),
    [
        (100.0, "trained", "pass"),
        (60.0, "trained", "pass"),
        (59.999, "trained", "review"),
        (40.0, "trained", "review"),
        (39.999, "trained", "reject"),
        (0.0, "trained", "reject"),
        (99.0, "imported", "pass"),
        (10.0, "imported", "reject"),
        (99.0, "untrained", "review"),
        (1.0, "untrained", "review"),
        (float("nan"), "trained", "review"),
        (None, "trained", "review"),
        (None, "untrained", "review"),
    ],
)
def test_verdicts(lower: float | None, status: str, expected: str) -> None:
    assert verdict(lower, checkpoint_status=status, thresholds=Thresholds()) == expected


@pytest.mark.parametrize("lower", [10.0, 99.0])
def test_a_picture_of_which_there_is_doubt_is_for_review(lower: float) -> None:
    judge = functools.partial(verdict, lower, checkpoint_status="trained", thresholds=Thresholds())
    sound, doubted = ["interlaced: 3 of 9"], ["interlaced: 3 of 9", "fallback: pyav failed, it crashed"]
    assert judge(warnings=sound) == judge(warnings=None) == judge() != "review"
    assert judge(warnings=doubted) == "review"


@pytest.mark.parametrize(
    ("warning", "is_doubted"),
    [
        ("damaged_frames: 51 of 248 sampled frames", True),
        ("damaged_frames: 5 of 248 sampled frames", True),
        ("damaged_frames: 4 of 248 sampled frames", False),
        ("stream_short: 51 of 248 declared frames are present", True),
        ("stream_short: 246 of 248 declared frames are present", False),
        ("stream_short: 1.71 of 2.00 declared seconds are present", True),
        ("damaged_frames: some", True),
        ("stream_short: 0 of 0 declared frames are present", True),
        ("interlaced: 248 of 248 sampled frames", False),
    ],
)
def test_damage_past_its_share_is_for_review(warning: str, is_doubted: bool) -> None:
    judged = verdict(99.0, checkpoint_status="trained", thresholds=Thresholds(), warnings=["odd", warning])
    assert judged == ("review" if is_doubted else "pass")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pass_at": 101}, "pass_at must be in 0..100, got 101"),
        ({"pass_at": -1}, "pass_at must be in 0..100, got -1"),
        ({"reject_below": 61}, "reject_below must be <= pass_at, got 61 above 60"),
        ({"reject_below": -1}, "reject_below must be in 0..100, got -1"),
        ({"pass_at": float("nan")}, "pass_at must be in 0..100, got nan"),
    ],
)
def test_thresholds_out_of_order_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Thresholds(**settings)


def test_equal_thresholds_leave_nothing_between() -> None:
    thresholds = Thresholds(pass_at=50, reject_below=50)
    judged = [verdict(x, checkpoint_status="trained", thresholds=thresholds) for x in (49.9, 50.0)]
    assert judged == ["reject", "pass"]
