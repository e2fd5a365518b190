"""Suspicion keeps its false-alarm rate on clean videos, rises with the fall, and says why in words.

A cap lowers as many clean videos as is said, and no attack scores above it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from securevqa_core import suspicion, weights
from securevqa_core.decoding.extract import DecodeRequest
from securevqa_core.decoding.in_memory import sample_frames
from securevqa_core.errors import CheckpointError, ConfigurationError, DecodeError, UndefinedError
from securevqa_core.randomness import Key
from securevqa_core.rendition import Rendition
from securevqa_core.scorer import Scorer
from securevqa_core.suspicion import MIN_CLEAN, CleanDrops, card_note, clean_drops, fit_clean_drops

X264 = Rendition.parse("x264:23")
KEY = Key.public(7)


def clean_videos(num: int, *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores, and drops to renditions that grow with these and scatter more where they are high."""
    rng = np.random.default_rng(seed)
    left = rng.uniform(5, 95, num)
    drops = 0.05 * left + (0.5 + left / 50) * rng.standard_t(5, num)
    return left + drops, drops


def fitted(num: int = 600, *, seed: int = 0, **changes: Any) -> CleanDrops:
    return replace(fit_clean_drops(*clean_videos(num, seed=seed), rendition=X264, num_draws=2), **changes)


def suspicions(clean: CleanDrops, scores: NDArray[np.float64], drops: NDArray[np.float64]) -> Any:
    return np.array(
        [clean.judged(one, one - drop).suspicion for one, drop in zip(scores, drops, strict=True)]
    )


def test_of_clean_videos_as_few_are_suspected_as_is_said() -> None:
    """Over fits to as many clean videos as a small set has; each judges others."""
    rates = {share: [] for share in (0.5, 0.1, 0.05, 0.01)}
    others = clean_videos(2000, seed=10_000)
    for seed in range(40):
        found = suspicions(fitted(400, seed=seed), *others)
        for share, of_fits in rates.items():
            of_fits.append((found >= 1 - share).mean())
    for share, of_fits in rates.items():
        # Where bins are of few videos, they follow those: so much more than the share it may come to.
        assert share / 3 <= np.mean(of_fits) <= 1.25 * share, share


def test_at_one_score_it_is_the_share_that_counting_finds() -> None:
    """Of the clean videos and the one that is judged, that fall further; less well between limits."""
    drops = np.random.default_rng(1).normal(2, 1, MIN_CLEAN)
    clean = fit_clean_drops(50 + drops, drops, rendition=X264, num_draws=2)
    order = np.sort(drops)[::-1]
    for place in (1, 2, 4, 10, 20, 50, 100):
        found = clean.judged(50 + order[place - 1], 50).suspicion
        assert found is not None
        share = place / (MIN_CLEAN + 1)
        assert 0.95 * share <= 1 - found < 1.4 * share + 0.01, place
    highest = clean.judged(150, 50).suspicion
    assert highest == pytest.approx(1 - 1 / (MIN_CLEAN + 1))


def test_suspicion_rises_with_the_fall_and_stays_within_bounds() -> None:
    clean = fitted()
    for score in (0.0, 30.0, 77.0, 100.0):
        found = [clean.judged(score + drop, score).suspicion for drop in np.linspace(-60, 60, 601)]
        assert all(before <= after for before, after in itertools.pairwise(found))
        assert 0 < found[0] <= 0.02
        assert 0.99 <= found[-1] < 1


def test_what_is_usual_of_a_good_video_is_not_of_a_poor_one() -> None:
    clean = fitted()
    low, high = clean.judged(10, 4), clean.judged(90, 84)
    assert low.suspicion is not None
    assert high.suspicion is not None
    assert low.suspicion > 0.99
    assert high.suspicion < 0.9


def test_the_limit_that_is_said_is_where_suspicion_reaches_it() -> None:
    clean = fitted(20_000)
    for score in (20.0, 60.0):
        limit = clean.limit(score)
        scatter = 0.5 + score / 50
        assert limit == pytest.approx(0.05 * score + scatter * stats.t(5).ppf(0.99), abs=scatter)
        assert clean.judged(score + limit, score).suspicion == pytest.approx(0.99)


def test_reasons_are_in_words_with_the_numbers_that_were_found() -> None:
    clean = fitted()
    noticed = clean.judged(80, 65.84)
    assert noticed.suspicion_reasons == (
        "falls by 14.2 points when it is encoded as x264:23; of clean videos with such a rendition 1 in 100 "
        f"falls by more than {clean.limit(65.84):.1f}",
    )
    assert noticed.rendition_score == 65.84
    (rises,) = clean.judged(50, 51.26).suspicion_reasons or ()
    assert rises.startswith("rises by 1.3 points ")


def test_a_cap_lowers_as_few_clean_videos_as_is_said() -> None:
    scores, drops = clean_videos(2000, seed=10_000)
    for seed in range(5):
        caps = np.array([fitted(400, seed=seed).cap(one) for one in scores - drops])
        assert (caps < scores).mean() == pytest.approx(0.1, abs=0.03)


