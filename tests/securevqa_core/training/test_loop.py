"""Training: interrupted or not it ends at the same weights, those of the epoch that validation names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from byhand import score_by_hand
from cli import wait_until
from labelled import TINY, cached
from torch import Tensor, nn

from securevqa_core import metrics, zoo
from securevqa_core.errors import CheckpointError, ConfigurationError, OutputError, RunError
from securevqa_core.randomness import Key, keyed_draws
from securevqa_core.scoring import PIXEL_MEAN, PIXEL_SD, normalise
from securevqa_core.training.cache import CachedVideo, build_cache, local_video
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.data import BatchMaker, step_rng
from securevqa_core.training.loop import Fitted, TrainingData, fit
from securevqa_core.training.losses import pair_loss
from securevqa_core.training.objective import Objective
from securevqa_core.training.state import METRICS_FILE, STATE_FILE
from securevqa_core.training.validation import Scorer, correlations, taught

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CONFIG = TrainConfig(epochs=2, batch_size=4, warmup_epochs=0.5, train_segments=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def data(folder: Path) -> TrainingData:
    return data_of(cached(folder))


def data_of(videos: list[CachedVideo]) -> TrainingData:
    """Validate on one source, train on the other two."""
    held_out = videos[0].source
    return TrainingData(
        train=[video for video in videos if video.source != held_out],
        validation=[video for video in videos if video.source == held_out],
    )


class Tiny(nn.Module):
    """A model without inter branch, small enough for a step to take milliseconds."""

    has_inter = False

    def __init__(self) -> None:
        super().__init__()
        self.fragments_backbone = nn.Sequential(
            nn.Conv3d(3, 4, (2, 8, 8), stride=(2, 8, 8)), nn.GELU(), nn.Dropout(0.2)
        )
        self.vqa_head = nn.Linear(4, 1)

    def intra(self, x: Tensor) -> Tensor:
        features: Tensor = self.fragments_backbone(x)
        return features

    def head(self, f: Tensor, _e: None) -> Tensor:
        scores: Tensor = self.vqa_head(f.mean(dim=(3, 4)).transpose(1, 2)).squeeze(-1)
        return scores


def tiny() -> Tiny:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Tiny()


def train(
    data: TrainingData, output: Path, config: TrainConfig = CONFIG, model: Any = None, **options: Any
) -> tuple[Any, Fitted]:
    model = tiny() if model is None else model
    return model, fit(model, data, config, output=output, device=CPU, **options)


def require_same_weights(one: nn.Module, other: nn.Module) -> None:
    others = other.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, others[name]), name


class Stop(Exception):  # noqa: N818 - not an error
    """Ends a training from inside."""


def stop(_metrics: dict[str, Any]) -> None:
    raise Stop


LONG = replace(CONFIG, epochs=5, steps_per_epoch=4)


@pytest.mark.slow
def test_a_training_stopped_between_epochs_ends_as_one_that_was_not(
    data: TrainingData, tmp_path: Path
) -> None:
    whole, expected = train(data, tmp_path / "whole", LONG)
    for _ in range(3):
        with pytest.raises(Stop):
            train(data, tmp_path / "parts", LONG, on_epoch=stop)
    resumed, found = train(data, tmp_path / "parts", LONG)
    require_same_weights(resumed, whole)
    assert found.validation_scores == expected.validation_scores
    assert [epoch["loss"] for epoch in found.history] == [epoch["loss"] for epoch in expected.history]


class StopsAt(Tiny):
    """Ends the training at one forward pass."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def intra(self, x: Tensor) -> Tensor:
        self.left -= self.training
        if not self.left:
            raise Stop
        return super().intra(x)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_stopped_within_an_epoch_ends_as_one_that_was_not(
    accumulate: int, data: TrainingData, tmp_path: Path
) -> None:
    config = replace(LONG, epochs=3, accumulate=accumulate, checkpoint_minutes=0)
    whole, expected = train(data, tmp_path / "whole", config)
    stopping = StopsAt(7 * accumulate)  # in the second epoch, at its third step
    stopping.load_state_dict(tiny().state_dict())
    with pytest.raises(Stop):
        train(data, tmp_path / "parts", config, stopping)
    resumed, found = train(data, tmp_path / "parts", config)
    require_same_weights(resumed, whole)
    assert [epoch["loss"] for epoch in found.history] == [epoch["loss"] for epoch in expected.history]


