"""Owns what moves the weights: parameter groups, learning-rate schedule, averaged weights, worker groups."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from securevqa_core.errors import ConfigurationError, an
from securevqa_core.training.config import TrainConfig

__all__ = ["ALONE", "Workers", "averaged_model", "make_optimiser", "schedule_factor", "set_learning_rate"]

_BACKBONE_SUFFIX = "_backbone"
_NO_DECAY_SUFFIX = "position_bias_table"


class Workers(Protocol):
    """The processes that train one model together, as seen from one of them."""

    @property
    def rank(self) -> int:
        """Number of this process; 0 is the one that writes."""

    @property
    def size(self) -> int:
        """How many there are."""

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the workers, in place."""

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's `value`, by rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alone:
    """The only worker."""

    rank: int = 0
    size: int = 1

    def average(self, tensors: list[Tensor]) -> None:
        """Leave the tensors: they are their own mean."""

    def gather(self, value: Any) -> list[Any]:
        """Return the only value there is."""
        return [value]


ALONE: Workers = _Alone()


def make_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser over what takes a gradient: backbones slower, norms and biases without decay.

    Raises:
        ConfigurationError: nothing takes one.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            has_decay = parameter.ndim > 1 and not name.endswith(_NO_DECAY_SUFFIX)
            groups.setdefault((name.partition(".")[0].endswith(_BACKBONE_SUFFIX), has_decay), []).append(
                parameter
            )
    if not groups:
        raise ConfigurationError(
            f"a model to train must have weights with a gradient, got {an(type(model).__name__)} with none"
        )
    options = [
        {
            "params": parameters,
            "lr": config.learning_rate,
            "weight_decay": config.weight_decay if has_decay else 0.0,
            "factor": config.backbone_factor if is_backbone else 1.0,
        }
        for (is_backbone, has_decay), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]
    return torch.optim.AdamW(options) if config.optimiser == "adamw" else torch.optim.Adam(options)


def schedule_factor(step: int, *, warmup_steps: float, num_steps: int) -> float:
    """Return the share of the full learning rate at a step: a linear rise, then a cosine to 0.

    Args:
        step: 0..num_steps - 1, over all epochs.
        warmup_steps: of the rise; at or above `num_steps` there is nothing but the rise.
        num_steps: of the whole training.
    """
    if step < warmup_steps:
        return (step + 1) / (math.ceil(warmup_steps) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(num_steps - warmup_steps, 1)))


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["factor"]


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of a model's weights; buffers follow the model.

    Young averages forget faster, min(decay, (1 + n) / (10 + n)) after n updates, else the first weights of a
    short training would never be forgotten.
    """

    def update(averages: Iterable[Tensor], current: Iterable[Tensor], num_averaged: Tensor | int) -> None:
        n = float(num_averaged)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(averages), list(current), weight)

    return AveragedModel(model, multi_avg_fn=update)
