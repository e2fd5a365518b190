"""Defences as plug-ins: each does what its name says, to any model, and none hides a gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from media import bundled_clip
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from securevqa_core import weights, zoo
from securevqa_core.attacks.codecs import through_h264, through_jpeg, through_rendition
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.defences import certified_range, defended, noise_sd
from securevqa_core.errors import ConfigurationError
from securevqa_core.randomness import fresh_draws
from securevqa_core.rendition import Rendition
from securevqa_core.suspicion import card_note, clean_drops
from securevqa_core.types import SamplingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL, BASELINE = "secure-vqa-compact", "nss-svr"
DRAWS = fresh_draws(np.random.default_rng(1), 2)


SMALL = {"patch_side": 16, "num_clips": 2, "clip_frames": 2, "num_temporal_fragments": 1}
SMALL_INTER = {"num_segments": 2, "segment_frames": 4, "segment_side": 28}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return weights.build(weights.default(MODEL))


@pytest.fixture(scope="module")
def clip() -> NDArray[np.uint8]:
    return read_frames(bundled_clip("bikes"), FramesRequest(max_frames=8, max_height=120)).pixels


def _around(model: torch.nn.Module, *defences: str, name: str = MODEL) -> FrameScorer:
    """Return a model that looks at little, behind defences."""
    return defended(model, _sampling(name), defences)


def _sampling(name: str = MODEL) -> SamplingConfig:
    return replace(zoo.spec(name).sampling, **SMALL, **(SMALL_INTER if name == MODEL else {}))


def _float(clip: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(clip.astype(np.float32))


def test_without_defences_a_model_scores_as_it_is(model: torch.nn.Module, clip: NDArray[np.uint8]) -> None:
    plain = FrameScorer(model, _sampling())
    assert np.array_equal(_around(model).measure(clip, DRAWS), plain.measure(clip, DRAWS))


def test_only_without_grid_sampling_and_guardian_map_are_all_draws_alike(
    model: torch.nn.Module, clip: NDArray[np.uint8]
) -> None:
    for defences, is_random in (
        ((), True),
        (("grid=fixed",), True),
        (("guardian=0",), True),
        (("grid=fixed", "guardian=0"), False),
        (("grid=fixed", "guardian=0", "noise=1"), True),
    ):
        scorer = _around(model, *defences)
        first, second = scorer.measure(clip, DRAWS).mean(axis=1)
        assert scorer.is_random == is_random
        assert (first != second) == is_random


def test_without_temporal_information_the_inter_branch_is_not_asked(
    model: torch.nn.Module, clip: NDArray[np.uint8]
) -> None:
    """Of 16 frames two clips look at two each; two segments look at four each."""
    longer = _float(np.concatenate([clip, clip]))
    seen = {}
    for value in ("on", "off"):
        _, slope = _around(model, f"temporal={value}").gradient(longer, DRAWS[:1])
        seen[value] = int((slope != 0).any(dim=3).any(dim=2).any(dim=1).sum())
    assert seen["off"] == 4
    assert seen["on"] >= 8


def test_the_amplitude_of_the_guardian_map_is_set_for_a_model_that_has_none(clip: NDArray[np.uint8]) -> None:
    baseline = weights.build(weights.default(BASELINE))
    scorer = _around(baseline, "guardian=3", name=BASELINE)
    plain = _around(baseline, name=BASELINE)
    frames = _float(np.clip(clip, 8, 247))
    change = scorer.fragments(frames, DRAWS[0]) - plain.fragments(frames, DRAWS[0])
    assert (change.abs() == 3).all()


@pytest.mark.parametrize("above", [-2.0, 30.0])
def test_a_cap_holds_a_score_as_its_rendition_lets_it(
    above: float, model: torch.nn.Module, clip: NDArray[np.uint8]
) -> None:
    """Clean videos fall so far that the cap is so many points above the score."""
    known, free, delivered = weights.default(MODEL), _around(model), _around(model, "delivered=x264:28")
    scale = known.calibration
    raw, encoded = (one.measure(clip, DRAWS) for one in (free, delivered))
    score, rendition_score = (scale.to_score(float(one.mean())) for one in (raw, encoded))
    clean = clean_drops(known.card, Rendition.parse("x264:28"), num_draws=None, name=MODEL)
    usual = tuple(one + above + score - clean.cap(rendition_score) for one in clean.usual)
    card = known.card | card_note({}, replace(clean, usual=usual))
    held = defended(model, _sampling(), ["cap=x264:28"], checkpoint=replace(known, card=card))
    found = held.measure(clip, DRAWS)
    assert scale.to_score(float(found.mean())) == pytest.approx(score + min(above, 0), abs=0.01)
    assert np.ptp(found - raw) < 1e-6
    slope, expected = (
        one.gradient(_float(clip), DRAWS[:1])[1].flatten() for one in (held, free if above > 0 else delivered)
    )
    assert torch.cosine_similarity(slope, expected, dim=0) > 0.9999


def test_a_cap_without_clean_videos_is_refused(model: torch.nn.Module) -> None:
    with pytest.raises(ConfigurationError, match=r"cap needs a checkpoint .*, got none"):
        _around(model, "cap=x264:28")
    with pytest.raises(ConfigurationError, match=r"cap needs a checkpoint .* as av1:35, only of x264:23"):
        defended(model, _sampling(), ["cap=av1:35"], checkpoint=weights.default(MODEL))


def test_cells_make_squares_of_the_guardian_map(model: torch.nn.Module) -> None:
    """Of a grey clip a fragment shows the map alone."""
    grey = torch.full((8, 120, 160, 3), 128.0)
    plain, alone = (_around(model, *more).fragments(grey, DRAWS[0]) for more in ((), ("cells=1",)))
    assert torch.equal(plain, alone)
    seen = _around(model, "guardian=2", "cells=5").fragments(grey, DRAWS[0])
    assert set(seen.unique().tolist()) == {126.0, 130.0}
    corners = seen[..., ::5, ::5, :]
    whole = corners.repeat_interleave(5, dim=-3).repeat_interleave(5, dim=-2)
    height, width = seen.shape[-3:-1]
    assert torch.equal(whole[..., :height, :width, :], seen)
    assert 0.45 < (corners == 130).float().mean() < 0.55


def test_spliced_frames_are_random_patches_of_every_frame_at_the_same_places(
    clip: NDArray[np.uint8],
) -> None:
    whole = SamplingConfig(
        num_clips=1, clip_frames=8, frame_interval=1, grid_size=1, patch_side=64, num_segments=0
    )
    scorer = defended(torch.nn.Identity().eval(), replace(whole, guardian_amplitude=0), ["splice=2"])
    assert scorer.is_random
    places = np.random.default_rng(0).integers(0, 256, (8, 120, 90))  # no patch is there twice
    frames = _float(np.stack([places] * 3, axis=3))
    (transform,) = scorer._transforms
    first, second = (transform.apply(frames, draw) for draw in DRAWS)
    assert first.shape == (8, 64, 64, 3)
    assert not torch.equal(first, second)
    for spliced in (first, second):
        for rows, columns in ((slice(0, 32), slice(0, 32)), (slice(32, 64), slice(32, 64))):
            patch = spliced[:, rows, columns, 0].numpy()
            found = [
                (y, x)
                for y in range(120 - 31)
                for x in range(90 - 31)
                if np.array_equal(places[:, y : y + 32, x : x + 32], patch)
            ]
            assert len(found) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast-vqa-m", "dover"])
def test_any_model_of_the_zoo_is_a_target(name: str, clip: NDArray[np.uint8]) -> None:
    """With the weights that it starts from, looking at four frames."""
    sampling = zoo.spec(name).sampling
    inter = {"num_segments": 1, "segment_frames": 4, "segment_side": 64} if sampling.num_segments else {}
    little = replace(sampling, num_clips=1, clip_frames=4, patch_side=32, **inter)
    score, slope = defended(zoo.build(name), little, ["guardian=2"]).gradient(_float(clip), DRAWS[:1])
    assert np.isfinite(score)
    assert (slope != 0).any()


@pytest.mark.parametrize(
    ("defence", "expected"),
    [
        ("jpeg=30", lambda clip: through_jpeg(clip, quality=30)),
        ("h264=35", lambda clip: through_h264(clip, crf=35)),
        ("delivered=x265:35", lambda clip: through_rendition(clip, Rendition.parse("x265:35"))),
    ],
)
def test_a_codec_as_a_defence_is_that_codec_before_the_model(
    defence: str, expected, model: torch.nn.Module, clip: NDArray[np.uint8]
) -> None:
    scored = _around(model, defence).measure(clip, DRAWS)
    assert np.array_equal(scored, _around(model).measure(expected(clip), DRAWS))
    assert not np.array_equal(scored, _around(model).measure(clip, DRAWS))


@pytest.mark.parametrize(
    "defence",
    ["resize=2", "jpeg=60", "h264=30", "delivered=x264:30", "noise=4", "guardian=2", "grid=fixed"],
)
def test_an_attackers_gradient_passes_through_every_defence(
    defence: str, model: torch.nn.Module, clip: NDArray[np.uint8]
) -> None:
    score, slope = _around(model, defence).gradient(_float(clip), DRAWS[:1])
    assert np.isfinite(score)
    assert torch.isfinite(slope).all()
    assert (slope != 0).float().mean() > 0.5


def test_defences_are_applied_in_order(model: torch.nn.Module, clip: NDArray[np.uint8]) -> None:
    one, other = (
        _around(model, *order).measure(clip, DRAWS)
        for order in (("resize=3", "jpeg=20"), ("jpeg=20", "resize=3"))
    )
    assert not np.array_equal(one, other)


def test_a_resized_video_has_lost_its_detail_and_kept_its_size(
    model: torch.nn.Module, clip: NDArray[np.uint8]
) -> None:
    sharp = _around(model, "guardian=0")
    soft = _around(model, "resize=4", "guardian=0")
    assert soft.measure(clip, DRAWS).mean() < sharp.measure(clip, DRAWS).mean()


def test_draws_are_pooled_as_asked(model: torch.nn.Module) -> None:
    draws = np.array([1.0, 2.0, 9.0])
    assert _around(model).pool(draws) == 4.0
    assert _around(model, "median").pool(draws) == 2.0


@pytest.mark.parametrize(
    ("num_draws", "radius", "num_scorings"), [(16, 0.01, 1), (32, 6.0, 1), (64, 0.01, 20)]
)
def test_a_score_of_as_many_fresh_draws_stays_in_its_certified_range(
    num_draws: int, radius: float, num_scorings: int
) -> None:
    """The score is linear in the noise, which is the worst there can be; the best scoring is kept."""
    rng = np.random.default_rng(0)
    sd, trials = 8.0, 1500
    ranks = certified_range(np.arange(num_draws), noise_sd=sd, radius_l2=radius, num_scorings=num_scorings)
    assert None not in ranks
    low, high = np.sort(rng.normal(0, sd, (trials, num_draws)))[:, np.array(ranks, dtype=int)].T
    again = np.median(rng.normal(0, sd, (trials, num_scorings, num_draws)), axis=2)
    assert np.mean(again.min(axis=1) - radius < low) < 0.05
    assert np.mean(again.max(axis=1) + radius > high) < 0.05


def test_a_certificate_is_tight_for_a_linear_score_and_many_draws() -> None:
    """Of a linear function the worst shift of the median is known: its slope times the radius."""
    sd, slope, radius = 2.0, 3.0, 1.5
    scores = 50 + slope * stats.norm.ppf(np.arange(0.5, 20_000) / 20_000) * sd
    low, high = certified_range(scores, noise_sd=sd, radius_l2=radius)
    assert low == pytest.approx(50 - slope * radius, abs=0.2)
    assert high == pytest.approx(50 + slope * radius, abs=0.2)


@pytest.mark.parametrize("num_draws", [9, 16, 33])
def test_without_a_perturbation_the_range_is_that_of_ranks_among_two_samples(num_draws: int) -> None:
    """How many of one sample lie below the k-th of another is counted, with no distribution at all."""

    def risk(rank: int) -> float:
        needed = (num_draws + 1) // 2
        ways = [
            math.comb(below + rank - 1, below) * math.comb(2 * num_draws - rank - below, num_draws - below)
            for below in range(needed, num_draws + 1)
        ]
        return sum(ways) / math.comb(2 * num_draws, num_draws)

    last = max(rank for rank in range(1, num_draws) if risk(rank) <= 0.05)
    ranks = certified_range(np.arange(1, num_draws + 1), noise_sd=4.0, radius_l2=0.0)
    assert ranks == (last, num_draws + 1 - last)


def test_few_draws_certify_nothing_beyond_a_small_radius() -> None:
    scores = np.arange(16.0)
    assert certified_range(scores, noise_sd=8.0, radius_l2=5.7) == (0.0, 15.0)
    assert certified_range(scores, noise_sd=8.0, radius_l2=5.8) == (None, None)
    assert certified_range(scores, noise_sd=8.0, radius_l2=1.0, num_scorings=1000) == (None, None)
    assert certified_range(scores[:4], noise_sd=8.0, radius_l2=0.0) == (None, None)


def test_a_certificate_is_for_noise_that_comes_first_and_a_median() -> None:
    assert noise_sd(["noise=4", "jpeg=75", "median"]) == 4.0
    for others in (["jpeg=75", "noise=4", "median"], ["noise=4"], ["median"], []):
        assert noise_sd(others) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": []}, "number of scores must be in .*, got 0"),
        ({"noise_sd": 0.0}, "noise_sd must be in .*, got 0"),
        ({"radius_l2": -1.0}, "radius_l2 must be in .*, got -1"),
        ({"num_scorings": 0}, "num_scorings must be in .*, got 0"),
        ({"confidence": 1.0}, "confidence must be in .*, got 1"),
    ],
)
def test_certificates_of_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    arguments = {"scores": [1.0], "noise_sd": 1.0, "radius_l2": 1.0} | settings
    with pytest.raises(ConfigurationError, match=message):
        certified_range(arguments.pop("scores"), **arguments)


@pytest.mark.parametrize(
    ("defence", "message"),
    [
        ("magic=1", "defence must be one of grid=VALUE, .*median, got 'magic=1'"),
        ("guardian", "defence must be one of .*, got 'guardian'"),
        ("median=3", "defence must be one of .*, got 'median=3'"),
        ("grid=some", "grid must be random or fixed, got 'some'"),
        ("temporal=maybe", "temporal must be on or off, got 'maybe'"),
        ("guardian=200", r"guardian must be in 0\.\.127, got 200"),
        ("guardian=1.5", "guardian must be a whole number, got '1.5'"),
        ("cells=0", r"cells must be in 1\.\.64, got 0"),
        ("noise=much", "noise must be a number, got 'much'"),
        ("noise=300", r"noise must be in 0\.\.255, got 300"),
        ("resize=0", r"resize must be in 1\.\.16, got 0"),
        ("jpeg=0", r"jpeg must be in 1\.\.100, got 0"),
        ("h264=60", r"h264 must be in 0\.\.51, got 60"),
        ("delivered=h264:23", "as_delivered must be one of x264:0..51, .*, got 'h264:23'"),
        ("delivered=x264:60", r"as_delivered must be one of x264:0\.\.51, .*, got 'x264:60'"),
    ],
)
def test_defences_that_there_are_not_are_refused(defence: str, message: str, model: torch.nn.Module) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _around(model, defence)


def test_temporal_information_cannot_be_taken_from_a_model_that_has_none() -> None:
    baseline = weights.build(weights.default(BASELINE))
    with pytest.raises(ConfigurationError, match="statistics of motion, got NoneType"):
        _around(baseline, "temporal=off", name=BASELINE)
