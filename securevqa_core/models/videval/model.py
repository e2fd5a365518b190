"""Owns VIDEVAL's regression: sixty features in, one raw score out, in points of people's opinion.

What is undefined in a video, as statistics of colour are where there is none, takes its mean over the videos
that the regression was fitted to.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securevqa_core.errors import ConfigurationError
from securevqa_core.models.svr import SupportVectors, fit_support_vectors
from securevqa_core.models.videval.features import FEATURES

__all__ = ["MAX_SUPPORT_VECTORS", "Videval", "fit_videval"]

MAX_SUPPORT_VECTORS = 3_200  # there are 3,165 videos with opinions and features
_FARTHEST = 1.0  # of -1..1, what was seen in training


class Videval(SupportVectors):
    """VIDEVAL's regression of features that were taken as the video was decoded."""

    has_inter = True
    reads_fragments = False
    usual: Tensor

    def __init__(
        self, num_features: int = len(FEATURES), *, max_support_vectors: int = MAX_SUPPORT_VECTORS
    ) -> None:
        super().__init__(num_features, max_support_vectors=max_support_vectors, clamp=_FARTHEST)
        self.register_buffer("usual", torch.zeros(num_features))

    def intra(self, x: Tensor) -> Tensor:
        """Return (n, 0) of fragments (n, 3, t, h, w): nothing of them is used."""
        return x.new_empty((len(x), 0))

    def head(self, f: Tensor, e: Tensor) -> Tensor:  # noqa: ARG002 - the signature of every model
        """Return (n, 1) raw scores.

        Args:
            f: (n, 0) from `intra`, not looked at.
            e: (n, 1, 60) features of each video; not a number where one is undefined.

        Raises:
            ConfigurationError: of another shape.
        """
        if e.shape[1:] != (1, len(self.usual)):
            raise ConfigurationError(f"e must be (n, 1, {len(self.usual)}) features, got {tuple(e.shape)}")
        features = e[:, 0]
        return self.regress(torch.where(features.isfinite(), features, self.usual))


def fit_videval(
    model: Videval,
    features: NDArray[np.floating],
    opinions: NDArray[np.float64],
    *,
    c: float,
    epsilon: float,
    gamma: float,
) -> None:
    """Fit the regression in place: every feature scaled to -1..1 by the least and the largest there is.

    Args:
        model: to be fitted.
        features: (n, 60) of videos; not a number where one is undefined.
        opinions: (n,) of the same videos, 0..100.
        c: weight of errors, in points.
        epsilon: errors that cost nothing, in points.
        gamma: of the kernel.

    Raises:
        ConfigurationError: a feature is defined in no video, or there are too many support vectors.
        RunError: scikit-learn is not installed.
    """
    defined = np.where(np.isfinite(features), features, np.nan)
    if (nowhere := np.isnan(defined).all(axis=0)).any():
        raise ConfigurationError(f"features must be defined somewhere, got none of {np.flatnonzero(nowhere)}")
    usual = np.nanmean(defined, axis=0)
    filled = np.where(np.isnan(defined), usual, defined)
    low, high = filled.min(axis=0), filled.max(axis=0)
    model.usual.copy_(torch.from_numpy(usual))
    model.mean.copy_(torch.from_numpy((low + high) / 2))
    model.sd.copy_(torch.from_numpy(np.where(high > low, (high - low) / 2, 1.0)))
    fit_support_vectors(model, filled, opinions, c=c, epsilon=epsilon, gamma=gamma)