@pytest.mark.slow
def test_a_killed_training_of_the_default_model_ends_as_one_that_was_not(
    data: TrainingData, folder: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1, steps_per_epoch=6, checkpoint_minutes=0)
    build = zoo.build
    whole, _ = train(data, tmp_path / "whole", config, build("secure-vqa-compact"))
    program = f"""
import sys, torch
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2] / "support")]!r}
from pathlib import Path
from test_loop import *
torch.set_num_threads(1)
config = replace(CONFIG, epochs=1, steps_per_epoch=6, checkpoint_minutes=0)
data = data_of(cached(Path({str(folder)!r})))
train(data, Path({str(tmp_path / "parts")!r}), config, zoo.build("secure-vqa-compact"))
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    state = tmp_path / "parts" / STATE_FILE
    wait_until(lambda: state.exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training was over before it could be killed"
    assert torch.load(state, weights_only=True)["place"]["step"] < 6
    resumed, _ = train(data, tmp_path / "parts", config, build("secure-vqa-compact"))
    require_same_weights(resumed, whole)


def test_a_finished_training_is_not_repeated(data: TrainingData, tmp_path: Path) -> None:
    first, expected = train(data, tmp_path)
    again, found = train(data, tmp_path, on_epoch=stop)
    require_same_weights(again, first)
    assert found == expected


def test_seeds_decide_the_weights_and_the_global_generator_is_left_alone(
    data: TrainingData, tmp_path: Path
) -> None:
    before = torch.random.get_rng_state()
    one, _ = train(data, tmp_path / "1")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    same, _ = train(data, tmp_path / "2")
    other, _ = train(data, tmp_path / "3", replace(CONFIG, seed=1))
    require_same_weights(one, same)
    assert not torch.equal(one.vqa_head.weight, other.vqa_head.weight)


def test_the_best_epoch_is_the_first_with_the_highest_srcc_on_validation(
    data: TrainingData, tmp_path: Path
) -> None:
    model, fitted = train(data, tmp_path, replace(LONG, learning_rate=0.05, ema_decay=0))
    srccs = [epoch["validation_srcc"] for epoch in fitted.history]
    assert len(srccs) == 5
    assert fitted.best_epoch == int(np.argmax(srccs))
    assert fitted.best_srcc == max(srccs)
    labels = [video.label for video in data.validation]
    assert metrics.srcc(fitted.validation_scores, labels) == fitted.best_srcc
    scorer = Scorer(data.validation, device=CPU, precision="float32", frozen_inter=True)
    assert scorer.scores(model).tolist() == list(fitted.validation_scores)


def test_without_validation_the_last_epoch_is_kept(data: TrainingData, tmp_path: Path) -> None:
    _, fitted = train(TrainingData(train=data.train), tmp_path)
    assert (fitted.best_epoch, fitted.best_srcc, fitted.validation_scores) == (1, None, ())


def test_metrics_are_logged_as_json_lines_and_for_tensorboard(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(data, tmp_path, on_epoch=stop)
    (tmp_path / METRICS_FILE).write_text((tmp_path / METRICS_FILE).read_text() + '{"epoch": 1, "stale": 1}\n')
    _, fitted = train(data, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert lines == list(fitted.history)
    assert {"loss", "plcc_loss", "rank_loss", "gradient_norm", "learning_rate"} <= lines[0].keys()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("loss")}
    assert logged == pytest.approx({line["epoch"]: line["loss"] for line in lines}, rel=1e-6)


@pytest.mark.slow
def test_training_lowers_the_loss(data: TrainingData, tmp_path: Path) -> None:
    config = replace(LONG, epochs=6, steps_per_epoch=20, learning_rate=0.02, backbone_factor=1.0)
    _, fitted = train(data, tmp_path, config)
    assert fitted.history[-1]["loss"] < 0.85 * fitted.history[0]["loss"]


# model -> what is trained besides the head, settings
TRAINED = [
    ("secure-vqa-compact", {"inter": "frozen"}),
    ("secure-vqa-compact", {"inter": "cached", "precision": "bfloat16", "num_feature_draws": 2}),
    ("secure-vqa-compact", {"inter": "cached", "num_statistics_draws": 2}),
    ("secure-vqa-compact", {"inter": "trained", "losses": "released", "optimiser": "adam"}),
    ("secure-vqa-compact", {"inter": "trained", "num_statistics_draws": 2}),
    ("secure-vqa-compact", {"inter": "trained", "adversarial_epsilon": 2.0}),
    ("secure-vqa", {"inter": "trained"}),
    ("fast-vqa-m", {"losses": "released", "flip": False}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), TRAINED)
def test_models_of_the_zoo_train_and_a_frozen_branch_stays_as_it_was(
    name: str, settings: dict[str, Any], data: TrainingData, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=1, steps_per_epoch=1, warmup_epochs=0, **settings)
    before, (model, fitted) = zoo.build(name), train(data, tmp_path, config, zoo.build(name))
    assert not model.training
    changed = {
        key.partition(".")[0]
        for (key, value), other in zip(model.state_dict().items(), before.state_dict().values(), strict=True)
        if not torch.equal(value, other)
    }
    expected = {"fragments_backbone", "vqa_head"}
    if settings.get("inter") == "trained":
        expected.add("inter_backbone")
        means = [
            next(b for name, b in one.inter_backbone.named_buffers() if name.endswith("running_mean"))
            for one in (model, before)
        ]
        assert not torch.equal(*means)
    assert changed == expected
    assert np.isfinite(fitted.validation_scores).all()


def test_validation_scores_are_those_of_scoring(folder: Path) -> None:
    """The way of `score --seed`, step by step."""
    sampling = replace(TINY, num_clips=2)
    video = cached(folder, sampling)[0]
    model: Any = zoo.build("secure-vqa-compact")
    draws = keyed_draws(Key.public(video.config.seed), video.content_sha256, 2)
    expected = score_by_hand(video.uri, model, sampling=sampling, draws=draws).raw.mean()
    for frozen in (True, False):
        scorer = Scorer([video], frozen_inter=frozen, device=CPU, precision="float32")
        scores = scorer.scores(model)
        assert scores == pytest.approx([expected], rel=1e-4)
        assert scorer.scores(model).tolist() == scores.tolist()


def test_another_training_s_output_is_refused(data: TrainingData, tmp_path: Path) -> None:
    train(data, tmp_path)
    for config, difference in [
        (replace(CONFIG, learning_rate=0.5), "learning_rate: 0.001 -> 0.5"),
        (replace(CONFIG, epochs=3, seed=9), "seed: 0 -> 9; epochs: 2 -> 3"),
    ]:
        with pytest.raises(ConfigurationError, match=f"is of another training: {difference}; choose another"):
            train(data, tmp_path, config)
    with pytest.raises(ConfigurationError, match=r"is of another training: data: [0-9a-f]+ -> [0-9a-f]+;"):
        train(replace(data, validation=()), tmp_path)
    train(data, tmp_path, replace(CONFIG, checkpoint_minutes=1))  # how often to save is free to change


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is not a file"), (b"text", "is not a file"), (None, "format_version 7, and only 1 is known")],
)
def test_a_damaged_state_is_named(
    content: bytes | None, message: str, data: TrainingData, tmp_path: Path
) -> None:
    if content is None:
        torch.save({"format_version": 7}, tmp_path / STATE_FILE)
    else:
        (tmp_path / STATE_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"training state '.*{STATE_FILE}' .*{message}"):
        train(data, tmp_path)


def test_a_state_that_cannot_be_written_is_an_error(data: TrainingData, tmp_path: Path) -> None:
    (tmp_path / f".part-{STATE_FILE}").mkdir()
    with pytest.raises(OutputError, match=rf"training state '.*{STATE_FILE}' cannot be written"):
        train(data, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 9}, "must be <= 8 training videos, got 9 x 1 x 1"),
        ({"accumulate": 3}, "must be <= 8 training videos, got 4 x 3 x 1"),
    ],
)
def test_more_clips_a_step_than_there_are_is_refused(
    settings: dict[str, Any], message: str, data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        train(data, tmp_path, replace(CONFIG, **settings))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"inter": "frozen"}, ["training"]),
        ({"inter": "cached"}, ["computing statistics", "training"]),
        ({"num_statistics_draws": 2}, ["computing statistics", "training"]),
        ({"distils": True}, ["scoring with the teacher", "training"]),
    ],
)
def test_what_takes_long_before_the_first_epoch_is_said(
    settings: dict[str, Any], expected: list[str], data: TrainingData, tmp_path: Path
) -> None:
    model, stages = zoo.build("secure-vqa-compact"), []
    config = replace(CONFIG, epochs=1, steps_per_epoch=1, **settings)
    fit(model, data, config, output=tmp_path, device=CPU, on_stage=stages.append)
    assert stages == expected


def test_more_segments_than_are_cached_are_refused(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="train_segments must be <= num_segments=4, got 5"):
        train(data, tmp_path, replace(CONFIG, train_segments=5), zoo.build("secure-vqa-compact"))


def test_a_source_on_both_sides_is_refused(data: TrainingData) -> None:
    with pytest.raises(
        ConfigurationError, match=f"trained and validated on, got 1: '{data.train[0].source}'"
    ):
        TrainingData(train=data.train, validation=data.train[:1])


def test_training_on_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="train must hold at least one video, got 0"):
        TrainingData(train=[])


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (0.0, 0.25, r"training collapsed in epoch 0, step 0: every raw score is 0\.25"),
        (float("nan"), 0.0, r"training diverged in epoch 0, step 0: raw scores \[nan, nan, nan, nan\]"),
    ],
)
def test_a_training_that_failed_says_so(
    weight: float, bias: float, message: str, data: TrainingData, tmp_path: Path
) -> None:
    model = tiny()
    nn.init.constant_(model.vqa_head.weight, weight)
    nn.init.constant_(model.vqa_head.bias, bias)
    with pytest.raises(RunError, match=message):
        train(data, tmp_path, model=model)


class Exploding(Tiny):
    """Has finite scores and gradients that are not."""

    def head(self, f: Tensor, e: Tensor | None) -> Tensor:
        scores = super().head(f, e)
        return scores + (0 * scores).sqrt()


def test_gradients_that_are_not_finite_end_the_training(data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="training diverged in epoch 0, step 0: gradient norm nan"):
        train(data, tmp_path, model=Exploding())


def with_references(data: TrainingData, folder: Path) -> TrainingData:
    """Give the training videos of one source their best encoding for a reference."""
    source = data.train[0].source
    best = max((video for video in data.train if video.source == source), key=lambda video: video.label)
    labelled = [
        replace(local_video(video.uri, label=video.label, source=source), reference=best.uri)
        for video in data.train
        if video.source == source
    ]
    learnt, failures = build_cache(labelled, folder / "cache", data.train[0].config, num_workers=2)
    assert not failures
    others = [video for video in data.train if video.source != source]
    return TrainingData(train=[*learnt, *others], validation=data.validation)


@pytest.mark.slow
def test_what_fragments_have_lost_is_learnt_and_only_the_model_is_kept(
    data: TrainingData, folder: Path, tmp_path: Path
) -> None:
    learnt = with_references(data, folder)
    config = replace(CONFIG, epochs=6, warmup_epochs=0, learning_rate=3e-3, backbone_factor=1.0)
    model, fitted = train(learnt, tmp_path / "with", config, zoo.build("secure-vqa-compact"))
    losses = [epoch["difference_loss"] for epoch in fitted.history]
    assert losses[-1] < 0.8 * losses[0]
    assert set(model.state_dict()) == set(zoo.build("secure-vqa-compact").state_dict())
    _, without = train(learnt, tmp_path / "without", replace(CONFIG, difference_weight=0))
    assert "difference_loss" not in without.history[0]


@pytest.mark.slow
def test_a_stopped_training_with_references_ends_as_one_that_was_not(
    data: TrainingData, folder: Path, tmp_path: Path
) -> None:
    learnt = with_references(data, folder)
    config = replace(CONFIG, distance_weight=0.5)
    whole, expected = train(learnt, tmp_path / "whole", config, zoo.build("secure-vqa-compact"))
    with pytest.raises(Stop):
        train(learnt, tmp_path / "parts", config, zoo.build("secure-vqa-compact"), on_epoch=stop)
    resumed, found = train(learnt, tmp_path / "parts", config, zoo.build("secure-vqa-compact"))
    require_same_weights(resumed, whole)
    assert [epoch["loss"] for epoch in found.history] == [epoch["loss"] for epoch in expected.history]


def test_a_model_without_fragments_cannot_learn_what_they_have_lost(
    data: TrainingData, folder: Path, tmp_path: Path
) -> None:
    model = tiny()
    del model.fragments_backbone
    with pytest.raises(
        ConfigurationError, match="difference_weight > 0 needs a model with fragments, got a Tiny"
    ):
        train(with_references(data, folder), tmp_path, model=model)


def test_the_distance_from_standardised_labels_is_learnt_where_it_has_a_weight(
    data: TrainingData, tmp_path: Path
) -> None:
    labels = np.array([video.label for video in data.train])
    standard = torch.from_numpy((labels - labels.mean()) / labels.std())
    model = tiny().eval()
    objective = Objective(model, data.train, replace(CONFIG, distance_weight=2.0), CPU)
    batch = BatchMaker(flip=False, num_segments=0)(data.train, step_rng("batch", 0))
    scores = model.head(model.intra(normalise(batch.fragments)), None).mean(dim=1)
    found = objective.losses(batch, where="here")
    assert found["distance_loss"].item() == pytest.approx(
        nn.functional.smooth_l1_loss(scores.double(), standard).item(), abs=1e-5
    )
    parts = found["plcc_loss"] + found["rank_loss"] + 2 * found["distance_loss"]
    assert found["loss"].item() == pytest.approx(parts.item(), rel=1e-6)


def test_the_order_of_clips_of_one_content_is_learnt_where_it_has_a_weight(data: TrainingData) -> None:
    model = tiny().eval()
    objective = Objective(model, data.train, replace(CONFIG, pair_weight=3.0), CPU)
    batch = BatchMaker(flip=False, num_segments=0)(data.train, step_rng("batch", 0))
    scores = model.head(model.intra(normalise(batch.fragments)), None).mean(dim=1)
    sources = sorted({video.source for video in data.train})
    contents = torch.tensor([sources.index(video.source) for video in data.train])
    assert 1 < len(sources) < len(data.train)
    found = objective.losses(batch, where="here")
    assert found["pair_loss"].item() == pytest.approx(pair_loss(scores, batch.labels, contents).item())
    parts = found["plcc_loss"] + found["rank_loss"] + 3 * found["pair_loss"]
    assert found["loss"].item() == pytest.approx(parts.item(), rel=1e-6)


class Brightness(nn.Module):
    """Scores how bright a clip is, and remembers the levels (n, d, h, w, 3) it last learnt from."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def intra(self, x: Tensor) -> Tensor:
        if self.training:
            sd, mean = torch.tensor(PIXEL_SD), torch.tensor(PIXEL_MEAN)
            self.learnt_from = (x.permute(0, 2, 3, 4, 1) * sd + mean).detach()
        return self.gain * x

    def head(self, f: Tensor, _e: None) -> Tensor:
        return f.mean(dim=(1, 2, 3, 4))[:, None]


