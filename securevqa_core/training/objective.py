"""Owns what a batch says about a model: the forward pass, the losses, and that a training has failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError, RunError, an
from securevqa_core.scoring import normalise
from securevqa_core.training.cache import CachedVideo
from securevqa_core.training.config import TrainConfig
from securevqa_core.training.data import Batch
from securevqa_core.training.differences import NUM_DIFFERENCES
from securevqa_core.training.inputs import inter_backbone
from securevqa_core.training.losses import (
    pair_loss,
    plcc_loss,
    released_plcc_loss,
    released_rank_loss,
    srcc_loss,
)

__all__ = ["Objective"]

LOCAL_HEAD = "local_head"
FROZEN_CHUNK = 8  # segments that a frozen inter branch sees at once
ATTACK_CHUNK = 4  # clips that are attacked at once


class Objective:
    """The loss of a model on batches.

    Where videos have references, the model gets a head for what its fragments have lost, `LOCAL_HEAD`, which
    is trained, averaged and saved with it until `finish` takes it away.

    Raises:
        ConfigurationError: the model has no map of fragments to learn local differences with.
    """

    def __init__(
        self, model: Any, videos: Sequence[CachedVideo], config: TrainConfig, device: torch.device
    ) -> None:
        self._model, self._config, self._device = model, config, device
        labels = np.array([video.label for video in videos])
        self._label_mean, self._label_sd = float(labels.mean()), float(labels.std()) or 1.0
        if config.difference_weight and any(video.reference is not None for video in videos):
            model.add_module(LOCAL_HEAD, _local_head(model).to(device))
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
        if config.adversarial_epsilon:
            batch = self._attacked(batch)
        features = self._intra(batch)
        scores = self._scores(features, batch)
        _require_sound(scores, where)
        linear, rank = self._agreement(scores, batch.labels)
        losses = {"plcc_loss": linear, "rank_loss": rank}
        loss = linear + config.effective_rank_weight * rank
        if config.distance_weight:
            losses["distance_loss"] = self._distance(scores, batch.labels)
            loss = loss + config.distance_weight * losses["distance_loss"]
        if config.pair_weight:
            losses["pair_loss"] = pair_loss(scores, batch.labels, _contents(batch).to(scores.device))
            loss = loss + config.pair_weight * losses["pair_loss"]
        if batch.differences is not None:
            losses["difference_loss"] = self._difference(features, batch.differences)
            loss = loss + config.difference_weight * losses["difference_loss"]
        return {"loss": loss, **losses}

    def finish(self) -> None:
        """Take what only training needs away from the model."""
        if hasattr(self._model, LOCAL_HEAD):
            delattr(self._model, LOCAL_HEAD)

    def _attacked(self, batch: Batch) -> Batch:
        """Return the batch with half its clips moved, every other one up in score, in whole levels.

        Adversarial training after Madry et al. (ICLR 2018), by default with the one step from a random start
        of Wong, Rice and Kolter, "Fast is better than free" (ICLR 2020). The guardian map is in the pixels
        already, so that this attacker knows it.
        """
        pixels = _pixels(batch)
        moved = {name: whole.clone() for name, whole in pixels.items()}
        chosen = torch.randperm(len(batch.labels))[: len(batch.labels) // 2]
        self._model.eval()
        for part in torch.split(chosen, ATTACK_CHUNK):
            wanted = (-1.0) ** torch.arange(len(part), device=self._device)
            clean = {name: whole[part].float() for name, whole in pixels.items()}
            for name, x in self._moved_by(wanted, clean, batch).items():
                moved[name][part] = x.round().clamp(0, 255).to(torch.uint8)
        self.train_mode()
        return replace(batch, **cast(dict[str, Any], moved))

    def _moved_by(self, wanted: Tensor, clean: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return pixels within the budget of `clean` that score as `wanted` (n,), 1 higher and -1 lower."""
        epsilon, steps = self._config.adversarial_epsilon, self._config.adversarial_steps
        shift = {name: torch.empty_like(x).uniform_(-epsilon, epsilon) for name, x in clean.items()}
        for _ in range(steps):
            at: dict[str, Any] = {name: (clean[name] + shift[name]).requires_grad_() for name in clean}
            moved_batch = replace(batch, **at)
            gain = (wanted * self._scores(self._intra(moved_batch), moved_batch)).sum()
            for name, slope in zip(at, torch.autograd.grad(gain, list(at.values())), strict=True):
                step = 2.5 * epsilon / (steps + 1) * slope.sign()
                shift[name] = (shift[name] + step).clamp(-epsilon, epsilon)
        return {name: clean[name] + shift[name] for name in clean}

    def _distance(self, scores: Tensor, labels: Tensor) -> Tensor:
        return F.smooth_l1_loss(scores, (labels - self._label_mean) / self._label_sd)

    def _difference(self, features: Tensor, wanted: Tensor) -> Tensor:
        """Return how far the head is off, (n, channels, t, g, g) features against (n, k, t, g, g), or 0."""
        known = torch.isfinite(wanted)
        if not bool(known.any()):
            return 0 * features.sum()
        predicted = getattr(self._model, LOCAL_HEAD)(features)
        return F.smooth_l1_loss(predicted[known], wanted[known])

    def _agreement(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if bool((labels == labels[0]).all()):  # nothing to rank; the step still has to have a gradient
            return 0 * scores.sum(), 0 * scores.sum()
        if self._config.losses == "paper":
            soft = srcc_loss(scores, labels, softness=self._config.rank_softness)
            return plcc_loss(scores, labels), soft
        return released_plcc_loss(scores, labels), released_rank_loss(scores, labels)

    def _scores(self, features: Tensor, batch: Batch) -> Tensor:
        """Return raw scores (n,), float32."""
        inter = self._cached_inter(batch.features) if batch.segments is None else self._inter(batch.segments)
        scores: Tensor = self._model.head(features, inter).mean(dim=1)
        return scores

    def _intra(self, batch: Batch) -> Tensor:
        """Return the feature map (n, channels, t, h, w), float32."""
        with self._autocast():
            if batch.statistics is not None:
                features = self._model.fragments_backbone.from_statistics(batch.statistics)
            else:
                assert batch.fragments is not None
                features = self._model.intra(normalise(batch.fragments))
        return cast(Tensor, features.float())

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


def _local_head(model: Any) -> nn.Conv3d:
    """Return a head of zeros, which needs no randomness."""
    backbone = getattr(model, "fragments_backbone", None)
    if backbone is None:
        raise ConfigurationError(
            f"difference_weight > 0 needs a model with fragments, got {an(type(model).__name__)}"
        )
    head = nn.Conv3d(backbone.config.out_dim, NUM_DIFFERENCES, kernel_size=1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(cast(Tensor, head.bias))
    return head


def _pixels(batch: Batch) -> dict[str, Tensor]:
    """Return the pixels of the clips, by their name in a batch."""
    both = {"fragments": batch.fragments, "segments": batch.segments}
    return {name: pixels for name, pixels in both.items() if pixels is not None}


def _contents(batch: Batch) -> Tensor:
    """Return (n,) integers, equal for clips of one content."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(video.content, len(numbers)) for video in batch.videos])


def _require_sound(scores: Tensor, where: str) -> None:
    if not bool(torch.isfinite(scores).all()):
        raise RunError(f"training diverged in {where}: raw scores {scores.tolist()}")
    if bool((scores == scores[0]).all()):
        raise RunError(f"training collapsed in {where}: every raw score is {scores[0].item():g}")


def _moved(batch: Batch, device: torch.device) -> Batch:
    parts = ("fragments", "statistics", "segments", "features", "differences", "labels")
    parts_of_batch = {name: getattr(batch, name) for name in parts}
    moved: dict[str, Any] = {name: None if x is None else x.to(device) for name, x in parts_of_batch.items()}
    return replace(batch, **moved)
