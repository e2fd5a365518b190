"""VSFA and its relatives on EfficientNet-Lite0 take its published weights, score, yield and train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from byhand import score_by_hand
from labelled import cached
from lite import lite_weights
from media import bundled_clip
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import resnet50

from securevqa_core import weights, zoo
from securevqa_core.attacks.differentiable import FrameScorer
from securevqa_core.decoding.frames import FramesRequest, read_frames
from securevqa_core.errors import CheckpointError, ConfigurationError
from securevqa_core.models.perception import edge_pictures, saliency_maps, texture_pictures
from securevqa_core.models.vsfa import frame_statistics
from securevqa_core.published import PublishedFile, assemble
from securevqa_core.randomness import fresh_draws
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.inputs import batch_maker
from securevqa_core.training.loop import TrainingData, fit
from securevqa_core.training.steps import ALONE
from securevqa_core.types import SamplingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDED = {
    "vsfa-lite": {"frame_head"},
    "mdtvsfa-lite": {"frame_head", "score_mapping"},
    "tivqa-lite": {"frame_head"},
    "vsfa-temporal-lite": {"frame_head", "motion_pathway"},
    "hvs-5m-lite": {"frame_head", "motion_pathway"},
}
WITH_MOTION = ("vsfa-temporal-lite", "hvs-5m-lite")
NAMES = tuple(SEEDED)
CPU = torch.device("cpu")
DRAWS = fresh_draws(np.random.default_rng(1), 1)
PUBLISHED = lite_weights(6)
CONFIG = TrainConfig(epochs=1, batch_size=4, warmup_epochs=0, ema_decay=0, inter="cached", flip=False)


def _imported(name: str) -> Any:
    file = PublishedFile(name="lite0.pth", sha256="5" * 64, size_bytes=7, state_dict=PUBLISHED)
    return assemble([file], architecture=name, partial=True)


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: _imported(name).model for name in NAMES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def _small(name: str) -> SamplingConfig:
    sampling = zoo.spec(name).sampling
    return replace(sampling, segment_frames=4, segment_side=64, num_segments=min(sampling.num_segments, 2))


def _frames(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_the_published_network_is_one_part_and_the_rest_stays_untrained(name: str) -> None:
    made = _imported(name)
    assert made.status == "untrained"
    assert made.card["imported_from"][0]["parts"] == ("frame_backbone",)
    assert set(made.card["seeded"]["parts"]) == SEEDED[name]
    for key, value in PUBLISHED.items():
        if not key.startswith("_fc.") and not key.endswith("num_batches_tracked"):
            assert torch.equal(made.model.state_dict()[f"frame_backbone.{key}"], value)


def test_another_network_of_frames_is_refused_by_its_own_names() -> None:
    with pytest.raises(CheckpointError, match=r"missing keys: _conv_stem\.weight.*unexpected keys: conv1\.w"):
        weights.load_published(zoo.build("vsfa-lite"), resnet50(weights=None).state_dict())
    with pytest.raises(CheckpointError, match=r"unexpected keys: _conv_stem\.weight, _bn0\.weight"):
        weights.load_published(zoo.build("vsfa"), PUBLISHED)


def test_the_zoo_says_what_stands_in_for_what() -> None:
    for name in NAMES:
        replaced = "ConvNeXt-XL" if name == "hvs-5m-lite" else "ResNet-50"
        assert f"EfficientNet-Lite0 in place of {replaced}" in zoo.spec(name).description
        sampling = zoo.spec(name).sampling
        assert sampling.guardian_amplitude == 0
        assert sampling.segments_span == (name not in WITH_MOTION)
        num_seen = 4 if name in WITH_MOTION else sampling.segment_frames
        assert sampling.num_segments * num_seen == 16


def test_statistics_are_those_of_the_networks_maps(models: dict[str, Any]) -> None:
    x = _frames(1, 3, 3, 64, 96)
    frames = x[0].transpose(0, 1)
    with torch.inference_mode():
        maps = [models["vsfa-lite"].frame_backbone(one) for one in (frames, texture_pictures(frames))]
        expected = [frame_statistics(one) for one in maps]
        plain, textured = (models[name].inter(x).view(3, -1) for name in ("vsfa-lite", "tivqa-lite"))
    assert maps[0].shape == (3, 1280, 2, 3)
    torch.testing.assert_close(plain, expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(textured, torch.cat(expected, dim=1), atol=1e-4, rtol=1e-4)


def test_each_of_four_frames_goes_with_the_motion_of_its_segment(models: dict[str, Any]) -> None:
    model, segments = models["vsfa-temporal-lite"], _frames(2, 3, 8, 64, 64)
    with torch.inference_mode():
        e = model.inter(segments)
        found = model.of_frames(e[None])[0]
        motion = model.motion_pathway(segments)
        content = model.map_statistics(segments[:, :, ::2].transpose(1, 2))
    assert e.shape == (2, 4 * 2560 + 48 * 8)
    assert found.shape == (8, 2816)
    torch.testing.assert_close(found[:, :2560], content.flatten(0, 1))
    torch.testing.assert_close(found[:, 2560:], motion.repeat_interleave(4, dim=0))


def test_salient_content_and_edges_are_kept_apart_from_plain_content(models: dict[str, Any]) -> None:
    plain, salient = (models[name] for name in WITH_MOTION)
    x = _frames(1, 3, 4, 64, 96)
    frames = x[0].transpose(0, 1)
    with torch.inference_mode():
        maps = [salient.frame_backbone(one) for one in (frames, edge_pictures(frames))]
        saliency = saliency_maps(frames, *maps[0].shape[2:])
        expected = torch.cat([frame_statistics(saliency * one) for one in maps], dim=1)
        found = salient.frame_features(x)[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert plain.inter_branch.kind != salient.inter_branch.kind  # what is kept for one is not the other's


def test_motion_of_fewer_than_four_frames_is_refused(models: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="segment_frames must be >= 4, got 3"):
        models["vsfa-temporal-lite"].inter(_frames(1, 3, 3, 64, 64))


def test_motion_changes_the_score_of_equal_frames(models: dict[str, Any]) -> None:
    model, x = models["vsfa-temporal-lite"], _frames(1, 1, 3, 8, 64, 64)
    moved = x.clone()
    moved[:, :, :, 1::2] += 0.5  # between the frames whose content is seen
    with torch.inference_mode():
        scores = [model(torch.zeros(1, 3, 1, 1, 1), one).mean().item() for one in (x, moved)]
    assert abs(scores[0] - scores[1]) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_file_scores_as_its_frames_do(name: str, models: dict[str, Any], videos: dict[str, Path]) -> None:
    sampling = _small(name)
    found = score_by_hand(videos["bikes_h264.mp4"], models[name], sampling=sampling, draws=DRAWS)
    assert found.sample.segments.shape == (sampling.num_segments, 4)
    scorer = FrameScorer(models[name], sampling)
    assert not scorer.is_random
    frames = found.sample.frames[found.sample.segments.ravel()]
    assert scorer.measure(frames, DRAWS) == pytest.approx(found.raw, abs=1e-4)


@pytest.fixture(scope="module")
def clip() -> NDArray[np.uint8]:
    return read_frames(bundled_clip("bikes"), FramesRequest(max_frames=8, max_height=96)).pixels


def test_a_gradient_step_lowers_the_score_further_than_random_signs_do(
    models: dict[str, Any], clip: NDArray[np.uint8]
) -> None:
    scorer = FrameScorer(models["vsfa-lite"], _small("vsfa-lite"))
    clean, slope = scorer.gradient(torch.from_numpy(clip.astype(np.float32)), DRAWS)
    rng = np.random.default_rng(0)

    def moved(signs: NDArray[np.float32]) -> float:
        frames = np.clip(clip + 2 * signs, 0, 255).astype(np.uint8)
        return float(scorer.measure(frames, DRAWS).mean()) - clean

    by_chance = [abs(moved(rng.choice((-1, 1), clip.shape))) for _ in range(2)]
    assert moved(-slope.sign().numpy()) < -2 * max(by_chance)


def test_gradients_reach_frames_whose_motion_alone_is_seen(
    models: dict[str, Any], clip: NDArray[np.uint8]
) -> None:
    name = "vsfa-temporal-lite"
    sampling = replace(_small(name), num_segments=1, segment_frames=8)
    _, slope = FrameScorer(models[name], sampling).gradient(torch.from_numpy(clip.astype(np.float32)), DRAWS)
    assert torch.isfinite(slope).all()
    assert ((slope != 0).float().mean(dim=(1, 2, 3)) > 0.9).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vsfa-lite", *WITH_MOTION])
def test_training_on_kept_features_moves_all_but_the_published_network(
    name: str, folder: Path, tmp_path: Path
) -> None:
    videos, model = cached(folder, _small(name), num_draws=1)[:8], _imported(name).model  # of two sources
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = TrainingData(train=videos[:4], validation=videos[4:])
    fit(model, data, CONFIG, output=tmp_path, device=CPU)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith("frame_backbone.") for key in moved)
    weights_of = ("frame_head.", "motion_pathway.")
    assert {key for key in before if key.startswith(weights_of) and "weight" in key} <= moved


@pytest.mark.slow
@pytest.mark.parametrize(("flip", "num_draws"), [(False, 1), (True, 2)])
def test_without_a_guardian_map_features_are_kept_once_a_direction_and_shared(
    flip: bool, num_draws: int, folder: Path, models: dict[str, Any]
) -> None:
    video = cached(folder, _small("vsfa-lite"), num_draws=1)[0]
    before = set(video.folder.glob("features-*.npy"))
    config = replace(CONFIG, flip=flip, num_feature_draws=4, seed=1)
    for name in ("vsfa-lite", "mdtvsfa-lite"):
        maker = batch_maker(models[name], [video], config, device=CPU, workers=ALONE)
        assert maker.features is not None
        assert maker.features[video.folder].shape == (num_draws, 1, 4 * 2560)
    assert len(set(video.folder.glob("features-*.npy")) - before) == 1
