"""The zoo builds each model the same way every time and leaves the caller's random state alone."""

from __future__ import annotations

import pytest
import torch

from securevqa_core import zoo
from securevqa_core.calibration import Calibration
from securevqa_core.errors import ConfigurationError
from securevqa_core.model_names import MODELS

NAMES = (
    "secure-vqa-compact",
    "secure-vqa-compact-concatenation",
    "secure-vqa-compact-guardian-2",
    "secure-vqa-compact-guardian-4",
    "secure-vqa-compact-guardian-8",
    "secure-vqa-compact-intra",
    "secure-vqa",
    "secure-vqa-released",
    "fast-vqa",
    "fast-vqa-m",
    "faster-vqa",
)


def test_names_are_those_documented() -> None:
    assert set(NAMES) <= set(zoo.names())
    assert zoo.DEFAULT_MODEL == "secure-vqa-compact"


@pytest.mark.parametrize("name", NAMES)
def test_model_is_float32_in_eval_mode_and_says_whether_it_has_an_inter_branch(name: str) -> None:
    model, spec = zoo.build(name), zoo.spec(name)
    assert spec.name == name
    assert spec.description
    assert not any(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.device.type for p in model.state_dict().values()} == {"cpu"}
    assert model.has_inter == (spec.sampling.num_segments > 0)
    assert spec.calibration == Calibration(midpoint=0.0, scale=1.0)


def test_weights_follow_the_seed_alone() -> None:
    first, again, other = (zoo.build("secure-vqa-compact", seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    differing = {key for key in first if not torch.equal(first[key], other[key])}
    assert any(key.startswith("fragments_backbone.") for key in differing)
    assert any(key.startswith("inter_backbone.") for key in differing)
    assert any(key.startswith("vqa_head.") for key in differing)


def test_global_random_state_is_untouched() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    zoo.build("secure-vqa-compact", seed=5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
def test_head_gives_one_score_for_each_temporal_position(name: str) -> None:
    model, spec = zoo.build(name), zoo.spec(name)
    positions = spec.sampling.clip_frames // 2
    f = torch.zeros(2, spec.swin.out_dim, positions, 7, 7)
    with torch.inference_mode():
        scores = model.head(f, torch.zeros(2, 16, 256)) if model.has_inter else model.head(f)
    assert scores.shape == (2, positions)


def test_compact_runs_end_to_end_at_its_own_sampling() -> None:
    model, sampling = zoo.build("secure-vqa-compact"), zoo.spec("secure-vqa-compact").sampling
    side = sampling.segment_side
    with torch.inference_mode():
        fragments = torch.zeros(1, 3, sampling.clip_frames, sampling.fragment_side, sampling.fragment_side)
        f = model.intra(fragments)
        e = model.inter(torch.zeros(1, 3, sampling.segment_frames, side, side))
        scores = model.head(f, e.expand(sampling.num_segments, -1)[None])
    assert f.shape == (1, 96, 4, 7, 7)
    assert e.shape == (1, 256)
    assert scores.shape == (1, 4)


@pytest.mark.parametrize(
    ("name", "raw"), [("fast-vqa", -0.110198185), ("fast-vqa-m", 0.023889644), ("faster-vqa", 0.14759505)]
)
def test_published_mapping_puts_its_offset_in_the_middle(name: str, raw: float) -> None:
    published = zoo.spec(name).published_calibration
    assert published is not None
    assert published.to_score(raw) == 50


def test_unknown_name_is_answered_with_what_it_may_be() -> None:
    with pytest.raises(ConfigurationError, match=r"got 'secure-vqb' \(did you mean 'secure-vqa'\?\)"):
        zoo.build("secure-vqb")
    with pytest.raises(ConfigurationError, match=r"one of secure-vqa-compact, .*fast-vqa.* got 'xyz'"):
        zoo.build("xyz")


def test_negative_seed_is_named() -> None:
    with pytest.raises(ConfigurationError, match="-1"):
        zoo.build("fast-vqa-m", seed=-1)


def test_the_names_that_a_call_is_checked_with_are_those_of_the_table() -> None:
    assert zoo.names() == MODELS
    assert zoo.DEFAULT_MODEL in MODELS
    with pytest.raises(ValueError, match="absent"):  # as Python's own of a wrong value
        zoo.spec("absent")
