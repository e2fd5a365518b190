"""Backbone and heads give the published numbers, and behave the same in every mode they are used in."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import Tensor
from torchvision.models.video import SwinTransformer3d

from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.models.fusion import ConcatenationHead, MapHead, PaperFusionHead
from securevqa_core.models.secure_vqa import FastVqa, SecureVqa
from securevqa_core.models.swin3d import Swin3dConfig, VideoSwin3d
from securevqa_core.models.window_attention import WindowAttention, _attention
from securevqa_core.models.windows import window_geometry

SMALL = Swin3dConfig(embed_dim=8, depths=(2, 2), num_heads=(1, 2), window_size=(2, 7, 7), base_size=(1, 1, 1))


@pytest.fixture(scope="module")
def intra_map(reference) -> Tensor:
    model = zoo.build("fast-vqa")
    assert weights.load_published(model, reference.weights("fragments_backbone")) == ("intra",)
    with torch.inference_mode():
        return model.intra(reference.unit_input("fragments", (1, 3, 32, 224, 224)))


@pytest.fixture
def small() -> VideoSwin3d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VideoSwin3d(SMALL).eval()
        for name, value in model.named_parameters():
            if name.endswith("bias_table"):
                torch.nn.init.normal_(value)
    return model


@pytest.mark.slow
def test_intra_agrees_with_published_code(reference, intra_map: Tensor) -> None:
    assert intra_map.shape == (1, 768, 16, 7, 7)
    assert reference.error("intra_pooled", intra_map.mean(dim=(3, 4))) < 1e-4
    assert reference.error("intra_slice", intra_map[:, :, 3]) < 1e-4


@pytest.mark.slow
def test_released_head_agrees_with_published_code(reference, intra_map: Tensor) -> None:
    model = zoo.build("secure-vqa-released")
    assert weights.load_published(model, reference.weights("vqa_head")) == ("head",)
    with torch.inference_mode():
        scores = model.head(intra_map, reference.unit_input("inter", (1, 1, 16, 256))[0])
    assert scores.shape == (1, 16)
    assert reference.error("securevqa_scores", scores) < 1e-4


@pytest.mark.slow
def test_fast_vqa_agrees_with_published_code(reference, intra_map: Tensor) -> None:
    model = zoo.build("fast-vqa")
    assert weights.load_published(model, reference.weights("fast_vqa_head")) == ("head",)
    with torch.inference_mode():
        assert reference.error("fast_vqa_map", model.vqa_head.quality_map(intra_map)) < 1e-4
        assert reference.error("fast_vqa_score", model.head(intra_map).mean()) < 1e-4


def test_fast_vqa_m_agrees_with_published_code(reference) -> None:
    model = zoo.build("fast-vqa-m")
    assert weights.load_published(model, reference.weights("fast_vqa_m_backbone")) == ("intra",)
    with torch.inference_mode():
        f = model.intra(reference.unit_input("fragments_m", (1, 3, 16, 128, 128)))
    assert f.shape == (1, 768, 8, 4, 4)
    assert reference.error("fast_vqa_m_pooled", f.mean(dim=(3, 4))) < 1e-4


@pytest.mark.parametrize("size", [(8, 60, 68), (5, 64, 112), (2, 57, 61)])
def test_without_fragments_it_is_torchvisions_swin(reference, size: tuple[int, int, int]) -> None:
    """Odd sizes, so that patches, windows and merges all have to pad."""
    torchvision = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=8,
        depths=[2, 2],
        num_heads=[1, 2],
        window_size=[2, 7, 7],
        stochastic_depth_prob=0.0,
    ).eval()
    generator = torch.Generator().manual_seed(0)
    published = {
        key: value if key.endswith("index") else torch.randn(value.shape, generator=generator) * 0.3
        for key, value in torchvision.state_dict().items()
    }
    torchvision.load_state_dict(published)
    ours = FastVqa(SMALL, MapHead(intra_dim=SMALL.out_dim, dropout=0.0)).eval()
    assert weights.load_published(ours, published) == ("intra",)
    x = reference.unit_input("odd", (2, 3, *size))
    with torch.inference_mode():
        expected = torchvision.norm(torchvision.features(torchvision.patch_embed(x))).permute(0, 4, 1, 2, 3)
        torch.testing.assert_close(ours.intra(x), expected, rtol=1e-4, atol=1e-4)


def test_gate_interpolates_between_the_two_biases_by_fragment_distance() -> None:
    """A 2 x 2 window, each token in a fragment of its own; with no queries, attention is softmax(bias)."""
    attention = WindowAttention(1, 1, window=(1, 2, 2), grid_size=2, shifted=False)
    with torch.no_grad():
        attention.relative_position_bias_table.copy_(torch.arange(9.0)[:, None] / 4)
        attention.fragment_position_bias_table.copy_(torch.arange(9.0).flip(0)[:, None] / 8)
        attention.qkv.weight.copy_(torch.tensor([[0.0], [0.0], [1.0]]))
        attention.proj.weight.fill_(1)
        for layer in (attention.qkv, attention.proj):
            layer.bias.zero_()
    values = [1.0, 10.0, 100.0, 1000.0]
    out = attention(torch.tensor(values).view(1, 1, 2, 2, 1), (1, 2, 2)).detach().flatten()
    # Token (0, 0) sees itself (row 4 of the tables, g = 0), (0, 1) (row 3, g = 1), (1, 0) (row 1, g = 1)
    # and (1, 1) (row 0, g = 2: twice the relative bias less the fragment bias).
    biases = [4 / 8, 3 / 4, 1 / 4, 2 * 0 / 4 - 8 / 8]
    shares = [math.exp(b) for b in biases]
    expected = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
    assert out[0].item() == pytest.approx(expected, rel=1e-5)


def test_fragment_grid_moves_with_the_shift() -> None:
    """Columns 0 0 1 1 become 0 1 1 0 after a shift by one: the gate follows, and so does the mask."""
    geometry = window_geometry(
        size=(1, 1, 4),
        window=(1, 1, 2),
        shift=(0, 0, 1),
        table_window=(1, 1, 2),
        grid_size=2,
        device=torch.device("cpu"),
    )
    assert geometry.gate[:, 0, 1].tolist() == [1, 1]
    assert geometry.spatial_mask[:, 0, 1].tolist() == [False, True]
    assert geometry.masked_in_time == (False,)


def test_mask_stands_wherever_a_long_shift_puts_it() -> None:
    """A shrunk window can be shorter than its shift; the seam then lies in an earlier window."""
    geometry = window_geometry(
        size=(6, 1, 1),
        window=(3, 1, 1),
        shift=(4, 0, 0),
        table_window=(8, 1, 1),
        grid_size=0,
        device=torch.device("cpu"),
    )
    assert geometry.masked_in_time == (True, False)


def test_shrunk_window_reads_the_right_rows_of_the_full_table() -> None:
    geometry = window_geometry(
        size=(1, 2, 2),
        window=(1, 2, 2),
        shift=(0, 0, 0),
        table_window=(1, 3, 3),
        grid_size=0,
        device=torch.device("cpu"),
    )
    # The table has 5 x 5 offsets around row 12; a step down is 5 rows on, a step right 1.
    assert geometry.index.tolist() == [[12, 11, 7, 6], [13, 12, 8, 7], [17, 16, 12, 11], [18, 17, 13, 12]]


def test_eval_mode_is_deterministic_and_a_batch_is_its_clips(reference, small: VideoSwin3d) -> None:
    x = reference.unit_input("batch", (3, 3, 8, 64, 64))
    with torch.inference_mode():
        together = small(x)
        assert torch.equal(together, small(x))
        torch.testing.assert_close(
            together, torch.cat([small(clip[None]) for clip in x]), rtol=1e-4, atol=1e-5
        )


def test_train_mode_drops_paths_and_trains_every_parameter(reference) -> None:
    config = Swin3dConfig(embed_dim=8, depths=(2, 2), num_heads=(1, 2), base_size=(1, 1, 1), drop_path=0.9)
    x = reference.unit_input("train", (2, 3, 8, 64, 64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VideoSwin3d(config).train()
        outputs = [model(x) for _ in range(4)]
        assert any(not torch.equal(outputs[0], other) for other in outputs[1:])
    model.eval()(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_training_works_after_scoring_under_inference_mode(reference, small: VideoSwin3d) -> None:
    x = reference.unit_input("mixed", (1, 3, 8, 64, 64))
    with torch.inference_mode():
        expected = small(x)
    actual = small(x)
    actual.sum().backward()
    torch.testing.assert_close(actual.detach(), expected.clone(), rtol=1e-4, atol=1e-5)


def test_other_precisions_and_copies_agree(reference, small: VideoSwin3d) -> None:
    x = reference.unit_input("copies", (1, 3, 8, 64, 64))
    keys = list(small.state_dict())
    with torch.inference_mode():
        expected = small(x)
        for same in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small)):
            assert torch.equal(same(x), expected)
        torch.testing.assert_close(
            copy.deepcopy(small).double()(x.double()).float(), expected, rtol=1e-3, atol=1e-4
        )
        half = copy.deepcopy(small).bfloat16()(x.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            mixed = small(x)
    assert half.dtype == torch.bfloat16
    for rough in (half, mixed):
        assert (rough.float() - expected).abs().max() < 0.2 * expected.abs().max()
    assert list(small.state_dict()) == keys


@pytest.mark.parametrize("frames", [1, 7, 33])
def test_any_number_of_frames_has_features(small: VideoSwin3d, frames: int) -> None:
    with torch.inference_mode():
        assert small(torch.zeros(1, 3, frames, 32, 40)).shape == (1, 16, -(-frames // 2), 4, 5)


def test_paper_bottlenecks_have_the_papers_widths() -> None:
    head = PaperFusionHead(intra_dim=768, inter_dim=256, dropout=0.0)
    shapes = [tuple(layer.weight.shape) for layer in (*head.inter_to_intra[::2], *head.intra_to_inter[::2])]
    assert shapes == [(512, 256), (512, 512), (768, 512), (1536, 768), (1536, 1536), (256, 1536)]
    assert tuple(head.fc_hid.weight.shape) == (64, 1024)


def test_concatenation_is_the_papers_head_without_bottlenecks() -> None:
    fused = PaperFusionHead(intra_dim=6, inter_dim=4, dropout=0.5).eval()
    plain = ConcatenationHead(intra_dim=6, inter_dim=4, dropout=0.5).eval()
    f, e = torch.randn(2, 6, 3, 7, 7), torch.randn(2, 8, 4)
    shared = {key: fused.state_dict()[key] for key in plain.state_dict()}
    assert shared.keys() == {
        f"{name}.{part}" for name in ("fc_hid", "fc_last") for part in ("weight", "bias")
    }
    plain.load_state_dict(shared)
    assert not torch.allclose(fused(f, e), plain(f, e))
    for layer in (fused.inter_to_intra[-1], fused.intra_to_inter[-1]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.testing.assert_close(fused(f, e), plain(f, e))


def test_paper_head_is_equations_11_to_15(reference) -> None:
    head = PaperFusionHead(intra_dim=6, inter_dim=4, dropout=0.5).eval()
    f, e = reference.unit_input("f", (2, 6, 3, 2, 2)), reference.unit_input("e", (2, 3, 4))
    intra = f.mean(dim=(3, 4)).transpose(1, 2)

    def fc(layers: torch.nn.Sequential, x: Tensor) -> Tensor:
        for i in (0, 2):
            x = (x @ layers[i].weight.T + layers[i].bias).clamp(min=0)
        return x @ layers[4].weight.T + layers[4].bias

    fused = torch.cat([intra + fc(head.inter_to_intra, e), e + fc(head.intra_to_inter, intra)], dim=-1)
    hidden = fused @ head.fc_hid.weight.T + head.fc_hid.bias
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = (gelu @ head.fc_last.weight.T + head.fc_last.bias)[..., 0]
    torch.testing.assert_close(head(f, e), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["secure-vqa-compact", "secure-vqa-released"])
def test_too_few_segments_are_matched_by_nearest(reference, name: str) -> None:
    model: SecureVqa = zoo.build(name)
    f = reference.unit_input("f", (1, zoo.spec(name).swin.out_dim, 16, 2, 2))
    e = reference.unit_input("e", (1, 8, 256))
    with torch.inference_mode():
        torch.testing.assert_close(model.head(f, e), model.head(f, e.repeat_interleave(2, dim=1)))


@pytest.mark.parametrize("name", ["secure-vqa-compact", "secure-vqa-released"])
def test_a_position_sees_the_mean_of_its_segments(reference, name: str) -> None:
    model: SecureVqa = zoo.build(name)
    f = reference.unit_input("f", (1, zoo.spec(name).swin.out_dim, 4, 2, 2))
    e = reference.unit_input("e", (1, 8, 256))
    with torch.inference_mode():
        mean = e.view(1, 4, 2, 256).mean(dim=2)
        torch.testing.assert_close(model.head(f, e), model.head(f, mean))


def test_forward_is_the_head_on_both_branches(reference) -> None:
    model: SecureVqa = zoo.build("secure-vqa-compact")
    fragments = reference.unit_input("fragments", (2, 3, 8, 112, 112))
    segments = reference.unit_input("segments", (2, 2, 3, 4, 32, 32))
    with torch.inference_mode():
        e = torch.stack([model.inter(clip) for clip in segments])
        torch.testing.assert_close(model(fragments, segments), model.head(model.intra(fragments), e))
        fast = zoo.build("fast-vqa-m")
        assert torch.equal(fast(fragments), fast.head(fast.intra(fragments)))


@pytest.mark.parametrize("shape", [(3, 8, 32, 32), (1, 4, 8, 32, 32), (1, 3, 8, 0, 32)])
def test_wrong_clip_shape_is_named(small: VideoSwin3d, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=str(shape)[1:-1]):
        small(torch.zeros(shape))


def test_wrong_feature_shapes_are_named() -> None:
    model = zoo.build("secure-vqa-compact")
    f = torch.zeros(2, 96, 16, 7, 7)
    with pytest.raises(ConfigurationError, match="2, 96, 16, 7"):
        model.head(f[..., 0], torch.zeros(2, 16, 256))
    with pytest.raises(ConfigurationError, match="3, 16, 256"):
        model.head(f, torch.zeros(3, 16, 256))
    with pytest.raises(ConfigurationError, match="1, 16, 256"):
        zoo.build("fast-vqa-m").head(f, torch.zeros(1, 16, 256))


@pytest.mark.parametrize(
    ("fields", "value"), [({"num_heads": (3, 6)}, r"\(3, 6\)"), ({"num_heads": (3, 6, 12, 25)}, "25")]
)
def test_impossible_configuration_is_named(fields: dict[str, object], value: str) -> None:
    with pytest.raises(ConfigurationError, match=value):
        Swin3dConfig(**fields)


@torch.inference_mode()
def test_attention_in_bfloat16_is_that_of_float32_up_to_its_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, value = (torch.randn(2, 3, 98, 32, generator=generator) for _ in range(3))
    bias = torch.randn(2, 3, 98, 98, generator=generator)
    bias[:, :, :, 50:] -= 100.0  # what is masked
    expected = _attention(q, k, value, bias)
    found = _attention(*(tensor.bfloat16() for tensor in (q, k, value, bias)))
    assert (found.dtype, found.shape) == (torch.bfloat16, (2, 98, 96))
    assert (found.float() - expected).abs().max() < 0.02 * expected.abs().max()
