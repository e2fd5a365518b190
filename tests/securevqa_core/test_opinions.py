"""The published features predict people as well as the paper says, and data sets come to one scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from sklearn.svm import SVR

from pipeline.lab.config import TargetConfig
from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, DatasetError
from securevqa_core.models.videval.model import Videval, fit_videval
from securevqa_core.opinions.agreement import from_set_to_set, on_categories, on_splits, out_of_fold, together
from securevqa_core.opinions.alignment import aligned
from securevqa_core.opinions.regression import EPSILON, GAMMA, C, fit, predict
from securevqa_core.opinions.tables import SHIPPED, Opinions, read_opinions
from securevqa_core.opinions.versions import VERSIONS
from securevqa_core.verification import fingerprint

TABLE_IV = {"konvid-1k": 0.783, "live-vqc": 0.752, "youtube-ugc": 0.779}


def _made_up(name: str, seed: int, *, gain: float = 1.0, offset: float = 0.0, num: int = 150) -> Opinions:
    """Opinions that four of sixty features decide, on a scale of their own."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, 60))
    quality = 50 + features[:, :4] @ [6, 5, 4, 3] + rng.normal(scale=2, size=num)
    return Opinions(
        name=name,
        features=features,
        opinions=(quality - offset) / gain,
        categories=("a", "b", None) * (num // 3),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_that_ships_is_whole(version: str) -> None:
    found = {one.name: one for one in read_opinions(version=version)}
    assert {name: len(one.opinions) for name, one in found.items()} == {
        "konvid-1k": 1200, "live-vqc": 585, "youtube-ugc": 1380,
    }  # fmt: skip
    for one in found.values():
        assert one.features.shape == (len(one.opinions), 60)
        assert 0 <= one.opinions.min() < 10
        assert 90 < one.opinions.max() <= 100
    assert {"Animation", "Gaming", "LyricVideo"} <= set(found["youtube-ugc"].categories)


@pytest.mark.parametrize("name", TABLE_IV)
def test_a_few_splits_are_near_the_papers_table(name: str) -> None:
    data_set = next(one for one in read_opinions() if one.name == name)
    found = on_splits(data_set, num_splits=7, rng=np.random.default_rng(1))
    assert found.srcc == pytest.approx(TABLE_IV[name], abs=0.035)  # 100 splits are nearer: see the card


def test_the_regression_is_scikit_learns_on_features_scaled_by_their_range() -> None:
    data = _made_up("youtube-ugc", seed=1)
    low, high = data.features.min(axis=0), data.features.max(axis=0)
    scaled = 2 * (data.features - low) / (high - low) - 1
    theirs = SVR(C=C, epsilon=EPSILON, gamma=GAMMA).fit(scaled, data.opinions).predict(scaled)
    np.testing.assert_allclose(predict(fit(data.features, data.opinions), data.features), theirs, atol=1e-2)


def test_what_is_undefined_takes_the_mean_of_training() -> None:
    data = _made_up("youtube-ugc", seed=2)
    holed, filled = data.features.copy(), data.features.copy()
    holed[:10, 5] = np.nan
    filled[:10, 5] = filled[10:, 5].mean()
    model = fit(holed, data.opinions)
    np.testing.assert_allclose(predict(model, holed), predict(model, filled), atol=1e-3)
    with pytest.raises(ConfigurationError, match=r"got none of \[5\]"):
        fit(np.where(np.arange(60) == 5, np.nan, data.features), data.opinions)


def test_features_beyond_what_was_seen_count_as_the_farthest_seen() -> None:
    data = _made_up("youtube-ugc", seed=3)
    model = fit(data.features, data.opinions)
    farthest = np.full((1, 60), data.features.max(axis=0))
    np.testing.assert_allclose(predict(model, farthest * 100), predict(model, farthest), atol=1e-3)


def test_more_videos_than_there_is_room_for_are_refused() -> None:
    model = Videval()
    data = _made_up("youtube-ugc", seed=4, num=3300)
    with pytest.raises(ConfigurationError, match="support vectors must be <= 3200, got"):
        fit_videval(model, data.features, data.opinions, c=1e-6, epsilon=0.0, gamma=GAMMA)


def test_features_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"must be \(n, 1, 60\) features, got \(1, 2, 60\)"):
        Videval().head(torch.zeros(1, 0), torch.zeros(1, 2, 60))


def test_nested_least_squares_find_the_scale_of_each_data_set() -> None:
    data_sets = (
        _made_up("youtube-ugc", seed=5, num=600),
        _made_up("live-vqc", seed=6, gain=0.6, offset=25, num=600),
    )
    found = aligned(data_sets, "inlsa")
    assert found[0] is not data_sets[0]
    np.testing.assert_array_equal(found[0].opinions, data_sets[0].opinions)
    gain, offset = np.polyfit(data_sets[1].opinions, found[1].opinions, 1)
    assert (gain, offset) == (pytest.approx(0.6, abs=0.05), pytest.approx(25, abs=3))


def test_a_logistic_straightens_a_bent_scale() -> None:
    straight, other = _made_up("youtube-ugc", seed=7, num=600), _made_up("live-vqc", seed=8, num=600)
    bent = replace(other, opinions=100 * stats.norm.cdf((other.opinions - 50) / 12))
    errors = [
        np.std(aligned((straight, bent), way)[1].opinions - other.opinions) for way in ("ranges", "logistic")
    ]
    assert errors[1] < 0.75 * errors[0]


def test_alignment_by_ranges_leaves_opinions_alone_and_no_other_way_is_known() -> None:
    data_sets = (_made_up("konvid-1k", seed=9), _made_up("live-vqc", seed=10))
    assert aligned(data_sets, "ranges") == data_sets
    with pytest.raises(ConfigurationError, match="got 'nearest'"):
        aligned(data_sets, "nearest")


def test_a_model_of_one_data_set_is_tested_on_another_and_by_category() -> None:
    one, other = _made_up("konvid-1k", seed=11), _made_up("live-vqc", seed=12)
    crossed = from_set_to_set(one, other)
    assert (crossed.trained_on, crossed.tested_on) == ("konvid-1k", "live-vqc")
    assert crossed.srcc > 0.8
    assert crossed.error < 0.6
    everyone = together([one, other])
    predicted = out_of_fold(everyone, rng=np.random.default_rng(0))
    assert 1 < np.abs(predicted - everyone.opinions).mean() < 6  # not of models that saw them
    found = on_categories(everyone, predicted)
    assert [row.category for row in found] in (["a", "b"], ["b", "a"])
    assert found[0].srcc <= found[1].srcc


@pytest.mark.parametrize("content", [b"no table", None])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "features.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"features\.parquet is no table"):
        read_opinions(path)


def test_a_table_of_other_data_sets_is_refused(tmp_path: Path) -> None:
    table = pq.read_table(SHIPPED).slice(0, 3)
    renamed = table.set_column(0, "data_set", pa.array(["another"] * 3))
    pq.write_table(renamed, tmp_path / "table.parquet")
    with pytest.raises(DatasetError, match=r"data sets \['another'\]"):
        read_opinions(tmp_path / "table.parquet")


@pytest.mark.parametrize("name", ["videval"])
def test_the_model_that_ships_agrees_with_the_people_it_was_fitted_to(name: str) -> None:
    checkpoint = weights.read(weights.shipped(name), architecture=name)
    model = weights.build(checkpoint)
    assert zoo.spec(name).sampling.has_statistics
    assert checkpoint.status == "trained"
    assert {"notes", "opinions"} <= set(checkpoint.card)
    everyone = together(read_opinions(version=name))
    scores = checkpoint.calibration.to_score(predict(model, everyone.features))
    assert stats.spearmanr(scores, everyone.opinions).statistic > 0.8
    assert np.abs(scores - everyone.opinions).mean() < 9


def test_a_model_of_statistics_is_not_attacked() -> None:
    zoo.require_pixels("nss-svr", purpose="to be attacked")
    with pytest.raises(ConfigurationError, match="must read pixels to be attacked, got 'videval'"):
        TargetConfig(model="videval").load()
    assert len(fingerprint(weights.build(weights.default("videval")), zoo.spec("videval").sampling)) == 1
