"""The baseline learns what a regression on the same statistics learns, and learns it again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled import TINY, cached
from numpy.typing import NDArray
from scipy import stats
from sklearn.svm import SVR

from securevqa_core import weights, zoo
from securevqa_core.errors import ConfigurationError, RunError
from securevqa_core.models import nss_svr
from securevqa_core.models.nss_svr import NUM_NSS_STATISTICS, NssSvr, fit_svr
from securevqa_core.scoring import normalise
from securevqa_core.training import baseline
from securevqa_core.training.baseline import CHOICES_OF_C, EPSILON, fit_baseline
from securevqa_core.training.loop import Fitted, TrainingData
from securevqa_core.training.validation import Scorer

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = "nss-svr"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    # As the zoo has it, no guardian map; small, so that a clip takes milliseconds.
    videos = cached(tmp_path_factory.mktemp("data"), replace(TINY, guardian_amplitude=0, num_clips=2))
    held_out = videos[0].source
    return TrainingData(
        train=[video for video in videos if video.source != held_out],
        validation=[video for video in videos if video.source == held_out],
    )


@pytest.fixture(scope="module")
def fitted(data: TrainingData) -> tuple[NssSvr, Fitted]:
    model = untrained()
    return model, fit_baseline(model, data)


def untrained() -> NssSvr:
    model = zoo.build(MODEL)
    assert isinstance(model, NssSvr)
    return model


def samples(num_samples: int = 60, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Statistics, and labels that depend on two of them."""
    rng = np.random.default_rng(seed)
    statistics = rng.normal(3, 2, size=(num_samples, NUM_NSS_STATISTICS)).astype(np.float32)
    return statistics, 50 + 10 * np.tanh(statistics[:, 0] - 3) - 4.0 * statistics[:, 1]


def scores(model: NssSvr, statistics: NDArray[np.float32]) -> NDArray[np.float32]:
    return model.head(torch.from_numpy(statistics)[..., None, None, None])[:, 0].numpy()


def test_scores_are_those_of_scikit_learn() -> None:
    model, (statistics, labels) = untrained(), samples()
    fit_svr(model, statistics, labels, c=10, epsilon=3)
    standard = np.clip((statistics - statistics.mean(axis=0)) / statistics.std(axis=0), -5, 5)
    machine = SVR(C=10, epsilon=3, gamma=1 / NUM_NSS_STATISTICS).fit(standard, labels)
    others = samples(seed=1)[0]
    standard = np.clip((others - statistics.mean(axis=0)) / statistics.std(axis=0), -5, 5)
    np.testing.assert_allclose(scores(model, others), machine.predict(standard), rtol=1e-3, atol=1e-3)


def test_a_statistic_far_from_all_that_was_learnt_is_held_at_five_deviations() -> None:
    model, (statistics, labels) = untrained(), samples()
    fit_svr(model, statistics, labels, c=10, epsilon=3)
    mean, sd = statistics.mean(axis=0), statistics.std(axis=0)
    far, further = scores(model, np.stack([mean + 6 * sd, mean + 600 * sd]))
    assert far == further


def test_what_was_learnt_before_is_forgotten() -> None:
    once, twice = untrained(), untrained()
    fit_svr(twice, *samples(300, seed=1), c=100, epsilon=0.1)
    for model in (once, twice):
        fit_svr(model, *samples(), c=10, epsilon=3)
    for name, value in once.state_dict().items():
        assert torch.equal(twice.state_dict()[name], value), name


def test_a_statistic_that_never_changes_teaches_nothing() -> None:
    model, (statistics, labels) = untrained(), samples()
    statistics[:, 7] = 4.0
    fit_svr(model, statistics, labels, c=10, epsilon=3)
    assert np.isfinite(scores(model, statistics)).all()


def test_the_statistics_are_42_and_finite_also_of_a_flat_picture() -> None:
    model = untrained()
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 4, 112, 112, 3), dtype=np.uint8)
    pixels[1] = 128
    found = model.intra(normalise(torch.from_numpy(pixels)))
    assert found.shape == (2, NUM_NSS_STATISTICS, 1, 1, 1)
    assert found.isfinite().all()


