"""What moves the weights: groups, schedule and averages, against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from securevqa_core import zoo
from securevqa_core.errors import ConfigurationError
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.steps import (
    averaged_model,
    make_optimiser,
    schedule_factor,
    set_learning_rate,
)

CONFIG = TrainConfig(learning_rate=0.01, backbone_factor=0.1, weight_decay=0.05)


def test_backbones_are_slower_and_norms_biases_and_tables_do_not_decay() -> None:
    model = zoo.build("secure-vqa-compact")
    optimiser = make_optimiser(model, CONFIG)
    set_learning_rate(optimiser, 0.002)
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = 0.002 * (0.1 if "_backbone." in name else 1)
        decays = name.endswith("weight") and "norm" not in name
        assert settings.pop(id(parameter)) == (pytest.approx(rate), 0.05 if decays else 0.0), name
    assert not settings


def test_what_is_frozen_is_not_optimised() -> None:
    model = zoo.build("secure-vqa")
    optimised = {id(p) for group in make_optimiser(model, CONFIG).param_groups for p in group["params"]}
    assert optimised == {
        id(p) for name, p in model.named_parameters() if not name.startswith("inter_backbone.")
    }


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_optimiser_is_the_one_asked_for(name: Any, kind: type) -> None:
    assert type(make_optimiser(nn.Linear(2, 1), replace(CONFIG, optimiser=name))) is kind


def test_the_rate_rises_to_the_full_one_and_falls_to_nearly_nothing() -> None:
    factors = [schedule_factor(step, warmup_steps=10, num_steps=100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[:11] == sorted(factors[:11])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)


@pytest.mark.parametrize(("warmup", "expected"), [(0, [1, 0.75, 0.25]), (3, [0.25, 0.5, 0.75])])
def test_a_schedule_may_be_all_fall_or_all_rise(warmup: int, expected: list[float]) -> None:
    factors = [schedule_factor(step, warmup_steps=warmup, num_steps=3) for step in range(3)]
    assert factors == pytest.approx(expected)


def test_averaged_weights_follow_the_formula_and_buffers_the_model() -> None:
    model = nn.BatchNorm1d(1)
    averaged = averaged_model(model, 0.5)
    expected = None
    for n, value in enumerate((1.0, 3.0, -2.0, 7.0)):
        nn.init.constant_(model.weight, value)
        nn.init.constant_(model.running_mean, value)  # type: ignore[arg-type]
        averaged.update_parameters(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert averaged.module.weight.item() == pytest.approx(expected)
        assert averaged.module.running_mean.item() == value


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", -1),
        ("epochs", 0),
        ("steps_per_epoch", -1),
        ("batch_size", 1),
        ("accumulate", 0),
        ("learning_rate", 0.0),
        ("backbone_factor", -0.1),
        ("weight_decay", -1.0),
        ("warmup_epochs", -0.5),
        ("max_gradient_norm", -1.0),
        ("ema_decay", 1.0),
        ("rank_weight", -0.3),
        ("rank_softness", 0.0),
        ("num_feature_draws", 0),
        ("num_statistics_draws", -1),
        ("train_segments", -4),
        ("checkpoint_minutes", -1.0),
        ("optimiser", "sgd"),
        ("precision", "float16"),
        ("losses", "mse"),
        ("inter", "warm"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{setting} must be .*, got {value!r}"):
        replace(CONFIG, **{setting: value})


def test_rank_weights_are_the_losses_own_unless_given() -> None:
    configs = [CONFIG, replace(CONFIG, losses="released"), replace(CONFIG, rank_weight=0.7)]
    assert [config.effective_rank_weight for config in configs] == [1.0, 0.3, 0.7]
    assert CONFIG.as_dict()["learning_rate"] == 0.01


def test_a_model_without_weights_cannot_be_trained() -> None:
    with pytest.raises(
        ConfigurationError, match=r"a model to train must have weights .*, got a Dropout with none"
    ):
        make_optimiser(nn.Dropout(), CONFIG)
