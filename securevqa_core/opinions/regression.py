"""Owns the settings of the regression from VIDEVAL's features to opinions, and using it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from securevqa_core.models.videval.model import Videval, fit_videval

__all__ = ["EPSILON", "GAMMA", "C", "fit", "predict"]

Floats = NDArray[np.float64]

# Chosen on a few splits of each data set; twice or half of any changes SRCC by less than 0.02.
C = 100.0  # weight of errors, points of 100
EPSILON = 3.0  # points of 100 that cost nothing
GAMMA = 0.05  # of features scaled to -1..1


def fit(features: Floats, opinions: Floats) -> Videval:
    """Return the regression of (n, 60) features and (n,) opinions.

    Raises:
        RunError, ConfigurationError: as `fit_videval`.
    """
    model = Videval()
    fit_videval(model, features, opinions, c=C, epsilon=EPSILON, gamma=GAMMA)
    return model


def predict(model: Videval, features: Floats) -> Floats:
    """Return the opinion (n,) that is predicted of (n, 60) features."""
    e = torch.from_numpy(features).float()[:, None]
    with torch.inference_mode():
        return model.head(e[:, 0, :0], e)[:, 0].double().numpy()
