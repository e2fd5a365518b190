"""TiVQA, BVQA-2022 and HVS-5M see what they say they see, take published weights and yield to gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from byhand import score_by_hand
from media import bundled_clip
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core import weights, zoo
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.models.convnext import ConvNext
from securevqa_core.models.perception import edge_pictures, saliency_maps, texture_pictures
from securevqa_core.models.vsfa import FrameModel, by_chunks, frame_statistics
from securevqa_core.models.vsfa_relatives import Bvqa2022, Hvs5m, TiVqa, chosen_frames
from securevqa_core.randomness import fresh_draws
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD, normalise
from securevqa_core.types import SamplingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWS = fresh_draws(np.random.default_rng(1), 2)
NAMES = ("tivqa", "bvqa-2022", "hvs-5m")
NUM_STATISTICS = {"tivqa": 8192, "bvqa-2022": 4608, "hvs-5m": 4 * 64 + 512}
NUM_FRAMES = {"tivqa": 4, "bvqa-2022": 4, "hvs-5m": 1}  # of a segment of four
_SMALL = {"segment_frames": 4, "segment_side": 64}


def _sampling(name: str) -> SamplingConfig:
    sampling = zoo.spec(name).sampling
    return replace(sampling, **_SMALL, num_segments=min(sampling.num_segments, 2))


@pytest.fixture(scope="module")
def models() -> dict[str, FrameModel]:
    """HVS-5M with a small ConvNeXt in place of one of 350 million parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        small = Hvs5m(ConvNext(depths=(1, 1, 1, 1), dims=(16, 16, 32, 64))).eval()
    built = {name: zoo.build(name) for name in ("tivqa", "bvqa-2022")}
    return {**built, "hvs-5m": small}  # type: ignore[dict-item]  # the zoo has models of all kinds


@pytest.fixture(scope="module")
def clip() -> NDArray[np.uint8]:
    return read_frames(bundled_clip("bikes"), FramesRequest(max_frames=8, max_height=96)).pixels


def _pictures(clip: NDArray[np.uint8]) -> Tensor:
    """Return two frames, normalised, (2, 3, h, w)."""
    return normalise(torch.from_numpy(clip[None, :2].copy()))[0].transpose(0, 1)


def _levels(pictures: Tensor) -> NDArray[np.float64]:
    """Return the levels (k, h, w) of normalised pictures, the same in all channels."""
    levels = pictures.detach() * torch.tensor(PIXEL_SD).view(3, 1, 1) + torch.tensor(PIXEL_MEAN).view(3, 1, 1)
    assert (levels - levels[:, :1]).abs().max() < 1e-3
    return levels[:, 0].double().numpy()


