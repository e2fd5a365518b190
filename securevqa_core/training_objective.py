"""Owns what a batch says about a model: the forward pass, the losses, and that a training has failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from securevqa_core.errors import RunError
from securevqa_core.losses import plcc_loss, released_plcc_loss, released_rank_loss, srcc_loss
from securevqa_core.scoring import normalise
from securevqa_core.training_config import TrainConfig
from securevqa_core.training_data import Batch

__all__ = ["Objective", "inter_backbone", "statistics_stem"]

FROZEN_CHUNK = 8  # segments that a frozen inter branch sees at once

_INTER_BACKBONES = ("inter_backbone", "aesthetic_backbone")


def inter_backbone(model: Any) -> nn.Module | None:
    """Return the module behind `model.inter`, None for a model without inter branch."""
    found = (getattr(model, name, None) for name in _INTER_BACKBONES)
    return next((module for module in found if module is not None), None)


def statistics_stem(model: Any) -> Callable[[Tensor], Tensor] | None:
    """Return what turns normalised fragments into statistics, None for a model that sees pixels."""
    backbone = getattr(model, "fragments_backbone", None)
    if getattr(getattr(backbone, "config", None), "stem", None) != "statistics":
        return None
    stem: Callable[[Tensor], Tensor] = model.fragments_backbone.statistics
    return stem


class Objective:
    """The loss of a model on batches."""

    def __init__(self, model: Any, config: TrainConfig, device: torch.device) -> None:
        self._model, self._config, self._device = model, config, device
        backbone = inter_backbone(model)
        if backbone is not None:
            backbone.requires_grad_(config.inter == "trained")

    def train_mode(self) -> None:
        """Put the model in train mode, but for an inter backbone that is frozen."""
        self._model.train()
        backbone = inter_backbone(self._model)
        if backbone is None:
            return
        backbone.eval()  # frozen batch norms must not drift
        if self._config.inter == "trained":
            for child in backbone.children():  # the fast pathway itself refuses train mode
                child.train()

    def losses(self, batch: Batch, *, where: str) -> dict[str, Tensor]:
        """Return the loss of a batch and its parts; the paper's are 0 where all labels are equal.

        Args:
            batch: on the CPU.
            where: in the training this is, for messages.

        Raises:
            RunError: the raw scores are not finite or all equal.
        """
        config, batch = self._config, _moved(batch, self._device)
        features, scores = self._forward(batch)
        _require_sound(scores, where)
        linear, rank = self._agreement(scores, batch.labels)
        losses = {"plcc_loss": linear, "rank_loss": rank}
        loss = linear + config.effective_rank_weight * rank
        if hasattr(self._model, "auxiliary_loss") and config.auxiliary_weight:
            losses["auxiliary_loss"] = self._model.auxiliary_loss(features, batch)
            loss = loss + config.auxiliary_weight * losses["auxiliary_loss"]
        return {"loss": loss, **losses}

    def _agreement(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if bool((labels == labels[0]).all()):  # nothing to rank; the step still has to have a gradient
            return 0 * scores.sum(), 0 * scores.sum()
        if self._config.losses == "paper":
            soft = srcc_loss(scores, labels, softness=self._config.rank_softness)
            return plcc_loss(scores, labels), soft
        return released_plcc_loss(scores, labels), released_rank_loss(scores, labels)

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return intra features (n, c, t, h, w) and raw scores (n,), both float32."""
        with self._autocast():
            features = self._intra(batch).float()
        inter = batch.features if batch.segments is None else self._inter(batch.segments)
        scores: Tensor = self._model.head(features, inter).mean(dim=1)
        return features, scores

    def _intra(self, batch: Batch) -> Tensor:
        if batch.statistics is not None:
            found: Tensor = self._model.fragments_backbone.from_statistics(batch.statistics)
            return found
        assert batch.fragments is not None
        features: Tensor = self._model.intra(normalise(batch.fragments))
        return features

    def _inter(self, segments: Tensor) -> Tensor:
        """Return (n, m, channels) from uint8 segments (n, m, t, h, w, 3)."""
        is_trained, flat = self._config.inter == "trained", segments.flatten(0, 1)
        chunks = (flat,) if is_trained else torch.split(flat, FROZEN_CHUNK)
        with torch.set_grad_enabled(is_trained), self._autocast():
            features = [
                self._model.inter(normalise(chunk).contiguous(memory_format=torch.channels_last_3d)).float()
                for chunk in chunks
            ]
        return torch.cat(features).view(*segments.shape[:2], -1)

    def _autocast(self) -> torch.autocast:
        is_enabled = self._config.precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=is_enabled)


def _require_sound(scores: Tensor, where: str) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise RunError(f"training diverged in {where}: raw scores {scores.tolist()}")
    if bool((scores == scores[0]).all()):
        raise RunError(f"training collapsed in {where}: every raw score is {scores[0].item():g}")


def _moved(batch: Batch, device: torch.device) -> Batch:
    parts = ("fragments", "statistics", "segments", "features", "labels")
    there = {name: getattr(batch, name) for name in parts}
    moved: dict[str, Any] = {name: None if x is None else x.to(device) for name, x in there.items()}
    return replace(batch, **moved)