def test_half_a_batch_is_learnt_from_where_it_scores_higher_or_lower(data: TrainingData) -> None:
    model, videos = Brightness(), list(data.train)[:8]
    settings = replace(CONFIG, inter="trained", adversarial_epsilon=2.0, adversarial_steps=4)
    batch = BatchMaker(flip=False, num_segments=0)(videos, step_rng("batch", 0))
    objective = Objective(model, videos, settings, CPU)
    objective.train_mode()
    objective.losses(batch, where="here")
    assert model.training
    assert batch.fragments is not None
    clean = batch.fragments.float()
    kinds = []
    for before, after in zip(clean, model.learnt_from, strict=True):
        # A linear model's pixels all go to one end of the budget, but for those that end at black or white.
        ends = [(before + shift).clamp(0, 255) for shift in (-2, 0, 2)]
        kinds += [k for k, end in enumerate(ends) if torch.allclose(after, end, atol=1e-3)]
    assert len(kinds) == len(videos)
    assert sorted(kinds) == [0, 0, 1, 1, 1, 1, 2, 2]


def test_a_student_learns_one_score_a_clip_on_the_scale_of_the_labels(data: TrainingData) -> None:
    teacher, videos = tiny(), list(data.train)
    students = taught(teacher, videos, device=CPU, precision="float32")
    scores = Scorer(videos, device=CPU, precision="float32", frozen_inter=True).scores(teacher)
    before, after = (np.array([video.label for video in part]) for part in (videos, students))
    np.testing.assert_allclose(
        (after - before.mean()) / before.std(), (scores - scores.mean()) / scores.std()
    )
    assert [replace(video, label=0.0) for video in students] == [replace(v, label=0.0) for v in videos]
    assert metrics.srcc(after, before) < 0.99, "a teacher that knows the labels tells nothing apart"


