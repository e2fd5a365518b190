"""DOVER gives the published numbers branch by branch, fuses them as published, and names them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.convnext import CNBlock

from securevqa_core import weights, zoo
from securevqa_core.decoding.extract import DecodeRequest, DrawSeeds, extract_sample
from securevqa_core.errors import ConfigurationError
from securevqa_core.fragments import splice
from securevqa_core.models.convnext3d import ConvNext3d, ConvNext3dConfig
from securevqa_core.models.dover import Dover, named_parts
from securevqa_core.models.swin3d import Swin3dConfig
from securevqa_core.sampling import continuous_sample
from securevqa_core.scoring import inter_features, normalise, raw_scores, summarise

SMALL_SWIN = Swin3dConfig(
    embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=(2, 7, 7), base_size=(1, 1, 1)
)
SMALL_CONVNEXT = ConvNext3dConfig(depths=(1, 2), dims=(8, 16))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def published(reference) -> dict[str, Tensor]:
    """All four modules under published names; the technical ones have FAST-VQA's shapes."""
    technical = reference.renamed("fragments_backbone", "fragments_backbone.", "technical_backbone.")
    technical |= reference.renamed("fast_vqa_head", "vqa_head.", "technical_head.")
    return technical | reference.weights("dover_aesthetic_backbone", "dover_aesthetic_head")


@pytest.fixture(scope="module")
def model(published) -> Dover:
    dover = zoo.build("dover")
    parts = weights.load_published(dover, published)
    assert parts == ("technical_backbone", "technical_head", "aesthetic_backbone", "aesthetic_head")
    return dover


