"""VSFA and its relatives train with what looks at frames left as it is, from pixels or from what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import cached

from securevqa_core import zoo
from securevqa_core.scoring import inter_features
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.inputs import cached_features, inter_backbone
from securevqa_core.training.loop import TrainingData, fit

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CONFIG = TrainConfig(epochs=1, batch_size=4, warmup_epochs=0, num_feature_draws=2, ema_decay=0)
SMALL: dict[str, int] = {"segment_frames": 2, "segment_side": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def _videos(folder: Path, name: str) -> list[CachedVideo]:
    sampling = zoo.spec(name).sampling
    small = replace(sampling, **SMALL, num_segments=min(sampling.num_segments, 2))
    return cached(folder, small, num_draws=1)[:8]  # of two sources


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inter"), [("vsfa", "cached"), ("mdtvsfa", "frozen"), ("bvqa-2022", "frozen")]
)
def test_training_moves_the_head_and_leaves_the_networks_of_frames(
    name: str, inter: Any, folder: Path, tmp_path: Path
) -> None:
    videos, model = _videos(folder, name), zoo.build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = TrainingData(train=videos[:4], validation=videos[4:])
    fitted = fit(model, data, replace(CONFIG, inter=inter), output=tmp_path, device=CPU)
    assert len(fitted.validation_scores) == 4
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert not any("_backbone." in key for key in changed)
    assert {key for key in before if key.startswith("frame_head.") and "weight" in key} <= changed


@pytest.mark.slow
def test_what_is_kept_is_what_scoring_sees_and_not_shared_by_models_of_equal_weights(folder: Path) -> None:
    video = _videos(folder, "vsfa")[0]
    kept = []
    for name in ("vsfa", "tivqa"):
        model: Any = zoo.build(name)
        model.frame_backbone.load_state_dict(zoo.build("vsfa").frame_backbone.state_dict())  # type: ignore[union-attr,operator]
        branch = inter_backbone(model)
        assert branch is not None
        options = {"num_draws": 1, "flip": False, "seed": 0, "device": CPU, "precision": "float32"}
        kept.append(cached_features(branch, [video], **options)[video.folder])  # type: ignore[arg-type]
    assert [one.shape for one in kept] == [(1, 1, 2 * 4096), (1, 1, 2 * 8192)]
    vsfa: Any = zoo.build("vsfa")
    expected = inter_features(
        lambda x: vsfa.inter(x.contiguous(memory_format=torch.channels_last_3d)),
        video.frames(),
        video.segments(),
        [bytes(32)],
        sampling=video.config.sampling,
        device=CPU,
        precision="float32",
    )
    np.testing.assert_allclose(kept[0], expected, atol=1e-5, rtol=1e-4)