def test_a_student_does_not_see_the_labels_but_for_their_scale(data: TrainingData, tmp_path: Path) -> None:
    config = replace(CONFIG, distils=True, distance_weight=1.0)
    turned = [video.label for video in reversed(data.train)]
    other = [replace(video, label=label) for video, label in zip(data.train, turned, strict=True)]
    told, _ = train(TrainingData(train=data.train), tmp_path / "told", config)
    mistold, _ = train(TrainingData(train=other), tmp_path / "mistold", config)
    require_same_weights(mistold, told)
    with pytest.raises(AssertionError):
        require_same_weights(mistold, train(data, tmp_path / "labels", replace(config, distils=False))[0])


def test_an_interrupted_student_keeps_its_teacher(data: TrainingData, tmp_path: Path) -> None:
    config = replace(LONG, distils=True, distance_weight=1.0)
    whole, _ = train(data, tmp_path / "whole", config)
    with pytest.raises(Stop):
        train(data, tmp_path / "parts", config, on_epoch=stop)
    resumed, _ = train(data, tmp_path / "parts", config)
    require_same_weights(resumed, whole)


def test_an_attack_in_training_needs_pixels() -> None:
    with pytest.raises(ConfigurationError, match=r"needs pixels: .*, got 1 and 'trained'"):
        replace(CONFIG, adversarial_epsilon=2.0, num_statistics_draws=1, inter="trained")
    with pytest.raises(ConfigurationError, match=r"needs pixels: .*, got 0 and 'frozen'"):
        replace(CONFIG, adversarial_epsilon=2.0)


def test_batches_of_equal_labels_move_nothing(data: TrainingData, tmp_path: Path) -> None:
    equal = TrainingData(train=[replace(video, label=50.0) for video in data.train])
    model, fitted = train(equal, tmp_path, replace(CONFIG, weight_decay=0))
    require_same_weights(model, tiny())
    assert fitted.history[0]["loss"] == 0


def test_correlations_that_are_not_defined_are_null() -> None:
    names = ("validation_srcc", "validation_plcc", "validation_krcc")
    assert correlations(np.ones(4), np.arange(4.0)) == dict.fromkeys(names)
    assert correlations(np.arange(4.0), np.arange(4.0)) == pytest.approx(dict.fromkeys(names, 1.0))