def _pattern_by_loops(luma: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return local binary patterns, pixel by pixel, clockwise from the upper left neighbour."""
    height, width = luma.shape
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    pattern = np.zeros_like(luma)
    for row in range(height):
        for column in range(width):
            for bit, (down, right) in enumerate(around):
                there = luma[min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)]
                pattern[row, column] += 2**bit * int(there >= luma[row, column])
    return pattern


def test_texture_is_the_local_binary_pattern_of_every_pixel(clip: NDArray[np.uint8]) -> None:
    part = clip[:2, :40, :52]
    thousandths = part.astype(np.int64) @ np.array([299, 587, 114])
    clear = thousandths % 1000 != 500  # halves are rounded either way
    part = np.where(clear[..., None], part, 0)
    luma = (np.where(clear, thousandths, 0) + 500) // 1000
    expected = np.stack([_pattern_by_loops(one) for one in luma])
    np.testing.assert_allclose(_levels(texture_pictures(_pictures(part))), expected, atol=1e-3)
    assert len(np.unique(expected)) > 100


def test_texture_of_a_flat_frame_is_all_ones() -> None:
    flat = np.full((1, 8, 9, 3), 77, dtype=np.uint8)
    assert (_levels(texture_pictures(_pictures(flat))).round() == 255).all()


def test_texture_is_the_same_however_bright_a_frame_is_shown(clip: NDArray[np.uint8]) -> None:
    dark = np.repeat(clip[:1, ..., :1] // 2, 3, axis=3)  # grey, so that luma moves by whole levels
    pictures = [texture_pictures(_pictures(one)) for one in (dark, dark + 40)]
    torch.testing.assert_close(*pictures, atol=1e-4, rtol=0)


def test_edges_are_the_length_of_the_sobel_gradient(clip: NDArray[np.uint8]) -> None:
    luma = clip[0].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    wide = np.pad(luma, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3))
    kernel = np.outer([1, 2, 1], [-1, 0, 1])
    across, down = ((windows * k).sum(axis=(2, 3)) for k in (kernel, kernel.T))
    expected = np.hypot(across, down) / (4 * 2**0.5)
    np.testing.assert_allclose(_levels(edge_pictures(_pictures(clip[:1])))[0], expected, atol=2e-3)


def test_saliency_is_of_mean_one_and_greatest_where_a_frame_stands_out() -> None:
    frame = np.full((1, 64, 64, 3), 90, dtype=np.uint8)
    even = saliency_maps(_pictures(frame), 2, 2)
    torch.testing.assert_close(even, torch.ones(1, 1, 2, 2))
    frame[:, 40:56, 8:24] = (250, 30, 30)
    at_full_size = saliency_maps(_pictures(frame), 64, 64)
    assert at_full_size.mean().item() == pytest.approx(1, abs=1e-5)
    assert saliency_maps(_pictures(frame), 2, 2).flatten().argmax().item() == 2
    assert at_full_size[0, 0, 48, 16] > 5 * at_full_size[0, 0, 10, 50]


@pytest.mark.parametrize(
    "picture", [texture_pictures, edge_pictures, lambda x: saliency_maps(x, *x.shape[2:])]
)
def test_gradients_pass_through_pictures_of_pictures(
    picture: Callable[[Tensor], Tensor], clip: NDArray[np.uint8]
) -> None:
    x = _pictures(clip).requires_grad_()
    picture(x).square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_of_the_frames_that_are_used(name: str, models: dict[str, FrameModel]) -> None:
    model, x = models[name], torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = model.inter(x)
        scores = model(torch.zeros(1, 3, 1, 1, 1), x[None])
    assert found.shape == (2, NUM_FRAMES[name] * NUM_STATISTICS[name])
    assert scores.shape == (1, 1 if name == "bvqa-2022" else 2 * NUM_FRAMES[name])  # one is mapped as a whole


def test_tivqa_reads_the_frame_and_its_texture_by_one_network(models: dict[str, FrameModel]) -> None:
    model, x = models["tivqa"], torch.randn(1, 3, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    assert isinstance(model, TiVqa)
    with torch.inference_mode():
        found = model.frame_features(x)[0]
        frames = x[0].transpose(0, 1)
        expected = [frame_statistics(model.frame_backbone(one)) for one in (frames, texture_pictures(frames))]
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-4, rtol=1e-4)


def test_motion_goes_with_every_frame_of_its_segment(models: dict[str, FrameModel]) -> None:
    model, x = models["bvqa-2022"], torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    assert isinstance(model, Bvqa2022)
    with torch.inference_mode():
        found = model.frame_features(x)[0]
        maps = model.inter_backbone.maps(x)[0].double().flatten(1)
        frames = x[0, :, ::2].transpose(0, 1)
        content = frame_statistics(model.frame_backbone(frames))
    motion = torch.cat([maps.mean(dim=1), maps.std(dim=1)]).float()
    assert found.shape == (4, 4608)
    torch.testing.assert_close(found[:, :4096], content, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, 4096:], motion.expand(4, -1), atol=1e-4, rtol=1e-4)


def test_hvs_5m_weights_content_and_edges_by_saliency(models: dict[str, FrameModel]) -> None:
    model, x = models["hvs-5m"], torch.randn(1, 3, 4, 64, 96, generator=torch.Generator().manual_seed(0))
    assert isinstance(model, Hvs5m)
    first = x[:, :, 0]
    with torch.inference_mode():
        found = model.frame_features(x)[0, 0, :256]
        weight = saliency_maps(first, 2, 3)[0]
        maps = [model.content_backbone(one)[0] * weight for one in (first, edge_pictures(first))]
    expected = [part for one in maps for part in (one.mean(dim=(1, 2)), one.flatten(1).std(dim=1))]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_the_targets_of_the_papers_tables_and_vsfa_with_motion_are_in_the_zoo() -> None:
    assert {*NAMES, "vsfa", "mdtvsfa", "vsfa-temporal"} <= set(zoo.names())
    plain, with_motion = (zoo.spec(name).sampling for name in ("vsfa", "vsfa-temporal"))
    assert plain.segments_span
    assert not with_motion.segments_span  # motion is between frames that follow each other
    assert {plain.guardian_amplitude, with_motion.guardian_amplitude} == {0}


def test_frames_of_a_segment_are_spread_over_it() -> None:
    assert chosen_frames(32, 4) == [0, 8, 16, 24]
    assert chosen_frames(32, 1) == [0]
    assert chosen_frames(2, 4) == [0, 1]


def test_chunks_change_neither_what_is_made_nor_its_gradient() -> None:
    layer = torch.nn.Conv2d(3, 4, 3)
    given = torch.randn(19, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    slopes = []
    for run in (lambda x: by_chunks(layer, x), layer):
        leaf = given.clone().requires_grad_()
        made = run(leaf)
        slopes.append((made.detach(), *torch.autograd.grad(made.square().sum(), leaf)))
    torch.testing.assert_close(slopes[0], slopes[1])


def test_convnext_has_the_published_names_and_refuses_depths_without_dims() -> None:
    model = ConvNext(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8))
    assert {
        "downsample_layers.0.0.weight",
        "downsample_layers.3.1.bias",
        "stages.3.0.dwconv.weight",
        "stages.0.0.gamma",
        "stages.0.0.pwconv2.bias",
    } <= set(model.state_dict())
    with pytest.raises(ConfigurationError, match=r"depths \(1, 2\), got \(8,\)"):
        ConvNext(depths=(1, 2), dims=(8,))


def test_the_zoos_convnext_is_of_the_size_that_was_published() -> None:
    spec = zoo.spec("hvs-5m")
    with torch.device("meta"):
        model = spec.make(spec)
    assert isinstance(model, Hvs5m)
    assert model.frame_head.num_statistics == 8192 + 512
    # Published: 350.2 million with the last norm and a classifier of 1000.
    num_parameters = sum(one.numel() for one in model.content_backbone.parameters())
    assert num_parameters == 350_196_968 - 2 * 2048 - 2049 * 1000


def test_published_convnext_loads_without_its_classifier(models: dict[str, FrameModel]) -> None:
    model = models["hvs-5m"]
    before = {f"content_backbone.{key}" for key in model.content_backbone.state_dict()}
    published = {
        key.removeprefix("content_backbone."): torch.full_like(model.state_dict()[key], 0.01)
        for key in before
    }
    unused = {"norm.weight": torch.ones(64), "head.weight": torch.ones(1000, 64)}
    renewed = Hvs5m(ConvNext(depths=(1, 1, 1, 1), dims=(16, 16, 32, 64)))
    assert weights.load_published(renewed, {"model": published | unused}) == ("content_backbone",)
    assert all((renewed.state_dict()[key] == 0.01).all() for key in before)
    del published["stages.2.0.gamma"]
    with pytest.raises(CheckpointError, match=r"missing keys: stages\.2\.0\.gamma$"):
        weights.load_published(renewed, published)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_scores_as_its_frames_do(
    name: str, models: dict[str, FrameModel], videos: dict[str, Path]
) -> None:
    path, sampling = videos["bikes_h264.mp4"], _sampling(name)
    found = score_by_hand(path, models[name], sampling=sampling, draws=DRAWS[:1])
    assert found.sample.segments.shape == (sampling.num_segments, 4)
    scorer = FrameScorer(models[name], sampling)
    assert not scorer.is_random
    # Resized already: FFmpeg does that otherwise than torch, and a level more or less is another texture.
    frames = found.sample.frames[found.sample.segments.ravel()]
    assert scorer.measure(frames, DRAWS[:1]) == pytest.approx(found.raw, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_step_lowers_the_score_further_than_random_signs_do(
    name: str, models: dict[str, FrameModel], clip: NDArray[np.uint8]
) -> None:
    scorer = FrameScorer(models[name], _sampling(name))
    clean, slope = scorer.gradient(torch.from_numpy(clip.astype(np.float32)), DRAWS[:1])
    assert torch.isfinite(slope).all()
    rng = np.random.default_rng(0)

    def moved(signs: NDArray[np.float32]) -> float:
        frames = np.clip(clip + 2 * signs, 0, 255).astype(np.uint8)
        return float(scorer.measure(frames, DRAWS[:1]).mean()) - clean

    by_chance = [abs(moved(rng.choice((-1, 1), clip.shape))) for _ in range(2)]
    assert moved(-slope.sign().numpy()) < -2 * max(by_chance)
