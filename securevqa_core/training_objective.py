"""Owns what a batch says about a model: the forward pass, the losses, and that a training has failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from securevqa_core.errors import RunError
from securevqa_core.losses import plcc_loss, released_plcc_loss, released_rank_loss, srcc_loss
from securevqa_core.scoring import normalise
from securevqa_core.training_config import TrainConfig
from securevqa_core.training_data import Batch
from securevqa_core.training_inputs import inter_backbone

__all__ = ["Objective"]

FROZEN_CHUNK = 8  # segments that a frozen inter branch sees at once


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
        scores = self._scores(batch)
        _require_sound(scores, where)
        linear, rank = self._agreement(scores, batch.labels)
        losses = {"plcc_loss": linear, "rank_loss": rank}
        return {"loss": linear + config.effective_rank_weight * rank, **losses}

    def _agreement(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if bool((labels == labels[0]).all()):  # nothing to rank; the step still has to have a gradient
            return 0 * scores.sum(), 0 * scores.sum()
        if self._config.losses == "paper":
            soft = srcc_loss(scores, labels, softness=self._config.rank_softness)
            return plcc_loss(scores, labels), soft
        return released_plcc_loss(scores, labels), released_rank_loss(scores, labels)

    def _scores(self, batch: Batch) -> Tensor:
        """Return raw scores (n,), float32."""
        with self._autocast():
            features = self._intra(batch).float()
        inter = self._cached_inter(batch.features) if batch.segments is None else self._inter(batch.segments)
        scores: Tensor = self._model.head(features, inter).mean(dim=1)
        return scores

    def _intra(self, batch: Batch) -> Tensor:
        if batch.statistics is not None:
            found: Tensor = self._model.fragments_backbone.from_statistics(batch.statistics)
            return found
        assert batch.fragments is not None
        features: Tensor = self._model.intra(normalise(batch.fragments))
        return features

    def _cached_inter(self, cached: Tensor | None) -> Tensor | None:
        """Return (n, m, channels) from what is cached of the inter branch: it, or (n, m, s, t)."""
        if cached is None or self._config.inter == "cached":
            return cached
        with self._autocast():
            features: Tensor = self._model.inter_backbone.from_statistics(cached.flatten(0, 1))
        return features.float().view(*cached.shape[:2], -1)

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