def test_a_cap_rises_with_the_rendition_and_stays_on_the_scale() -> None:
    caps = [fitted().cap(one) for one in np.linspace(0, 100, 201)]
    assert all(before < after for before, after in itertools.pairwise(caps[:-20]))
    assert caps[0] >= 0
    assert caps[-1] == 100


def test_what_is_held_says_so() -> None:
    clean = fitted()
    free, held = clean.judged(60, 60, caps=True), clean.judged(90, 60, caps=True)
    assert (len(free.suspicion_reasons or ()), free.upload_score) == (1, 60)
    assert (held.suspicion_reasons or ())[1] == (
        f"scores 90.0 and is held to {clean.cap(60):.1f}, which 1 in 10 clean videos with such a rendition "
        "exceeds"
    )
    assert held.upload_score == 90


def test_what_fixes_no_fit_is_refused() -> None:
    few, not_finite = np.zeros(MIN_CLEAN - 1), np.full(MIN_CLEAN, np.nan)
    with pytest.raises(UndefinedError, match=f"at least {MIN_CLEAN} clean videos, got {MIN_CLEAN - 1}"):
        fit_clean_drops(few, few, rendition=X264, num_draws=1)
    with pytest.raises(UndefinedError, match="must be finite, got nan"):
        fit_clean_drops(np.zeros(MIN_CLEAN), not_finite, rendition=X264, num_draws=1)


def test_a_fit_outlives_json_and_stands_beside_those_of_other_renditions() -> None:
    one, other = fitted(), fitted(rendition="av1:35")
    card: dict[str, object] = card_note({"data": "x"}, one)
    card = json.loads(json.dumps(card_note(card, other)))
    assert clean_drops(card, X264, num_draws=2, name="w") == one
    assert clean_drops(card, Rendition.parse("av1:35"), num_draws=9, name="w") == other


def test_what_a_checkpoint_does_not_know_is_said() -> None:
    card = card_note({}, fitted())
    with pytest.raises(
        ConfigurationError, match="w does not know how far clean videos fall as x264:23, of none"
    ):
        clean_drops({}, X264, num_draws=4, name="w")
    with pytest.raises(ConfigurationError, match="as vp9:33, only of x264:23"):
        clean_drops(card, Rendition.parse("vp9:33"), num_draws=4, name="w")
    with pytest.raises(ConfigurationError, match=r"at least 2 draws, .* got 1"):
        clean_drops(card, X264, num_draws=1, name="w")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spread": [0.0]}, "of one length"),
        ({"rendition_scores": [50.0], "usual": [1.0], "spread": [0.0]}, "spread must be > 0"),
        (
            {"rendition_scores": [50.0], "usual": [float("inf")], "spread": [1.0]},
            "usual must be finite, got .*inf",
        ),
        (
            {"rendition_scores": [50.0, 40.0], "usual": [1.0, 1.0], "spread": [1.0, 1.0]},
            "rendition_scores must be in order",
        ),
        ({"shares": [0.5, 0.6], "limits": [1.0, 2.0]}, "shares must be in order"),
        ({"shares": [1.5], "limits": [1.0]}, "shares in 0..1"),
        ({"limits": ["far"]}, "far"),
        ({"rendition": "copy:1"}, "'copy:1'"),
        ({"num_draws": "four"}, "num_draws must be a number, got 'four'"),
        ({"more": 1}, "got .*more"),
    ],
)
def test_a_card_that_says_nonsense_is_refused(changes: dict[str, Any], said: str) -> None:
    card = card_note({}, fitted())
    card["suspicion"] = {"x264:23": fitted().as_dict() | changes}
    with pytest.raises(CheckpointError, match=f"w has a suspicion that is not valid: .*{said}"):
        clean_drops(card, X264, num_draws=4, name="w")


@pytest.fixture(scope="module")
def noticing() -> weights.Checkpoint:
    """The default, which takes the clean videos of this file for its own."""
    default = weights.find()
    return replace(default, card=default.card | card_note({}, fitted()))


@pytest.fixture(scope="module")
def scorers(noticing: weights.Checkpoint) -> Iterator[tuple[Scorer, Scorer, Scorer]]:
    """The upload alone, its rendition alone, and both."""
    with (
        Scorer(noticing, key=KEY, draws=2) as upload,
        Scorer(noticing, key=KEY, draws=2, as_delivered="x264:23") as rendition,
        Scorer(noticing, key=KEY, draws=2, notice="x264:23") as both,
    ):
        yield upload, rendition, both


@pytest.mark.parametrize("name", ["bikes_h264.mp4", "carphone_vp9.webm", "one_frame.mp4"])
def test_the_score_stays_to_the_last_bit_and_that_of_the_rendition_is_as_delivered(
    name: str, videos: dict[str, Path], scorers: tuple[Scorer, Scorer, Scorer]
) -> None:
    upload, rendition, both = (one.score(videos[name]) for one in scorers)
    for column in ("score", "score_sd", "score_lower", "raw_score", "clips", "warnings", "video"):
        assert getattr(both, column) == getattr(upload, column), column
    assert both.rendition_score == rendition.score != both.score
    assert upload.score is not None
    assert rendition.score is not None
    expected = fitted().judged(upload.score, rendition.score)
    assert (both.suspicion, both.suspicion_reasons) == (expected.suspicion, expected.suspicion_reasons)
    assert (upload.suspicion, upload.suspicion_reasons, upload.rendition_score) == (None, None, None)