def test_more_support_vectors_than_there_is_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nss_svr, "MAX_SUPPORT_VECTORS", 3)
    with pytest.raises(ConfigurationError, match=r"support vectors must be <= 3, got \d\d"):
        fit_svr(untrained(), *samples(), c=10, epsilon=0.1)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(RunError, match=r"needs scikit-learn: install securevqa\[train\] \(import of sklearn"):
        fit_svr(untrained(), *samples(), c=10, epsilon=3)


def test_there_is_no_inter_branch() -> None:
    with pytest.raises(ConfigurationError, match=r"e must be None .* got \(1, 16, 256\)"):
        untrained().head(torch.zeros(1, NUM_NSS_STATISTICS, 1, 1, 1), torch.zeros(1, 16, 256))


@pytest.mark.slow
def test_the_checkpoint_that_comes_of_it_scores_the_same(
    fitted: tuple[NssSvr, Fitted], data: TrainingData, tmp_path: Path
) -> None:
    model, outcome = fitted
    path = tmp_path / "nss-svr.safetensors"
    weights.save(
        path, model, architecture=MODEL, calibration=zoo.spec(MODEL).calibration, status="trained", card={}
    )
    rebuilt = weights.build(weights.read(path, architecture=MODEL))
    scorer = Scorer(data.validation, device=torch.device("cpu"), precision="float32", frozen_inter=True)
    assert tuple(scorer.scores(rebuilt).tolist()) == outcome.validation_scores


def test_it_ranks_what_it_learnt_from(data: TrainingData) -> None:
    model = untrained()
    fit_baseline(model, TrainingData(train=data.train))
    scorer = Scorer(data.train, device=torch.device("cpu"), precision="float32", frozen_inter=True)
    found, labels = scorer.scores(model), [video.label for video in data.train]
    assert stats.spearmanr(found, labels).statistic > 0.9


def test_the_same_data_give_the_same_weights(fitted: tuple[NssSvr, Fitted], data: TrainingData) -> None:
    model, outcome = fitted
    again = untrained()
    assert fit_baseline(again, data) == outcome
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_choice_is_the_one_that_ranks_the_validation_videos_best(
    fitted: tuple[NssSvr, Fitted], data: TrainingData
) -> None:
    outcome = fitted[1]
    assert [entry["c"] for entry in outcome.history] == list(CHOICES_OF_C)
    ranks = [entry["validation_srcc"] for entry in outcome.history]
    assert outcome.best_srcc == max(ranks) == ranks[outcome.best_epoch]
    labels = [video.label for video in data.validation]
    found = stats.spearmanr(outcome.validation_scores, labels).statistic
    assert outcome.best_srcc == pytest.approx(found)


def test_every_draw_is_learnt_from_with_the_label_of_its_video(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[NDArray[np.float32], NDArray[np.float64], Any]] = []

    def spy(model: NssSvr, statistics: Any, labels: Any, **settings: Any) -> None:
        calls.append((statistics, labels, settings))
        fit_svr(model, statistics, labels, **settings)

    monkeypatch.setattr(baseline, "fit_svr", spy)
    model = untrained()
    fit_baseline(model, TrainingData(train=data.train))
    for statistics, labels, settings in calls:
        assert labels.tolist() == [video.label for video in data.train for _ in range(2)]
        assert settings == {"c": 10.0, "epsilon": EPSILON}
        for number, video in enumerate(data.train):
            for draw in range(2):
                pixels = torch.from_numpy(np.array(video.fragments()[draw, :1]))
                expected = model.intra(normalise(pixels)).flatten().numpy()
                np.testing.assert_allclose(statistics[2 * number + draw], expected, rtol=1e-4, atol=1e-5)


def test_without_validation_the_middle_choice_is_kept(data: TrainingData) -> None:
    outcome = fit_baseline(untrained(), TrainingData(train=data.train))
    assert CHOICES_OF_C[outcome.best_epoch] == 10.0
    assert [entry["c"] for entry in outcome.history] == [10.0]
    assert (outcome.best_srcc, outcome.validation_scores) == (None, ())


def test_validation_that_ranks_nothing_still_gives_a_model(data: TrainingData) -> None:
    outcome = fit_baseline(untrained(), TrainingData(train=data.train, validation=data.validation[:1]))
    assert outcome.best_srcc is None
    assert len(outcome.validation_scores) == 1
