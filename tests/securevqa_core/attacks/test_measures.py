"""What an attack did: the paper's figure and ours, against arithmetic done another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from securevqa_core.attacks.measures import distortion, robustness, score_change, ssim
from securevqa_core.bootstrap import resample
from securevqa_core.errors import UndefinedError
from securevqa_core.scoring import Thresholds

BEFORE, AFTER = np.array([30.0, 50.0, 70.0, 90.0]), np.array([65.0, 55.0, 60.0, 91.0])


def _resamples(count: int):
    return resample(count, rng=np.random.default_rng(0), num_resamples=200)


def test_r_is_the_mean_log_of_wanted_by_had() -> None:
    by_hand = (math.log(70 / 35) + math.log(50 / 5) + math.log(30 / 10) + math.log(10 / 1)) / 4
    assert robustness(BEFORE, AFTER, 100.0) == pytest.approx(by_hand)
    in_decades = robustness(BEFORE, AFTER, 100.0, log=math.log10)
    assert in_decades == pytest.approx(by_hand / math.log(10))


def test_r_is_undefined_where_a_score_stood_still_or_was_the_target() -> None:
    with pytest.raises(UndefinedError, match="score 50 of row 1 is not changed"):
        robustness([30, 50], [31, 50], 100)
    with pytest.raises(UndefinedError, match="score 50 of row 0 is not targeted"):
        robustness([50], [60], 50)
    with pytest.raises(UndefinedError, match="at least 1 score, got 0"):
        robustness([], [], 100)


def test_every_video_may_have_a_target_of_its_own() -> None:
    targets = np.array([100.0, 100.0, 0.0, 0.0])
    found = score_change(BEFORE, AFTER, target=targets, resamples=_resamples(4))
    by_hand = (math.log(70 / 35) + math.log(50 / 5) + math.log(70 / 10) + math.log(90 / 1)) / 4
    assert found.r.value == pytest.approx(by_hand)


def test_inflation_and_deflation_are_told_apart() -> None:
    found = score_change(BEFORE, AFTER, target=100.0, resamples=_resamples(4))
    assert found.signed.value == pytest.approx((35 + 5 - 10 + 1) / 4)
    assert found.absolute.value == pytest.approx((35 + 5 + 10 + 1) / 4)
    assert found.inflation.value == pytest.approx((35 + 5 + 1) / 4)
    assert found.deflation.value == pytest.approx(10 / 4)
    assert found.flipped_to_pass.value == 0.5  # of 30 and 50, which did not pass at 60
    assert found.rejected_to_pass.value == 1.0  # of 30, which was rejected below 40
    assert found.flipped.value == 0.25  # 30 became a pass; 50, 70 and 90 are judged as before
    assert found.signed.low < found.signed.value < found.signed.high


def test_a_share_of_flips_is_undefined_where_all_passed_before() -> None:
    found = score_change([80, 90], [10, 95], target=0, resamples=_resamples(2), thresholds=Thresholds())
    assert found.flipped_to_pass.value is None
    assert found.flipped_to_pass.undefined == "a share of flips needs a score below 60, got none"


def test_distortion_is_measured_in_levels_and_decibels(clip: NDArray[np.uint8]) -> None:
    base = np.clip(clip[:2], 10, 245)
    changed = base.copy()
    changed[0, ::2] += 4
    found = distortion(base, changed)
    assert (found.l2, found.linf) == (pytest.approx(2.0), 4.0)
    assert found.psnr == pytest.approx(20 * math.log10(255 / 2))
    same = distortion(base, base)
    assert (same.l2, same.linf, same.psnr, same.ssim) == (0.0, 0.0, None, pytest.approx(1.0))


def test_distortion_of_other_shapes_is_refused(clip: NDArray[np.uint8]) -> None:
    with pytest.raises(UndefinedError, match=r"got \(8, .* and \(7, "):
        distortion(clip, clip[:7])


def test_ssim_is_the_published_formula_window_by_window(clip: NDArray[np.uint8]) -> None:
    a = clip[0, :24, :24]
    b = np.clip(a.astype(int) + np.random.default_rng(0).integers(-20, 21, a.shape), 0, 255).astype(np.uint8)
    x, y = (one @ [0.299, 0.587, 0.114] for one in (a, b))
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    found = []
    for top in range(24 - 10):
        for left in range(24 - 10):
            p, q = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            c1, c2 = 2.55**2, 7.65**2
            found.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(found), rel=1e-9)