@pytest.fixture
def small() -> Dover:
    """The same parts, small, with weights large enough for scores to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dover = Dover(SMALL_SWIN, SMALL_CONVNEXT, dropout=0.5).eval()
        for value in dover.parameters():
            torch.nn.init.normal_(value, std=0.3)
    return dover


@pytest.mark.slow
def test_aesthetic_branch_agrees_with_published_code(reference, model: Dover) -> None:
    frames = reference.unit_input("aesthetic", (1, 3, 32, 224, 224))
    with torch.inference_mode():
        pooled = model.aesthetic_backbone(frames)
        assert pooled.shape == (1, 768, 16, 7, 7)
        assert reference.error("dover_aesthetic_pooled", pooled.mean(dim=(2, 3, 4))) < 1e-4
        assert reference.error("dover_aesthetic_score", model.aesthetic_head(pooled).mean()) < 1e-4


@pytest.mark.slow
def test_technical_branch_agrees_with_published_code(reference, model: Dover) -> None:
    with torch.inference_mode():
        technical = model.intra(reference.unit_input("technical", (1, 3, 32, 224, 224)))
        assert reference.error("dover_technical_score", model.technical_head(technical).mean()) < 1e-4


def test_a_block_without_time_is_torchvisions_convnext() -> None:
    """Two-dimensional weights in the middle of every kernel: each frame goes through the image network."""
    torch.manual_seed(0)
    image_block = CNBlock(8, layer_scale=0.5, stochastic_depth_prob=0.0).eval()
    block = ConvNext3d(ConvNext3dConfig(depths=(2,), dims=(8,))).stages[0][1]
    state = image_block.state_dict()
    kernel = torch.zeros_like(block.dwconv.weight)
    kernel[:, :, 1] = state["block.0.weight"]
    theirs = {"dwconv.bias": "block.0.bias"} | {
        f"{ours}.{kind}": f"block.{at}.{kind}"
        for ours, at in (("norm", 2), ("pwconv1", 3), ("pwconv2", 5))
        for kind in ("weight", "bias")
    }
    block.load_state_dict(
        {"dwconv.weight": kernel, "gamma": state["layer_scale"].flatten()}
        | {ours: state[name] for ours, name in theirs.items()}
    )
    x = torch.randn(1, 8, 3, 9, 11)
    with torch.inference_mode():
        frames = [image_block(x[:, :, i]) for i in range(3)]
        torch.testing.assert_close(block(x), torch.stack(frames, dim=2))


def test_window_does_not_shrink_for_small_inputs(small: Dover) -> None:
    """A base size of the input itself never shrinks the window either, and must give the same."""
    same = Swin3dConfig(embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=(2, 7, 7))
    x = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    shrinking = Dover(same, SMALL_CONVNEXT, dropout=0.5).eval()
    shrinking.load_state_dict(small.state_dict())
    full_size = Dover(
        Swin3dConfig(
            embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=(2, 7, 7), base_size=(8, 64, 64)
        ),
        SMALL_CONVNEXT,
        dropout=0.5,
    ).eval()
    full_size.load_state_dict(small.state_dict())
    with torch.inference_mode():
        assert torch.equal(small.intra(x), full_size.intra(x))
        assert not torch.allclose(small.intra(x), shrinking.intra(x))
    assert zoo.spec("dover").swin.base_size == (1, 1, 1)


def test_fused_score_is_the_published_formula(small: Dover) -> None:
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(3, 3, 4, 64, 64, generator=generator)
    frames = torch.randn(1, 3, 4, 64, 64, generator=generator)
    with torch.inference_mode():
        technical = small.technical_head(small.technical_backbone(clips)).mean().item()
        aesthetic = small.aesthetic_head(small.aesthetic_backbone(frames)).mean().item()
        each = small(clips, frames[None].expand(3, -1, -1, -1, -1, -1)).mean(dim=1)
    t, a = (technical - 0.1107) / 0.07355, (aesthetic + 0.08285) / 0.03774
    assert each.mean().item() == pytest.approx(0.6104 * t + 0.3896 * a, rel=1e-4)
    parts = named_parts(small, clips, frames)
    assert parts.technical == pytest.approx(1 / (1 + math.exp(-t)), abs=1e-5)
    assert parts.aesthetic == pytest.approx(1 / (1 + math.exp(-a)), abs=1e-5)
    assert parts.overall == pytest.approx(1 / (1 + math.exp(-(0.6104 * t + 0.3896 * a))), abs=1e-5)


def test_a_perfect_middle_is_fifty() -> None:
    calibration = zoo.spec("dover").published_calibration
    assert calibration is not None
    assert calibration.to_score(0.0) == 50
    assert calibration.to_score(1.0) == pytest.approx(100 / (1 + math.exp(-1)))


def test_aesthetic_frames_are_spread_over_the_whole_video() -> None:
    sampling = zoo.spec("dover").sampling
    assert continuous_sample(320, sampling).tolist() == [list(range(0, 320, 10))]
    short = continuous_sample(5, sampling)
    assert short.shape == (1, 32)
    assert np.unique(short).tolist() == [0, 1, 2, 3, 4]
    assert (np.diff(short) >= 0).all()


def test_a_video_scores_end_to_end_and_its_clips_average_to_the_named_overall(
    small: Dover, videos: dict[str, Path]
) -> None:
    sampling = replace(zoo.spec("dover").sampling, grid_size=2, segment_side=64)
    draw = DrawSeeds(skip_sampling=bytes(32), grid_sampling=bytes(32))
    sample = extract_sample(str(videos["bikes_h264.mp4"]), DecodeRequest(sampling=sampling, draws=(draw,)))
    assert sample.frames[sample.segments].shape == (1, 32, 64, 64, 3)
    fragments = splice(sample.patches)
    features = inter_features(
        small.inter,
        sample.frames,
        sample.segments,
        [bytes(32)],
        sampling=sampling,
        device=CPU,
        precision="float32",
    )
    raw = raw_scores(small, fragments, features, device=CPU, precision="float32")
    assert raw.shape == (1, 3)
    score = summarise(raw, zoo.spec("dover").published_calibration)
    parts = named_parts(
        small,
        normalise(torch.from_numpy(fragments[0])),
        normalise(torch.from_numpy(sample.frames[sample.segments])),
    )
    assert score.score == pytest.approx(100 * parts.overall, abs=1e-3)


def test_aesthetic_score_keeps_its_digits_under_bfloat16(small: Dover) -> None:
    frames = torch.randn(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        score = small.inter(frames)
    assert score.dtype == torch.float32


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"dims .* \(3, 3\), got \(96,\)"):
        ConvNext3dConfig(depths=(3, 3), dims=(96,))
    with pytest.raises(ConfigurationError, match=r"got \(1, 4, 2, 32, 32\)"):
        ConvNext3d(SMALL_CONVNEXT)(torch.zeros(1, 4, 2, 32, 32))