def test_frames_in_memory_are_noticed_too(scorers: tuple[Scorer, Scorer, Scorer]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 96, 128, 3), dtype=np.uint8)
    upload, rendition, both = (one.score(frames, fps=25) for one in scorers)
    assert (both.score, both.rendition_score) == (upload.score, rendition.score)
    assert both.suspicion is not None


def failing(frames: Any, fps: Any, request: DecodeRequest, sink: Any) -> Any:
    """Sample frames, and make no rendition of them."""
    if request.rendition is not None:
        raise DecodeError("rendition_failed", "x264:23 cannot be made: no such preset")
    return sample_frames(frames, fps, request, sink)


def test_without_a_rendition_the_score_stays_and_suspicion_is_unknown(
    scorers: tuple[Scorer, Scorer, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securevqa_core.scorer.sample_frames", failing)
    frames = np.zeros((4, 64, 64, 3), dtype=np.uint8)
    upload, _, both = scorers
    expected, found = upload.score(frames, fps=25), both.score(frames, fps=25)
    assert (found.score, found.failure) == (expected.score, None)
    assert (found.suspicion, found.rendition_score) == (None, None)
    assert found.suspicion_reasons == (
        "there is no rendition to compare with, rendition_failed: x264:23 cannot be made: no such preset",
    )


@pytest.mark.parametrize("more", [-30.0, 30.0])
def test_a_score_is_held_by_its_rendition(
    more: float, noticing: weights.Checkpoint, videos: dict[str, Path], scorers: Any
) -> None:
    """Of clean videos that fall by so much more than others: it is lowered, or stays."""
    known = fitted()
    usual = tuple(one + more for one in known.usual)
    card = noticing.card | card_note({}, replace(known, usual=usual))
    path = videos["bikes_h264.mp4"]
    upload, rendition, both = (one.score(path) for one in scorers)
    with Scorer(replace(noticing, card=card), key=KEY, draws=2, cap="x264:23") as capped:
        found = capped.score(path)
    assert rendition.score is not None
    cap = replace(known, usual=usual).cap(rendition.score)
    assert upload.score is not None
    assert (cap < upload.score) == (more < 0)
    assert found.score == pytest.approx(min(upload.score, cap), abs=1e-9)
    assert found.score - (found.score_lower or 0) == pytest.approx(upload.score - (upload.score_lower or 0))
    assert (found.upload_score, found.rendition_score) == (upload.score, rendition.score)
    for column in ("raw_score", "score_sd", "clips", "warnings", "video"):
        assert getattr(found, column) == getattr(both, column), column
    assert both.upload_score is None


def test_without_the_rendition_that_holds_it_there_is_no_score(
    noticing: weights.Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("securevqa_core.scorer.sample_frames", failing)
    with Scorer(noticing, key=KEY, draws=2, cap="x264:23") as capped:
        found = capped.score(np.zeros((4, 64, 64, 3), dtype=np.uint8), fps=25)
    assert (found.score, found.failure and found.failure.code) == (None, "rendition_failed")


def test_a_call_that_can_notice_nothing_is_refused(noticing: weights.Checkpoint) -> None:
    plain = replace(noticing, card={})
    for changes, said in (
        ({"checkpoint": plain, "notice": "x264:23"}, "does not know how far clean videos fall"),
        ({"notice": "x264:24"}, "as x264:24, only of x264:23"),
        ({"notice": "x264"}, "notice must be one of .*, got 'x264'"),
        (
            {"notice": "x264:23", "as_delivered": "x264:23"},
            "exclude each other, .* got 'x264:23' and 'x264:23'",
        ),
        ({"cap": "x264:23", "notice": "x264:23"}, "notice and cap exclude each other"),
        ({"cap": "x264:24"}, "cap needs .* as x264:24, only of x264:23"),
        ({"cap": "none"}, "cap must be one of .*, got 'none'"),
        ({"notice": "x264:23", "draws": 1}, "at least 2 draws"),
    ):
        arguments: dict[str, Any] = {"checkpoint": noticing, "key": KEY} | changes
        with pytest.raises(ConfigurationError, match=said):
            Scorer(**arguments)


def test_it_is_kept_with_the_weights_and_the_scale_it_was_fitted_to_alone(
    noticing: weights.Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    weights.rewrite(path, noticing, additions={"notes": "x"})
    assert weights.read(path).card["suspicion"] == noticing.card["suspicion"]
    weights.rewrite(path, noticing, additions={}, calibration=replace(noticing.calibration, scale=9.0))
    for other in (
        weights.read(path),
        weights.bounded(noticing, intra=3),
        weights.mixed(noticing, noticing, share=0.5),
    ):
        assert "'x264:23'" not in str(other.card)


def test_everything_public_exists() -> None:
    assert all(hasattr(suspicion, name) for name in suspicion.__all__)
