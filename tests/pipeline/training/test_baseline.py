"""A regression of statistics is trained like any other model: labels in, a checkpoint out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cli import securevqa
from labelled import labelled_videos

from pipeline.training.config import CHECKPOINT_FILE
from pipeline.training.worker import RESULT_FILE
from securevqa_core import weights, zoo
from securevqa_core.training.baseline import Regression, fit_baseline
from securevqa_core.training.cache import CacheConfig, build_cache
from securevqa_core.training.loop import TrainingData
from securevqa_core.verification import verify

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("model", ["nss-svr", "tlvqm"])
def test_a_regression_is_trained_from_a_manifest_as_the_core_alone_would(model: str, tmp_path: Path) -> None:
    videos = labelled_videos(tmp_path, num_crfs=2)
    held_out = videos[0].source
    rows = [
        {
            "uri": video.uri,
            "label": video.label,
            "source": video.source,
            "split": "val" if video.source == held_out else "train",
        }
        for video in videos
    ]
    manifest, output = tmp_path / "manifest.parquet", tmp_path / "out"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    settings = ["--model", model, "--label-column", "label", "--cached-draws", "2", "--threads", "1"]
    securevqa("train", str(manifest), "--output", str(output), *settings)

    parts = {}
    for name, num_draws in (("train", 2), ("validation", 1)):
        chosen = [video for video in videos if (video.source == held_out) == (name == "validation")]
        config = CacheConfig(sampling=zoo.spec(model).sampling, num_draws=num_draws, seed=0)
        parts[name], failures = build_cache(chosen, output / "cache", config, num_workers=1)
        assert not failures
    expected = zoo.build(model)
    assert isinstance(expected, Regression)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fitted = fit_baseline(expected, TrainingData(**parts))
    torch.set_num_threads(before)

    checkpoint = weights.read(output / CHECKPOINT_FILE)
    assert (checkpoint.architecture, checkpoint.status) == (model, "trained")
    for name, value in expected.state_dict().items():
        assert torch.equal(checkpoint.tensors[name], value), name
    assert verify((output / CHECKPOINT_FILE).read_bytes(), name="it").difference == 0
    scores = checkpoint.calibration.to_score(np.array(fitted.validation_scores))
    assert ((scores >= 0) & (scores <= 100)).all()
    result = json.loads((output / RESULT_FILE).read_text())
    assert result["num_videos"] == {"train": 4, "validation": 2, "test": 0}
    assert result["best_epoch"] == fitted.best_epoch
