"""Owns the embeddings of a video: what the heads see of the intra branch, the inter branch and both fused.

They are read off the model while it scores, by hooks, so that an embedding is of exactly the numbers that the
score was made of, and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securevqa_core.errors import ConfigurationError, ScoreError
from securevqa_core.models.fusion import MapHead, PaperFusionHead, ReleasedFusionHead
from securevqa_core.types import EmbeddingConfig, Feature

__all__ = ["EmbeddingConfig", "EmbeddingReader", "Feature", "embedding_dims"]

Array = NDArray[Any]


def embedding_dims(model: nn.Module, *, name: str = "the model") -> dict[Feature, int]:
    """Return the embeddings that a model has, and the length of each.

    Raises:
        ConfigurationError: its head fuses no features that could be read, as in a statistical model.
    """
    head = getattr(model, "vqa_head", None)
    if isinstance(head, PaperFusionHead):
        first, last = head.inter_to_intra[0], head.intra_to_inter[0]
        intra, inter = int(last.in_features), int(first.in_features)  # type: ignore[arg-type]
        return {"intra": intra, "inter": inter, "fused": intra + inter}
    if isinstance(head, ReleasedFusionHead):
        intra, inter = head.Embeddings_fusion.dims
        return {"intra": intra, "inter": inter, "fused": intra + inter}
    if isinstance(head, MapHead):
        return {"intra": head.fc_hid.in_channels}
    raise ConfigurationError(f"{name} has no embeddings: its head reads no features of a network")


class EmbeddingReader:
    """Reads embeddings off a model as it scores clips: `start`, score, `take`."""

    def __init__(self, model: nn.Module) -> None:
        self.dims = embedding_dims(model)
        self._calls: list[dict[Feature, Array]] = []
        head = model.get_submodule("vqa_head")
        head.register_forward_pre_hook(self._read_branches)
        if "fused" in self.dims:
            # What the head's first layer is given; in eval mode the dropout before it does nothing.
            head.get_submodule("fc_hid").register_forward_pre_hook(self._read_fused)

    def start(self) -> None:
        """Forget what was read."""
        self._calls.clear()

    def take(self, *, num_draws: int, config: EmbeddingConfig) -> dict[Feature, Array]:
        """Return the embeddings of the clips that were scored since `start`, draw after draw.

        Args:
            num_draws: of the video.
            config: which, and how pooled.

        Returns:
            By feature (dim,) for pool "mean", else (draws * clips, dim), inter (draws * segments, dim).

        Raises:
            ConfigurationError: the model has no such feature.
            ScoreError: score_not_finite: a value is not finite, or too large for float16.
        """
        missing = [feature for feature in config.features if feature not in self.dims]
        if missing:
            known = ", ".join(self.dims)
            raise ConfigurationError(f"features of this model are {known}, got {missing[0]!r}")
        return {feature: self._pooled(feature, num_draws, config) for feature in config.features}

    def _pooled(self, feature: Feature, num_draws: int, config: EmbeddingConfig) -> Array:
        calls = self._calls
        if feature == "inter":  # which all clips of a draw share
            calls = calls[:: len(calls) // num_draws]
        vectors = np.concatenate([call[feature] for call in calls])
        if config.pool == "mean":
            vectors = vectors.mean(axis=0)
        with np.errstate(over="ignore"):
            vectors = vectors.astype(config.dtype)
        if not np.isfinite(vectors).all():
            raise ScoreError("score_not_finite", f"feature {feature} must be finite as {config.dtype}")
        return vectors

    def _read_branches(self, _head: nn.Module, inputs: Sequence[Tensor]) -> None:
        call: dict[Feature, Array] = {"intra": _array(inputs[0].mean(dim=(2, 3, 4)))}
        if len(inputs) > 1:
            call["inter"] = _array(inputs[1].flatten(0, 1))
        self._calls.append(call)

    def _read_fused(self, layer: nn.Module, inputs: Sequence[Tensor]) -> None:
        (fused,) = inputs
        over = 1 if isinstance(layer, nn.Linear) else (2, 3, 4)
        self._calls[-1]["fused"] = _array(fused.mean(dim=over))


def _array(vectors: Tensor) -> Array:
    return vectors.detach().to("cpu", torch.float64).numpy()
